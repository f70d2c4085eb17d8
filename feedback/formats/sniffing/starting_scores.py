"""A map of scores to begin with, from the first records of a file whose format needs one.

Every name of a score that was seen has a table, and in it every value, with `"?"` where a person must say what it
means; the loader refuses the map until then. What was asked and answered is found by the format itself, or at paths
that a person names. The map shows no text of the records.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from feedback.formats.drafts import Format, IgnoredDraft
from feedback.formats.mapping.undecided import UNDECIDED
from feedback.formats.sniffing.map_text import head_lines, listed_paths, toml_text
from feedback.formats.sniffing.seen_paths import MOST_VALUES, SeenPath, note_value, seen_paths
from schemas.errors import RecordRejectedError

__all__ = ["starting_score_map"]

_HUMP: Final = re.compile(r"[A-Z]")
_OPEN: Final = toml_text(UNDECIDED)
_NO_NAME: Final = "name of a score"


def starting_score_map(one: Format, records: Sequence[dict[str, Any]], file: str) -> str:
    """The text of a TOML map for records like these.

    Args:
        one: their format, which needs a map.
        records: the first records of the file.
        file: its name.
    """
    lines = [
        *head_lines(f"A starting map for the format {one.name}", file, len(records)),
        "# A score whose table is removed is left out and counted.",
        "# docs/scores.md explains every table.",
        *_tables(_seen_scores(one, records)),
        *_join(one, records),
        "",
        "# [texts]  # where the prompt and the answer are, if not where the tool itself has them:",
        '# prompt = "PATH"',
        '# completion = "PATH"',
        *listed_paths(seen_paths(records), len(records)),
    ]
    return "\n".join(lines) + "\n"


def _seen_scores(one: Format, records: Sequence[dict[str, Any]]) -> dict[str, SeenPath]:
    """What was given as the value of every score, by its name, and for rankings the names that were ranked."""
    found: dict[str, SeenPath] = {}
    for record in records:
        try:
            drafts = list(one.parse(record))
        except RecordRejectedError:
            continue
        for draft in drafts:
            if isinstance(draft, IgnoredDraft) and draft.score is not None:
                _note(found.setdefault(draft.score, SeenPath((draft.score,))), draft)
    return found


def _note(seen: SeenPath, draft: IgnoredDraft) -> None:
    value = draft.value
    if draft.is_correction:
        seen.kinds["correction"] += 1
        return
    ranked = [item.get("value") for item in value if isinstance(item, dict)] if isinstance(value, list) else []
    if not ranked:
        note_value(seen, value)
    for name in ranked:
        note_value(seen, name)
        seen.kinds["ranking"] += 1


def _tables(scores: dict[str, SeenPath]) -> Iterator[str]:
    for name, seen in scores.items() or [(_NO_NAME, SeenPath(()))]:
        key = toml_text(name)
        yield ""
        yield f"[scores.{key}]"
        yield '# rater_kind = "end_user"  # or annotator, llm_judge, code: who gives it, where the tool does not say'
        if "ranking" in seen.kinds:
            yield from _meanings(f"scores.{key}.answers", "the path of each ranked answer", seen)
        elif seen.numbers is not None and seen.values is None:
            low, high = seen.numbers
            yield f"# more than {MOST_VALUES} different numbers, from {low:g} to {high:g}"
            yield f"up_from = {_OPEN}"
            yield f"down_to = {_OPEN}  # what lies between gives no label"
        elif "correction" in seen.kinds or (seen.values is None and "text" in seen.kinds):
            yield f"corrections = {_OPEN}  # texts: true where a rater wrote them in place of the answer"
        else:
            yield '# of a choice between two answers, name the table outcomes: "a", "b", "tie", "both_bad" or "abstain"'
            yield from _meanings(f"scores.{key}.labels", 'what each value means: "up", "down" or "none"', seen)


def _join(one: Format, records: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Where the id of the other file's record is, if it has the format's name for it in snake case."""
    if one.join is None:
        return
    snake = _HUMP.sub(lambda match: f"_{match[0].lower()}", one.join.key)
    if any(record.get(snake) for record in records) and not any(record.get(one.join.key) for record in records):
        yield ""
        yield "[join]"
        yield f"key = {toml_text(snake)}  # the id by which {one.join.what} are found; it is not at {one.join.key} here"


def _meanings(table: str, what: str, seen: SeenPath) -> Iterator[str]:
    yield f"[{table}]  # {what}"
    if not seen.values:
        yield f'"value" = {_OPEN}  # a line for every value'
        return
    for value, count in sorted(seen.values.items()):
        yield f"{toml_text(value)} = {_OPEN}  # in {count:,}"
