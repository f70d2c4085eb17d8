"""Examples on the page: chosen by turns, redacted before they are cut, with hidden signs as escapes, and in no JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from feedback.audit import AuditConfig, AuditReport, render_html
from feedback.audit.examples import Examples, Part, compare_texts, shorten, visible
from feedback.audit.sources import audit
from feedback.pipeline import curate, default_config

LONG = " ".join(f"word{number}" for number in range(60))


def vote(prompt: str, completion: str, label: str, user: str) -> dict[str, str]:
    return {"prompt": prompt, "completion": completion, "label": label, "user": user}


DISPUTED = [vote("how many legs has a spider", "Eight legs.", "up" if user < "d" else "down", user) for user in "abcd"]
CHANGED = [
    vote("capital of France", "Paris.", label, "ann") | {"time": f"2026-01-0{day}"}
    for day, label in ((1, "up"), (2, "down"))
]
ALIKE = [
    vote("tell me more", f"{LONG} and so on", "up", "a"),
    vote("tell me more", f"{LONG} and so forth", "down", "b"),
]
PLAIN = [
    vote(f"question {number}", f"answer {number} " * 5, "up" if number % 2 else "down", f"u{number}")
    for number in range(8)
]


def examined(folder: Path, rows: list[dict[str, str]], **settings: object) -> AuditReport:
    path = folder / "votes.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = AuditConfig(**settings)  # type: ignore[arg-type]
    return audit([path], source_format="thumbs", config=config, with_examples=True)


def shown(report: AuditReport) -> Examples:
    assert report.examples is not None
    return report.examples


def text_of(parts: tuple[Part, ...]) -> str:
    return "".join(part.text for part in parts)


def all_text(examples: Examples) -> str:
    every = [said for example in (*examples.contradictions, *examples.near) for said in example.texts]
    return " | ".join(text_of(said.prompt) + " / " + text_of(said.answer) for said in every)


def test_contradictions_are_shown_by_turns_of_their_cause_with_their_votes(tmp_path: Path) -> None:
    found = shown(examined(tmp_path, [*DISPUTED, *CHANGED, *PLAIN]))
    assert found.contradicted == 2
    assert [example.why for example in found.contradictions] == ["across_raters", "same_rater"]
    first = found.contradictions[0].texts[0]
    assert (text_of(first.prompt), text_of(first.answer)) == ("how many legs has a spider", "Eight legs.")
    assert (first.up, first.down, first.source) == (3, 1, "thumbs")


def test_near_duplicates_show_one_of_each_label_and_mark_what_differs(tmp_path: Path) -> None:
    found = shown(examined(tmp_path, [*ALIKE, *PLAIN]))
    (example,) = found.near
    assert (example.why, example.size, found.clusters) == ("across_labels", 2, 1)
    assert {(said.up, said.down) for said in example.texts} == {(1, 0), (0, 1)}
    marked = {part.text for said in example.texts for part in said.answer if part.is_marked}
    assert marked == {"on", "forth"}
    assert example.texts[1].prompt == ()
    assert len(text_of(example.texts[0].answer)) < len(LONG)


def test_a_cluster_with_a_contradicted_text_is_no_example_of_two_wordings(tmp_path: Path) -> None:
    """The contradiction shows it already."""
    found = shown(examined(tmp_path, [*ALIKE, ALIKE[0] | {"label": "down", "user": "c"}, *PLAIN]))
    assert (found.near, found.clusters, found.contradicted) == ((), 1, 1)


def test_there_are_at_most_as_many_examples_of_each_kind_as_asked_for(tmp_path: Path) -> None:
    many = [vote(f"prompt {number}", "yes", label, label) for number in range(6) for label in ("up", "down")]
    found = shown(examined(tmp_path, many, examples=2))
    assert (len(found.contradictions), found.contradicted) == (2, 6)


def test_personal_data_are_replaced_and_the_page_says_so(tmp_path: Path) -> None:
    rows = [row | {"prompt": "write to ann@site.example please"} for row in DISPUTED]
    report = examined(tmp_path, [*rows, *PLAIN])
    assert shown(report).redacted == {"email": 1}
    page = render_html(report)
    assert "ann@site.example" not in page
    assert "write to [EMAIL] please" in page
    assert "Personal data in them is replaced by marks (1 × e-mail addresses)." in page


def test_an_address_that_a_cut_would_part_is_not_shown_in_half(tmp_path: Path) -> None:
    """Texts are redacted before they are shortened, and what stands at the last cut is left out."""
    for before in (440, 470, 5_985, 5_990):
        text = "x " * (before // 2) + "ann.longname@site.example" + " y" * 4_000
        examples = shown(examined(tmp_path, [row | {"completion": text} for row in DISPUTED]))
        assert "ann" not in all_text(examples)


def test_without_redaction_the_page_warns(tmp_path: Path) -> None:
    rows = [row | {"prompt": "write to ann@site.example please"} for row in DISPUTED]
    page = render_html(examined(tmp_path, rows, redact_examples=False))
    assert "write to ann@site.example please" in page
    assert "is not replaced" in page


def test_no_examples_leave_all_text_out(tmp_path: Path) -> None:
    report = examined(tmp_path, [*DISPUTED, *ALIKE], examples=0)
    page = render_html(report)
    assert report.examples is None
    assert "Eight legs" not in page
    assert 'id="examples"' not in page
    assert "no text of users" in page


def test_a_page_with_examples_does_not_say_that_it_holds_no_text(tmp_path: Path) -> None:
    page = render_html(examined(tmp_path, DISPUTED))
    assert "Eight legs." in page
    assert "no text of users" not in page
    assert "the texts of users under Examples" in page


def test_json_holds_no_text_of_users(tmp_path: Path) -> None:
    report = examined(tmp_path, [*DISPUTED, *ALIKE, *PLAIN])
    written = report.to_json()
    assert not [text for text in ("Eight legs", "spider", "word7", "tell me more") if text in written]
    assert AuditReport.from_json(written).examples is None


def test_texts_are_read_only_when_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "votes.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in DISPUTED))
    assert audit([path], source_format="thumbs").examples is None


def test_a_dataset_shows_its_own_texts(tmp_path: Path) -> None:
    """With `conflicts.policy = off` both labels stay."""
    path = tmp_path / "votes.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*DISPUTED, *PLAIN]))
    config = default_config(
        [path], "thumbs", overrides=("conflicts.policy=off", "split.test_fraction=0", "rebalance.mode=off")
    )
    folder = curate(config, tmp_path / "dataset").folder
    found = shown(audit([folder], with_examples=True))
    assert [text_of(example.texts[0].answer) for example in found.contradictions] == ["Eight legs."]


def test_signs_that_hide_are_written_as_escapes(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script> \x1b[31m \u202e \u200b \x00 =cmd()"
    report = examined(tmp_path, [row | {"completion": hostile} for row in DISPUTED])
    page = render_html(report)
    assert not set("\x1b\u202e\u200b\x00") & set(page)
    assert "&lt;script&gt;alert(1)&lt;/script&gt; \\x1b[31m \\u202e \\u200b \\x00 =cmd()" in page


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("\U000e0041 tag", "\\U000e0041 tag"),
        ("line\u2028break", "line\\u2028break"),
        ("family \U0001f468\u200d\U0001f469", "family \U0001f468\u200d\U0001f469"),
        ("a\n\n b\r\nc\td", "a ↵ b ↵ c d"),
    ],
)
def test_every_sign_is_seen(text: str, seen: str) -> None:
    assert visible(text) == seen


def test_long_texts_keep_beginning_and_end() -> None:
    (part,) = shorten("begin " + "middle " * 200 + "end")
    assert part.text.startswith("begin middle")
    assert part.text.endswith("middle end")
    assert len(part.text) < 500


def test_one_long_word_is_cut_too() -> None:
    (part,) = shorten("x" * 10_000)
    assert len(part.text) < 500


def test_texts_without_spaces_are_compared_by_characters() -> None:
    first, second = compare_texts("今日は天気がいい", "今日は気分がいい")
    assert [part.text for part in first if part.is_marked] == ["天"]
    assert [part.text for part in second if part.is_marked] == ["分"]


def test_what_is_compared_is_short_too() -> None:
    first, second = compare_texts(" ".join(map(str, range(900))), " ".join(map(str, range(900, 1800))))
    assert all(sum(len(part.text) for part in side) < 500 for side in (first, second))
