"""The page in a browser: on a phone and a desk, light, dark and in print; it asks for nothing and stays inert.

Needs Playwright and a Chromium of the system (Debian: `apt install chromium`). Tables are sorted and filtered by mouse
and by keyboard, and axe-core looks for what keeps people out.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from feedback.audit import AuditConfig, AuditReport, Table, render_html
from feedback.audit.report import Column
from feedback.audit.sources import audit
from schemas.settings import settings_to_dict

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.slow,  # half a minute in all
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here"),
]

FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\x1b[31m\u202e=cmd()\u2066'\"&amp;"
LONG_NAME = "an-organisation/with-a-very-long-model-name-that-never-ends-instruct-v0.3-2026-preview"
VIEWS = [(width, scheme) for width in (360, 1280) for scheme in ("light", "dark")]
PATIENCE_MS = 60_000


def write_votes(path: Path) -> Path:
    """300 votes over 20 weeks, of six models, with planted names and texts, contradictions and near-duplicates."""
    models = (HOSTILE, LONG_NAME, "alpha", "beta", "gamma", "=cmd()|' /C calc'!A0")
    rows = []
    for number in range(300):
        words = " ".join(f"word{number * 7 + place}" for place in range(20 + number % 50))
        rows.append(
            {
                "prompt": f"question {number % 240} {HOSTILE if number % 50 == 0 else ''}",
                "completion": f"{words} {HOSTILE if number % 25 == 0 else ''}",
                "label": "up" if number % 4 else "down",
                "user": f"{HOSTILE}{number % 40}",
                "model": models[number % 6 if number % 5 else 2],
                "time": f"2026-{1 + number % 5:02d}-{1 + number % 28:02d}T10:00:00Z",
            }
        )
    disputed = [{**row, "label": "down" if row["label"] == "up" else "up", "user": "zoe"} for row in rows[::50]]
    alike = [{**rows[1], "completion": " ".join(f"w{place}" for place in range(50)) + end} for end in ("", " x", " y")]
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, *disputed, *alike]))
    return path


@dataclass
class Opened:
    """A page in a browser, and all that it said and asked for."""

    page: Any
    messages: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS), timeout=PATIENCE_MS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    report = audit([write_votes(folder / "votes.jsonl")], source_format="thumbs", with_examples=True)
    path = folder / "audit.html"
    path.write_text(render_html(report))
    return path


def opened(browser: Any, file: Path, width: int = 1280, scheme: str = "light", **more: Any) -> Opened:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **more)
    context.set_default_timeout(PATIENCE_MS)
    seen = Opened(context.new_page())
    seen.page.on("console", lambda message: seen.messages.append(message.text))
    seen.page.on("pageerror", lambda error: seen.messages.append(str(error)))
    seen.page.on("request", lambda request: seen.requests.append(request.url))
    seen.page.on("requestfailed", lambda request: seen.refused.append(f"{request.url}: {request.failure}"))
    seen.page.on("dialog", lambda dialog: (seen.dialogs.append(dialog.message), dialog.dismiss()))
    seen.page.goto(file.as_uri())
    return seen


def table_of(page: Any, title: str) -> Any:
    return page.locator(f'table[data-title="{title}"]')


def first_column(table: Any) -> list[str]:
    found: list[str] = table.locator("tbody tr:not([hidden]) th").all_inner_texts()
    return found


def unfold(page: Any) -> None:
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")


def overflowing(page: Any) -> list[str]:
    """Elements that reach beyond the right edge, but for what lies in a box that scrolls by itself."""
    found: list[str] = page.evaluate(
        """() => [...document.querySelectorAll("body *")].filter((one) => {
            const box = one.getBoundingClientRect();
            const isInside = box.right <= document.documentElement.clientWidth + 1;
            return box.width && !isInside && !one.closest(".scroll table, svg");
        }).map((one) => one.outerHTML.slice(0, 90))"""
    )
    return found


@pytest.mark.parametrize(("width", "scheme"), VIEWS)
def test_page_is_quiet_and_fits(browser: Any, file: Path, width: int, scheme: str) -> None:
    seen = opened(browser, file, width, scheme)
    page = seen.page
    unfold(page)
    assert overflowing(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert (seen.messages, seen.dialogs) == ([], [])
    assert seen.requests == [file.as_uri()]
    page.context.close()


def test_planted_signs_stay_text(browser: Any, file: Path) -> None:
    """No element of the feedback is in the tree, nothing ran, and no sign turns the text around it."""
    seen = opened(browser, file)
    page = seen.page
    assert page.evaluate("document.scripts.length") == 1
    assert page.locator("img, iframe, object, embed, form, link").count() == 0
    text = page.content()
    assert not set("\x1b\u202e\u2066") & set(text)
    assert seen.dialogs == []
    assert page.locator("dd", has_text="<script>alert(1)</script>").count() > 0
    assert "\\x1b[31m\\u202e=cmd()" in page.locator("dd", has_text="<script>").first.inner_text()
    assert page.locator("th", has_text="=cmd()|' /C calc'!A0").count() > 0
    assert page.locator("th", has_text="<script>alert(1)</script>").count() > 0
    page.context.close()


def test_an_injected_script_does_not_run_and_nothing_is_fetched(browser: Any, file: Path) -> None:
    """What escaping would let through, the policy stops: hashes allow ours alone."""
    seen = opened(browser, file)
    page = seen.page
    page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "document.title = 'changed'";
            document.body.append(script);
            document.body.insertAdjacentHTML("beforeend", "<img src='https://site.example/x.png'>");
        }"""
    )
    page.wait_for_timeout(300)
    assert page.title() == "Audit of votes.jsonl"
    assert any("Content Security Policy" in message for message in seen.messages)
    assert seen.refused == ["https://site.example/x.png: csp"]
    page.context.close()


