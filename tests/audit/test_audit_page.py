"""The page: self-contained, inert, accessible, and it says the verdict first."""

import base64
import hashlib
import html
import math
import re
import xml.etree.ElementTree as ET
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import polars as pl
import pytest
from markupsafe import escape

from feedback.audit import AuditConfig, AuditReport, audit_candidates, render_html
from feedback.audit.charts import draw
from feedback.audit.page_look import FOLDER
from feedback.audit.report import Column, Table
from feedback.audit.sheets import shown_table
from feedback.audit.svg import COLOURS
from feedback.hashing import hex_key, stable_id
from feedback.stage import CANDIDATE_TYPES
from schemas.reasons import DropReason
from schemas.report import StageReport
from tests.audit_rows import row
from tests.audit_rows import table as candidates

HOSTILE = '<script>alert(1)</script>"onload=x\x1b[31m\u202e=cmd()'
KEYS = ("row_key", "prompt_hash", "completion_hash", "prompt_key", "completion_key", "group_id", "cluster_id")
VOID = {"meta", "br", "link", "img", "input", "hr"}


def table(up: int, down: int, **changes: object) -> pl.DataFrame:
    start = datetime(2026, 1, 5, tzinfo=UTC)
    rows = []
    for number in range(up + down):
        identifier, rater, label = stable_id(str(number)), hex_key(stable_id(str(number % 7))), number < up
        when = start + timedelta(days=number)
        rows.append(
            dict.fromkeys(("row_id", "text_id"), identifier)
            | dict.fromkeys(KEYS, hex_key(identifier))
            | {"text_side": "completion", "source": "thumbs", "origin": "thumb", "rater_kind": "end_user"}
            | {"label": label, "weight": 1.0, "prompt_chars": 1, "completion_chars": 20 + 7 * number}
            | {"event_ts": when, "rater_key": rater, "model_id": f"model-{number % 2}"}
            | {"votes": [{"event_id": identifier, "rater_key": rater, "event_ts": when, "label": label}]}
            | changes
        )
    return pl.DataFrame(rows, schema=CANDIDATE_TYPES)


@pytest.fixture(scope="module")
def report() -> AuditReport:
    reports = [StageReport("ingest", 80, 0, 75, {"quarantined": 5}), StageReport("convert", 75, 0, 70, {"neutral": 5})]
    return audit_candidates(table(50, 20), reports=reports, name="votes.jsonl", kind="feedback")


@pytest.fixture(scope="module")
def page(report: AuditReport) -> str:
    return render_html(report)


