"""What quarantine keeps of a raw record: its bytes, without what says who somebody is or where they sat.

    record ─┬─ nothing personal in it ─► its bytes
            ├─ an object ──────────────► the object as JSON; contacts cut out, user ids as keyed hashes
            └─ not readable ───────────► its bytes; what looks personal cut out, user ids that are whole as keyed hashes

Network addresses, e-mail addresses and telephone numbers are known by their keys, at any depth and in JSON that lies in
a text; user ids by the keys that the format names, and the keyed hash says whose record it is when somebody is to be
forgotten. What people wrote themselves is not searched: a prompt may hold an
address as well as a name. Where nothing can be read, more is cut out than must be, since nobody can tell any more.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final

from feedback.formats import Format
from feedback.formats.parts.fields import id_text
from feedback.ingest.rater_key import rater_key
from feedback.records.raw_record import RawRecord

__all__ = ["CUT", "is_contact_key", "kept_raw"]

CUT: Final = "[cut out]"
"""What stands in the place of a contact."""

_CONTACTS: Final = frozenset(
    {"ip", "ips", "ipv4", "ipv6", "ipaddr", "ipaddress", "email", "emails", "phone", "phones", "telephone", "msisdn"}
)
_CONTACTS_OF_TWO: Final = frozenset({"e mail", "e mails", "user mail", "forwarded for", "remote addr", "phone number"})
_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+[0-9]*")
_KEY: Final = re.compile(rb'\\*["\']([^"\'\\]+)\\*["\']\s*:\s*')
_VALUE: Final = re.compile(rb'"(?:[^"\\]|\\.)*"?|\\+"(?:(?!\\+").)*(?:\\+")?|[\[{].*|[^,}\]\s]+', re.DOTALL)
_WHOLE_ID: Final = re.compile(rb'"(?:[^"\\]|\\.)+"|-?[0-9]+(?=[,}\]\s])')
_MAIL: Final = re.compile(rb"[A-Za-z0-9._%+\-]+@[A-Za-z0-9\-]+(?:\.[A-Za-z0-9\-]+)+")
_V4: Final = re.compile(rb"(?<![0-9.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![0-9.])")
_V6: Final = re.compile(
    rb"(?<![0-9A-Za-z:])(?=[:0-9A-Fa-f]*[0-9A-Fa-f])(?:(?:[0-9A-Fa-f]{0,4}:){3,7}|[0-9A-Fa-f]{2,4}::)[0-9A-Fa-f]{0,4}"
    rb"(?![0-9A-Za-z:])"
)


def kept_raw(record: RawRecord, source_format: Format, key: bytes) -> bytes:
    """The bytes of the record that quarantine keeps.

    Args:
        record: the record as it came; what was joined to it from another file is not kept.
        source_format: its format, which says which keys hold user ids.
        key: key for user ids.
    """
    if record.value is None:
        return _without_what_looks_personal(record, source_format.user_keys, key)
    cleaner = _Cleaner(source_format.user_keys, key)
    cleaned = cleaner.clean(_own_value(record, source_format))
    if not cleaner.has_cut:
        return record.raw
    # Columns of a table file come with their own types of time.
    return json.dumps(cleaned, ensure_ascii=False, default=str).encode("utf-8", "surrogatepass")


@lru_cache(maxsize=4096)
def is_contact_key(key: str) -> bool:
    """Whether a key holds a network address, an e-mail address or a telephone number, by the words in its name.

    >>> [is_contact_key(key) for key in ("ip", "clientIp", "user_email", "x-forwarded-for", "tip", "zip")]
    [True, True, True, True, False, False]
    """
    words = [word.lower() for word in _WORD.findall(key)]
    pairs = (f"{first} {second}" for first, second in pairwise(words))
    return not _CONTACTS.isdisjoint(words) or not _CONTACTS_OF_TWO.isdisjoint(pairs)


def _own_value(record: RawRecord, source_format: Format) -> dict[str, Any]:
    """The object in the bytes, or the row of a table whose bytes are no JSON."""
    try:
        own = json.loads(record.raw)
    except ValueError:
        own = None
    if isinstance(own, dict):
        return own
    joined = None if source_format.join is None else source_format.join.into
    return {name: value for name, value in (record.value or {}).items() if name != joined or isinstance(value, str)}


@dataclass(slots=True)
class _Cleaner:
    """Copies values without what is personal, and knows whether anything was."""

    user_keys: frozenset[str]
    key: bytes
    has_cut: bool = False

    def clean(self, value: Any) -> Any:
        """A copy of `value`."""
        if isinstance(value, dict):
            return {name: self._clean_item(name, item) for name, item in value.items()}
        if isinstance(value, list):
            return [self.clean(item) for item in value]
        if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
            return self._clean_text(value)
        return value

    def _clean_item(self, name: Any, value: Any) -> Any:
        if value in (None, "", [], {}) or isinstance(value, bool) or not isinstance(name, str):
            return value
        if is_contact_key(name):
            self.has_cut = True
            return CUT
        if name in self.user_keys:
            self.has_cut = True
            person = id_text(value)
            return CUT if person is None else rater_key(person, self.key)
        return self.clean(value)

    def _clean_text(self, text: str) -> str:
        inner = _Cleaner(self.user_keys, self.key)
        try:
            cleaned = inner.clean(json.loads(text))
        except (ValueError, RecursionError):
            return text
        self.has_cut |= inner.has_cut
        return json.dumps(cleaned, ensure_ascii=False) if inner.has_cut else text


def _without_what_looks_personal(record: RawRecord, user_keys: Collection[str], key: bytes) -> bytes:
    if any(is_contact_key(name) or name in user_keys for name in record.columns):
        # Which cell of a broken row belongs to which column is exactly what cannot be told.
        return b""
    raw = _without_values(record.raw, user_keys, key)
    for pattern in (_MAIL, _V4, _V6):
        raw = pattern.sub(CUT.encode(), raw)
    return raw


def _without_values(raw: bytes, user_keys: Collection[str], key: bytes) -> bytes:
    parts: list[bytes] = []
    end = 0
    for found in _KEY.finditer(raw):
        name = found[1].decode("utf-8", "replace")
        if found.start() < end or not (is_contact_key(name) or name in user_keys):
            continue
        value = _VALUE.match(raw, found.end())
        if value is not None:
            is_id = name in user_keys and not is_contact_key(name)
            kept = _hash_of(raw[value.start() : value.end() + 1], key) if is_id else CUT
            parts += [raw[end : found.end()], json.dumps(kept).encode()]
            end = value.end()
    return b"".join((*parts, raw[end:]))


def _hash_of(value: bytes, key: bytes) -> str:
    """The keyed hash of an id as JSON writes it, with the byte behind it: a number at the end may go on."""
    whole = _WHOLE_ID.match(value)
    if whole is None:
        return CUT
    try:
        return rater_key(str(json.loads(whole[0])), key)
    except ValueError:
        return CUT