def test_a_click_sorts_numbers_as_numbers(browser: Any, file: Path) -> None:
    """Largest first, then smallest first, then as the report has them."""
    page = opened(browser, file).page
    table = table_of(page, "Labels by model")
    given = first_column(table)
    head = table.locator("th", has_text="Rows")
    rows = table.locator("tbody tr td:nth-child(2)")
    head.locator("button").click()
    numbers = [int(text.replace(",", "")) for text in rows.all_inner_texts()]
    assert (head.get_attribute("aria-sort"), numbers) == ("descending", sorted(numbers, reverse=True))
    head.locator("button").click()
    numbers = [int(text.replace(",", "")) for text in rows.all_inner_texts()]
    assert (head.get_attribute("aria-sort"), numbers) == ("ascending", sorted(numbers))
    assert numbers != sorted(numbers, key=str)
    head.locator("button").click()
    assert (head.get_attribute("aria-sort"), first_column(table)) == (None, given)
    page.context.close()


def test_every_kind_of_number_has_its_place(browser: Any, tmp_path: Path) -> None:
    """Tiny, negative and infinite ones; what has no number, and the line of all others, stay last both ways."""
    numbers = {"k": 1234.0, "m": 999.0, "tiny": 8.2e-05, "small": 0.01, "none": None, "minus": -3.0, "all": math.inf}
    columns = (Column("name", "Name", "text"), Column("r", "R", "number"))
    table = Table("t", "Numbers", columns, (*numbers.items(), ("(others)", 500.0)))
    sizes = dict.fromkeys(("total", "desirable", "undesirable", "test"), 0)
    config = settings_to_dict(AuditConfig())
    report = AuditReport(name="numbers", kind="feedback", rows=sizes, metrics=(), tables=(table,), config=config)
    (tmp_path / "audit.html").write_text(render_html(report))
    page = opened(browser, tmp_path / "audit.html").page
    button = table_of(page, "Numbers").locator("th", has_text="R").locator("button")
    ordered = ["minus", "tiny", "small", "m", "k", "all"]
    button.click()
    assert first_column(table_of(page, "Numbers")) == [*reversed(ordered), "none", "(others)"]
    button.click()
    assert first_column(table_of(page, "Numbers")) == [*ordered, "none", "(others)"]
    page.context.close()


def test_keys_sort_too_and_one_column_is_sorted_at_a_time(browser: Any, file: Path) -> None:
    page = opened(browser, file).page
    table = table_of(page, "Labels by model")
    names, ups = (table.locator("th", has_text=text).first for text in ("Model", "Share up"))
    names.locator("button").focus()
    page.keyboard.press("Enter")
    assert names.get_attribute("aria-sort") == "ascending"
    letters = [name[:5] for name in first_column(table) if name[0].isalpha()]
    assert letters == ["alpha", "an-or", "beta", "gamma"]
    status = page.locator('.tools [role="status"]', has_text="sorted by Model, ascending")
    assert status.count() == 1
    for _ in range(4):
        page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert (names.get_attribute("aria-sort"), ups.get_attribute("aria-sort")) == (None, "descending")
    page.context.close()


