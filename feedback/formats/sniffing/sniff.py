"""Which of the formats a file is in, and why, from its first records.

Nothing here knows a format by its name. Each one's own `parse` is asked what it makes of the records, on objects that
remember which of their fields were read; `keys` says how closely a format fits, and `marks`, where it has them, what a
record of it must have. Labels are not guessed: a record whose label no format knows is in none of them for sure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

from feedback.formats import FORMATS
from feedback.formats.drafts import Draft, Format, IgnoredDraft
from feedback.formats.mapping.paths import find_value, parse_path
from feedback.formats.sniffing.shape import shape_of
from feedback.formats.sniffing.starting_map import starting_map
from feedback.formats.sniffing.starting_scores import starting_score_map
from feedback.records.places import Place, find_files, place_name
from feedback.records.raw_record import RawRecord
from feedback.records.sources import read_records
from schemas.errors import InputError, OutputExistsError, RecordRejectedError, ThumblineError
from schemas.manifest import write_last
from schemas.reasons import RejectReason

__all__ = ["Candidate", "Sniffed", "find_candidates", "first_records", "sniff", "write_starting_map"]

FIRST_RECORDS: Final = 50
FIRST_BYTES: Final = 32 << 20
"""Reading stops behind so many bytes of records, however few they are."""

_OF_VALUES: Final = frozenset(
    {
        *(RejectReason.UNKNOWN_LABEL, RejectReason.BAD_TIME, RejectReason.BROKEN_THREAD, RejectReason.NO_JUDGEMENT),
        *(RejectReason.PROMPTS_DIFFER, RejectReason.IDENTICAL_RESPONSES, RejectReason.BAD_ROLES),
        *(RejectReason.EMPTY_PROMPT, RejectReason.EMPTY_COMPLETION),
    }
)
"""Rejections that speak for the format: the record has its fields, and one of them holds another value."""
_LEAST_FIELDS: Final = 2
_LEAST_KNOWN: Final = 0.6
_THIRD, _HALF = 1 / 3, 1 / 2


@dataclass(frozen=True, slots=True)
class Candidate:
    """A format that the records may be in.

    Args:
        format: its name.
        accepted: records that it reads.
        shaped: records that have its fields, and one of them a value that it refuses, or lack another file.
        records: records that were looked at.
        fields: fields that hold a value and that it read, in the order of their reading.
        unread: top-level keys that it does not read.
        refusal: why the first of `shaped` was refused; empty where there is none.
        needs: what it needs from another file; empty where nothing.
        needs_map: whether a map must say what its scores mean.
        tightness: share of the keys of either side that both know, in [0, 1].
    """

    format: str
    accepted: int
    shaped: int
    records: int
    fields: tuple[str, ...]
    unread: tuple[str, ...]
    refusal: str
    needs: str
    needs_map: bool
    tightness: float

    @property
    def is_likely(self) -> bool:
        """Whether the format reads at least half of the records."""
        return self.accepted >= _HALF * self.records


@dataclass(frozen=True, slots=True)
class Sniffed:
    """What the beginning of a source looks like.

    Args:
        file: the file that was looked at.
        files: files that the source names.
        values: the records that are objects.
        unreadable: records that are none, by `RejectReason`.
        candidates: formats that the records may be in, the likeliest first; none where it is none of ours.
        unjudged: where there is none, formats that read the records and find the place of a judgement empty in all.
    """

    file: str
    files: int
    values: tuple[dict[str, Any], ...] = field(repr=False)
    unreadable: dict[str, int]
    candidates: tuple[Candidate, ...]
    unjudged: tuple[str, ...] = ()

    @property
    def shape(self) -> Any:
        """The first record as it can be shown; null where there is none."""
        return shape_of(self.values[0]) if self.values else None

    @property
    def best(self) -> Candidate | None:
        """The format that the file is in; null where none reads most of the records."""
        best = self.candidates[0] if self.candidates else None
        return best if best is not None and best.is_likely else None

    def to_dict(self) -> dict[str, Any]:
        """JSON values of this, without the records."""
        return {
            "file": self.file,
            "files": self.files,
            "records": len(self.values),
            "unreadable": self.unreadable,
            "format": None if self.best is None else self.best.format,
            "candidates": [
                {name: getattr(one, name) for name in Candidate.__dataclass_fields__} for one in self.candidates
            ],
            "first_record": self.shape,
        }


def sniff(path: str | Path) -> Sniffed:
    """What the first records of a source look like; no more of it is read.

    Args:
        path: a file, a glob, a folder or a URL, of which the first file is looked at, or `-` for standard input.

    Raises:
        InputError: the file is missing or cannot be read.
        CorruptionError: its bytes are damaged.
    """
    files = find_files([path])
    records = first_records(files[0])
    values = tuple(record.value for record in records if record.value is not None)
    unreadable = Counter(str(record.reject[0]) for record in records if record.reject is not None)
    candidates = tuple(find_candidates(values))
    unjudged = () if candidates else tuple(one.name for one in FORMATS.values() if _is_unjudged(one, values))
    return Sniffed(place_name(files[0]), len(files), values, dict(sorted(unreadable.items())), candidates, unjudged)


def write_starting_map(found: Sniffed, out: Path) -> None:
    """Write a map to begin with for what was sniffed.

    It is a map of scores where the file is in a format that needs one, see `starting_scores`, and otherwise one for the
    format `mapped`, see `starting_map`.

    Args:
        found: what a source looks like.
        out: the file to write.

    Raises:
        InputError: there is no record to make it from.
        OutputExistsError: the file is there already.
    """
    if not found.values:
        raise InputError(
            "no record at the beginning of the file can be read, so there is nothing to map", where=found.file
        )
    if out.exists():
        raise OutputExistsError("the map is there already", where=out, todo="Remove it, or name another file")
    best = found.best
    if best is not None and best.needs_map:
        write_last(out, starting_score_map(FORMATS[best.format], found.values, found.file))
    else:
        write_last(out, starting_map(found.values, found.file))


def first_records(place: Place) -> list[RawRecord]:
    """The first records of a file: `FIRST_RECORDS`, or fewer where they are large."""
    found: list[RawRecord] = []
    size = 0
    for record in islice(read_records(place), FIRST_RECORDS):
        found.append(record)
        size += len(record.raw)
        if size >= FIRST_BYTES:
            break
    return found


def find_candidates(records: Sequence[dict[str, Any]]) -> list[Candidate]:
    """The formats that records may be in, the likeliest first.

    First comes what reads more of them, then what leaves fewer of their fields unread, then what fits them more
    closely: of two formats that read a record, the one that knows fewer fields beside those that are there says more.
    """
    tried = (_try(one, records) for one in FORMATS.values())
    found = [one for one in tried if one is not None]
    return sorted(found, key=_likeliest_first)


def _likeliest_first(one: Candidate) -> tuple[int, int, bool, int, float, str]:
    return -one.accepted, -one.shaped, not one.tightness, len(one.unread), -one.tightness, one.format


class _Watched(dict[str, Any]):
    """An object of a record that notes which of its keys were read and held a value."""

    def __init__(self, values: dict[str, Any], seen: dict[str, None], prefix: str = "") -> None:
        # One level down is enough to tell formats apart; further down readers compare objects by identity.
        super().__init__(
            {
                key: _Watched(item, seen, f"{key}.") if isinstance(item, dict) and not prefix else item
                for key, item in values.items()
            }
        )
        self._seen = seen
        self._prefix = prefix

    def get(self, key: str, default: Any = None) -> Any:
        value = super().get(key, default)
        self._note(key, value)
        return value

    def __getitem__(self, key: str) -> Any:
        value = super().__getitem__(key)
        self._note(key, value)
        return value

    def _note(self, key: str, value: Any) -> None:
        if value is not None and key in self:
            self._seen[f"{self._prefix}{key}"] = None


def _try(one: Format, records: Sequence[dict[str, Any]]) -> Candidate | None:
    """What a format makes of records; None where it makes nothing of any of them."""
    accepted = judged = shaped = vague = 0
    refusal, seen = "", dict[str, None]()
    for record in records:
        if not _has_marks(one, record):
            continue
        read: dict[str, None] = {}
        try:
            drafts = list(one.parse(_Watched(record, read)))
        except RecordRejectedError as error:
            if not _speaks_for(one, record, error, read):
                continue
            shaped += 1
            refusal = refusal or error.detail
            seen |= read
            continue
        except ThumblineError:
            return None
        if all(isinstance(draft, IgnoredDraft) and draft.is_vague for draft in drafts):
            vague += 1
            continue
        accepted += 1
        judged += any(map(_is_judgement, drafts))
        seen |= read
    present = {key for record in records for key, value in record.items() if value is not None}
    known = one.keys or frozenset()
    if judged:
        accepted += vague  # what any log may say is said in this format where others of its records are judged
    if not judged and one.with_map is None and not _fits_closely(present, known, _THIRD):
        # Where nothing is judged, little is read, and a log of any other kind would do. What judges, a map may say.
        accepted = 0
    if not accepted and not shaped:
        return None
    return Candidate(
        format=one.name,
        accepted=accepted,
        shaped=shaped,
        records=len(records),
        fields=_leaves(seen),
        unread=tuple(sorted(present - known)) if one.keys is not None else (),
        refusal=refusal,
        needs=_need(one, records) if accepted or _has_ids(one, records) else "",
        needs_map=one.with_map is not None,
        tightness=len(present & known) / len(present | known),
    )


def _is_unjudged(one: Format, records: Sequence[dict[str, Any]]) -> bool:
    """Whether a format leaves out every record, and knows a field that is there in all of them and holds nothing."""
    present = {key for record in records for key, value in record.items() if value is not None}
    open_keys = {key for record in records for key in record} - present
    known = one.keys or frozenset()
    if one.with_map is not None or not open_keys & known or not _fits_closely(present, known, _LEAST_KNOWN):
        return False
    try:
        drafts = [draft for record in records for draft in one.parse(record)]
    except ThumblineError:
        return False
    return all(isinstance(draft, IgnoredDraft) for draft in drafts)


def _is_judgement(draft: Draft) -> bool:
    """Whether a draft is of a judgement, also of one that only a map gives a meaning."""
    return not isinstance(draft, IgnoredDraft) or draft.score is not None


def _fits_closely(present: Set[str], known: Set[str], least_share: float) -> bool:
    """Whether a format knows several of the keys that are there, and at least such a share of them."""
    both = len(present & known)
    return both >= _LEAST_FIELDS and both >= least_share * len(present)


def _has_marks(one: Format, record: dict[str, Any]) -> bool:
    return all(_has_value(record, mark, one.name) for mark in one.marks)


def _has_value(record: dict[str, Any], path: str, where: str) -> bool:
    try:
        return find_value(record, parse_path(path, where)) is not None
    except RecordRejectedError:
        return False


def _speaks_for(one: Format, record: dict[str, Any], error: RecordRejectedError, read: dict[str, None]) -> bool:
    """Whether a rejected record is nevertheless in the format."""
    present = {key for key, value in record.items() if value is not None}
    if error.reason in _OF_VALUES:
        fits = one.keys is None or _fits_closely(present, one.keys, _THIRD)
        return bool(one.marks) or (fits and len(read) >= _LEAST_FIELDS)
    join = one.join
    if join is None or not join.is_lacking(record) or error.reason != RejectReason.MISSING_FIELD:
        return False
    if not _has_value(record, join.key, one.name):
        # The format says what to do about it, which is asked of it where it knows every field.
        return bool(read) and _fits_closely(present, one.keys or frozenset(), 1.0)
    return bool(one.marks) or _fits_closely(present, one.keys or frozenset(), _LEAST_KNOWN)


def _has_ids(one: Format, records: Iterable[dict[str, Any]]) -> bool:
    """Whether a record has the id by which another file is looked in; without one no file helps."""
    return one.join is not None and any(_has_value(record, one.join.key, one.name) for record in records)


def _need(one: Format, records: Iterable[dict[str, Any]]) -> str:
    join = one.join
    if join is None or join.is_itself:
        return ""
    is_whole = (not join.is_lacking(record) or any(key in record for key in join.whole) for record in records)
    return "" if all(is_whole) else join.what


def _leaves(seen: Iterable[str]) -> tuple[str, ...]:
    """Field names without those of objects of which an inner field was read."""
    names = list(seen)
    parents = {name.partition(".")[0] for name in names if "." in name}
    return tuple(name for name in names if name not in parents)