class Outline(HTMLParser):
    """Tags in order, and whether every one is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def outline(text: str) -> Outline:
    parser = Outline()
    parser.feed(text)
    assert parser.open == []
    return parser


def test_page_loads_nothing(page: str) -> None:
    tags = outline(page).tags
    names = {tag for tag, _ in tags}
    assert names.isdisjoint({"link", "img", "iframe", "object", "form", "image", "use", "foreignobject"})
    assert not re.search(r"url\(\s*['\"]?(?!#)|@import|javascript:|fetch\(|XMLHttpRequest|import\(", page)
    assert not [name for _, attributes in tags for name in attributes if name.startswith("on") or name == "src"]
    assert {attributes["href"] for _, attributes in tags if "href" in attributes} <= {
        f"#{name}" for name in re.findall(r'id="([a-z]+)"', page)
    }


def test_policy_allows_this_style_sheet_and_this_script_only(page: str) -> None:
    """By their hashes, so a script or a style that got in another way does nothing."""
    policy = next(attributes["content"] for _, attributes in outline(page).tags if attributes.get("http-equiv"))
    allowed = {}
    for tag in ("style", "script"):
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        allowed[tag] = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{allowed['style']}'; script-src 'sha256-{allowed['script']}'; "
        "base-uri 'none'; form-action 'none'"
    )
    assert 'style="' not in page


def test_numbers_are_sorted_by_what_is_behind_them() -> None:
    columns = (Column("name", "Name", "text"), Column("rows", "Rows", "count"), Column("share", "Share", "share"))
    ends = (Column("low", "95% from", "share"), Column("high", "to", "share"), Column("p", "p", "number"))
    rows = (
        ("b", 4120, 0.0004, 0.1, 0.2, None),
        ("a", None, 1 / 3, None, None, None),
        ("(others)", 7, 0.9, 0.4, 0.5, None),
    )
    sheet = shown_table(Table("t", "T", (*columns, *ends), rows))
    assert [(heading.text, heading.sort) for heading in sheet.headings] == [
        ("Name", "text"),
        ("Rows", "number"),
        ("Share", "number"),
        ("95% interval", "number"),
    ]
    assert [(cell.text, cell.value) for cell in sheet.rows[0]] == [
        ("b", None),
        ("4,120", "4120"),
        ("<0.1%", "0.0004"),
        ("10% to 20%", "0.1"),
    ]
    assert [(cell.text, cell.value) for cell in sheet.rows[1][1:]] == [
        ("–", None),
        ("33%", "0.33333333"),
        ("–", None),
    ]
    assert sheet.rest == 2


def test_an_infinite_number_can_be_sorted() -> None:
    columns = (Column("name", "Name", "text"), Column("r", "R", "number"))
    sheet = shown_table(Table("t", "T", columns, (("a", math.inf), ("b", 2.5))))
    assert [row[1].value for row in sheet.rows] == ["Infinity", "2.5"]


def test_page_is_small_and_fits_phones_and_dark_rooms(page: str) -> None:
    assert len(page.encode()) < 500_000
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in page
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page


def test_page_of_very_many_slices_is_below_two_megabytes() -> None:
    """A hundred models, sources and raters, all of them in the tables; drawings stop at the first dozen."""
    start = datetime(2025, 1, 6, tzinfo=UTC)
    changes = [
        {
            "source": f"a source with a rather long name, number {number % 150}",
            "model_id": f"maker/model-{number % 150:03d}",
        }
        | {"event_ts": start + timedelta(days=number % 700), "rater_key": hex_key(stable_id(f"r{number % 150}"))}
        for number in range(3_000)
    ]
    rows = pl.concat([table(1, 0, **changes[0])] * len(changes)).with_columns(
        pl.Series("label", [number % 3 > 0 for number in range(len(changes))]),
        *(pl.Series(name, [change[name] for change in changes], dtype=CANDIDATE_TYPES[name]) for name in changes[0]),
        pl.Series("row_id", [stable_id(str(number)) for number in range(len(changes))]),
        pl.Series("completion_chars", [10 + number % 4_000 for number in range(len(changes))]),
    )
    text = render_html(audit_candidates(rows, config=AuditConfig(max_slices=1_000)))
    assert all(text.count(f"model-{number:03d}") >= 2 for number in range(150))
    assert len(text.encode()) < 1_000_000
    assert all(
        len(picture.svg) < 100_000 for picture in draw(audit_candidates(rows, config=AuditConfig(max_slices=1_000)))
    )


def test_verdict_comes_before_what_to_do_before_pictures(page: str) -> None:
    places = [page.index(f'id="{name}"') for name in ("verdict", "todo", "glance", "pictures", "measures", "tables")]
    assert places == sorted(places)
    assert "Worth fixing before training" in page
    assert "thumbline rebalance IN -o OUT --ratio 1:4/3" in re.sub("</?span>", "", page)


def test_clean_data_gets_a_clean_verdict() -> None:
    """Each rater has given one vote to one answer of one length on one day, half of them up."""
    clean = audit_candidates(candidates(*(row(number, number % 2 == 0, day=0) for number in range(60))))
    text = render_html(clean)
    assert "Nothing here stands in the way of training" in text
    assert f"All {len(clean.gates)} gates hold." in text


def test_gates_with_too_few_rows_are_no_clean_verdict() -> None:
    report = audit_candidates(table(7, 7))
    text = render_html(report)
    unjudged = [gate for gate in report.gates if gate.severity == "info"]
    assert len(unjudged) > 1
    assert "Nothing here stands in the way" not in text
    assert "Not everything could be judged" in text
    assert f"{len(report.gates) - len(unjudged)} gates hold, {len(unjudged)} have too few cases to say (" in text


def test_a_warning_beside_gates_with_too_few_rows_does_not_say_that_the_others_hold() -> None:
    text = render_html(audit_candidates(table(11, 4)))
    assert "the other gates hold" not in text
    assert re.search(r"1 warning \(label ratio\); \d+ others hold, \d+ have too few cases to say \(", text)


def test_value_that_is_out_of_its_range_is_told_from_its_threshold() -> None:
    """101 of 1,000 judgements by one rater is above 10%, in the sentence and in the column of values."""
    rows = [row(number, True, rater="busy" if number < 101 else number, day=0) for number in range(1000)]
    text = render_html(audit_candidates(candidates(*rows)))
    assert "One rater of 900 gave 10.1% of 1,000 judgements (101)" in text
    assert ">10.1%<" in re.sub(r"\s*([<>])\s*", r"\1", text)


def test_failed_gate_is_the_verdict() -> None:
    text = render_html(audit_candidates(table(7, 0)))
    assert "Do not train on this as it is" in text
    assert "1 gate failed (both labels), and 1 warning (label ratio)." in text


def test_every_picture_has_words_and_is_well_formed(report: AuditReport) -> None:
    pictures = draw(report)
    assert [picture.name for picture in pictures] == ["balance", "time", "flow", "lengths", "raters"]
    for picture in pictures:
        root = ET.fromstring(picture.svg)
        assert root.tag.endswith("svg")
        assert "viewBox" in root.attrib
        assert len(picture.alternative) > 40
    assert "ingest: 75 kept, dropped 5 quarantined." in pictures[2].alternative
    assert pictures[0].alternative.startswith("Bars of the share of rows that are up: all rows 71%; thumbs 71%")


def test_pictures_on_the_page_are_images_with_labels(page: str) -> None:
    images = [attributes for _, attributes in outline(page).tags if attributes.get("role") == "img"]
    assert len(images) == 5
    assert all(attributes["aria-label"] for attributes in images)
    assert "graphics-" not in page


def test_every_colour_of_a_drawing_belongs_to_the_theme(report: AuditReport) -> None:
    """A colour that the style sheet does not know would stay dark on dark."""
    style = (FOLDER / "report.css").read_text("utf-8")
    for picture in draw(report):
        used = set(re.findall(r'(?:fill|stroke)="(#[0-9a-fA-F]+)"', picture.svg))
        assert used <= set(COLOURS.values()), picture.name
    for name in COLOURS:
        assert style.count(f"--{name}:") == 2, name


def test_flow_runs_from_stage_to_stage_and_drops_leave_it(report: AuditReport) -> None:
    """Two stages: one band between them, and one part that leaves each."""
    flow = next(picture for picture in draw(report) if picture.name == "flow")
    areas = re.search(r"mark-area role-mark.*?(?=mark-rect role-mark)", flow.svg, re.DOTALL)
    assert areas is not None
    assert len(re.findall(r"<path [^>]*fill=", areas[0])) == 3
    assert flow.svg.count(">5 dropped<") == 2


def test_drift_stands_below_the_share_of_up() -> None:
    """PSI by week, the largest that is in order, and a legend of what is drawn."""
    rows = table(400, 200)
    rows = rows.with_columns(
        event_ts=pl.lit(datetime(2026, 1, 5, tzinfo=UTC)) + pl.duration(days=pl.int_range(pl.len()) // 15)
    )
    picture = next(picture for picture in draw(audit_candidates(rows)) if picture.name == "time")
    assert picture.legend == (("k0", "PSI of labels"),)
    assert ">PSI<" in picture.svg
    assert "largest PSI of labels" in picture.alternative


def test_names_that_look_the_same_have_bars_of_their_own() -> None:
    """Signs that are not shown may be all that differs."""
    rows = pl.concat([table(8, 8, model_id="m\u202e"), table(8, 8, model_id="m\u200b")])
    balance = draw(audit_candidates(rows))[0]
    assert "m� 50%; m� (2) 50%" in balance.alternative


def test_more_reasons_than_colours_share_the_last_one() -> None:
    dropped = {reason.value: place for place, reason in enumerate(DropReason, start=1)}
    stage = StageReport("dedup", 6 + sum(dropped.values()), 0, 6, dropped)
    flow = next(picture for picture in draw(audit_candidates(table(3, 3), reports=[stage])) if picture.name == "flow")
    assert len({colour for colour, _ in flow.legend}) == len(flow.legend) == 8
    assert flow.legend[-1] == ("k7", "other reasons")
    assert all(reason.replace("_", " ") in flow.alternative for reason in dropped)


def test_ids_are_unique_also_where_two_reports_share_a_page(report: AuditReport) -> None:
    text = render_html(report, before=report)
    ids = re.findall(r'\bid="([^"]*)"', text)
    assert len(ids) == len(set(ids))


def test_names_from_the_data_stay_text() -> None:
    rows = table(30, 30, source=HOSTILE, model_id=HOSTILE)
    text = render_html(audit_candidates(rows, name=HOSTILE, source=HOSTILE, raw=HOSTILE), before=audit_candidates(rows))
    assert text.count("<script") == 1
    # A command holds the path as it was typed, escaped; a name is made safe to show.
    assert "\x1b" not in text.replace(str(escape(HOSTILE)), "").replace(html.escape(HOSTILE), "")
    assert not [name for _, attributes in outline(text).tags for name in attributes if name.startswith("on")]


def test_before_and_after_stand_side_by_side(report: AuditReport) -> None:
    after = audit_candidates(table(30, 30), name="dataset", kind="dataset")
    text = render_html(after, before=report)
    assert "Before: votes.jsonl, 70 rows. After: dataset, 60 rows." in text
    assert text.count('<p class="when">Before</p>') == 4
    row = re.search(r'<th scope="row">Label ratio R</th>\s*(.*?)</tr>', text, re.DOTALL)
    assert row is not None
    assert re.findall(r'class="figure">([^<]*)<', row[1]) == ["2.5", "1"]


def test_page_of_a_stored_report_is_the_same(report: AuditReport, page: str) -> None:
    """But for the last digits of drawings: JSON holds ten."""
    stored = render_html(AuditReport.from_json(report.to_json()))
    assert re.sub("<svg.*?</svg>", "", stored) == re.sub("<svg.*?</svg>", "", page)


@pytest.mark.parametrize(("up", "down"), [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_hardly_any_rows_still_make_a_page(up: int, down: int) -> None:
    outline(render_html(audit_candidates(table(up, down))))