def test_gates_are_sorted_worst_first_and_those_without_stay_last(browser: Any, file: Path) -> None:
    page = opened(browser, file).page
    table = table_of(page, "Every measure")
    table.locator("th", has_text="Gate").locator("button").click()
    gates = [text.split()[0] if text else "" for text in table.locator("tbody td:nth-child(5)").all_inner_texts()]
    order = ["Stop", "Warning", "Note", "OK", ""]
    places = [order.index(gate) for gate in gates]
    assert places == sorted(places)
    assert gates[0] == "Warning"
    page.context.close()


def test_typing_filters_rows_and_says_how_many(browser: Any, file: Path) -> None:
    page = opened(browser, file).page
    table = table_of(page, "Every measure")
    everything = len(first_column(table))
    page.get_by_label("Filter rows: Every measure").focus()
    page.keyboard.type("RATERS share")
    left = first_column(table)
    assert 0 < len(left) < everything
    assert page.get_by_text(f"{len(left)} of {everything} rows").is_visible()
    page.keyboard.press("Escape")
    assert len(first_column(table)) == everything
    page.keyboard.type("nothing holds this")
    assert first_column(table) == []
    assert page.get_by_text(f"0 of {everything} rows").is_visible()
    page.context.close()


def test_a_filter_holds_while_rows_are_sorted(browser: Any, file: Path) -> None:
    page = opened(browser, file, 360).page
    table = table_of(page, "Every measure")
    page.get_by_label("Filter rows: Every measure").fill("near")
    left = first_column(table)
    table.locator("th", has_text="Measure").first.locator("button").click()
    assert first_column(table) == sorted(left, key=str.lower)
    page.context.close()


def test_page_is_whole_without_its_script(browser: Any, file: Path) -> None:
    """No button, no empty field, every row; a closed table opens."""
    seen = opened(browser, file, java_script_enabled=False)
    page = seen.page
    assert page.locator("button, input, .tools").count() == 0
    assert table_of(page, "Every measure").locator("tbody tr").count() > 30
    closed = page.locator("details:not([open])").first
    closed.locator("summary").click()
    assert closed.or_(page.locator("details[open]")).first.locator("table, ol").first.is_visible()
    page.context.close()


def test_print_shows_what_is_folded_and_nothing_to_press(browser: Any, file: Path) -> None:
    seen = opened(browser, file)
    page = seen.page
    assert page.locator("details:not([open])").count() > 0
    page.emulate_media(media="print")
    folded = page.locator("details:not([open]) table")
    assert all(one.bounding_box()["height"] > 0 for one in folded.all())
    assert page.locator("nav").is_hidden()
    assert not any(one.is_visible() for one in page.locator("input").all())
    assert len(page.pdf()) > 20_000
    assert seen.messages == []
    page.context.close()


@pytest.mark.parametrize(("width", "scheme"), VIEWS)
def test_axe_finds_nothing_serious(browser: Any, file: Path, width: int, scheme: str) -> None:
    """The policy would stop axe-core too, so this page is opened without it."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    page = opened(browser, file, width, scheme, bypass_csp=True).page
    unfold(page)
    table_of(page, "Every measure").locator("button").first.click()
    found = axe.Axe().run(page).response["violations"]
    serious = [
        (rule["id"], [node["html"][:120] for node in rule["nodes"]][:5])
        for rule in found
        if rule["impact"] in ("serious", "critical")
    ]
    assert serious == []
    page.context.close()


def test_axe_finds_nothing_serious_in_a_page_of_hardly_any_rows(browser: Any, tmp_path: Path) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    path = tmp_path / "votes.jsonl"
    path.write_text(json.dumps({"prompt": "q", "completion": "a", "label": "up"}) + "\n")
    report = audit([path], source_format="thumbs", config=AuditConfig(examples=0), with_examples=True)
    (tmp_path / "audit.html").write_text(render_html(report))
    seen = opened(browser, tmp_path / "audit.html", 360, "dark", bypass_csp=True)
    found = axe.Axe().run(seen.page).response["violations"]
    assert [rule["id"] for rule in found if rule["impact"] in ("serious", "critical")] == []
    assert (overflowing(seen.page), seen.messages) == ([], [])
    seen.page.context.close()
