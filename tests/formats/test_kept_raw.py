"""What quarantine keeps of a record: no contacts and no raw user ids, and otherwise the bytes as they came."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from feedback.config import SourceConfig
from feedback.formats import Format, find_format
from feedback.formats.drafts import Join
from feedback.formats.mapped import mapped_format
from feedback.ingest import ingest
from feedback.ingest.kept_raw import CUT, is_contact_key, kept_raw
from feedback.ingest.rater_key import ENVIRONMENT_VARIABLE, rater_key
from feedback.records.raw_record import RawRecord, json_record
from schemas.errors import TooManyRejectedError
from schemas.reasons import RejectReason

KEY = b"a key that is for tests only"


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, KEY.decode())


def with_users(*user_keys: str, join: Join | None = None) -> Format:
    return replace(find_format("trl"), user_keys=frozenset(user_keys), join=join)


def kept(value: object, *user_keys: str) -> bytes:
    return kept_raw(json_record("in.jsonl", 1, json.dumps(value).encode()), with_users(*user_keys), KEY)


def broken(raw: bytes, *user_keys: str, columns: tuple[str, ...] = ()) -> bytes:
    return kept_raw(RawRecord("in", 1, raw, None, ("invalid_json", "x"), columns), with_users(*user_keys), KEY)


@pytest.mark.parametrize(
    "key",
    [
        *("ip", "IP", "ip_address", "ipAddress", "client_ip", "clientIp", "userIP", "remote-addr", "X-Forwarded-For"),
        *("email", "userEmail", "user_email", "e-mail", "E_Mail", "phone", "phone_number", "cf-connecting-ip"),
    ],
)
def test_keys_of_contacts_are_known_by_their_words(key: str) -> None:
    assert is_contact_key(key)


@pytest.mark.parametrize("key", ["tip", "zip", "script", "relationship", "mailing", "prompt", "user", "id", "", "ipso"])
def test_other_keys_are_no_contacts(key: str) -> None:
    assert not is_contact_key(key)


def test_a_record_without_anything_personal_is_kept_byte_for_byte() -> None:
    raw = b'{ "prompt" : "mail me at a@b.example, 10.0.0.1",  "user": "u1" }'
    assert kept_raw(json_record("in", 1, raw), with_users(), KEY) == raw


def test_contacts_are_cut_out_at_any_depth_and_user_ids_become_keyed_hashes() -> None:
    value = {"ip": "10.9.8.7", "user": "u1", "meta": [{"userEmail": ["a@b.example"], "user": 7}], "tip": "t"}
    assert kept({"user": 7.0}, "user") == kept({"user": 7}, "user")
    assert json.loads(kept(value, "user")) == {
        "ip": CUT,
        "user": rater_key("u1", KEY),
        "meta": [{"userEmail": CUT, "user": rater_key("7", KEY)}],
        "tip": "t",
    }


def test_a_user_that_is_an_object_is_cut_out_whole_and_an_absent_one_stays_absent() -> None:
    assert json.loads(kept({"user": {"name": "n"}, "more": {"user": None}}, "user")) == {
        "user": CUT,
        "more": {"user": None},
    }


def test_json_in_a_text_is_searched_too() -> None:
    inner = json.dumps({"client_ip": "10.9.8.7", "n": 1})
    assert json.loads(kept({"metadata": inner}))["metadata"] == json.dumps({"client_ip": CUT, "n": 1})
    plain = json.dumps({"n": 1}, indent=3)
    raw = json.dumps({"metadata": plain, "braces": "{ no JSON"}).encode()
    assert kept_raw(json_record("in", 1, raw), with_users(), KEY) == raw


@pytest.mark.parametrize(
    "raw",
    [
        b'{"prompt": "q", "ip": "10.9.8.7", "user": "u-canary", "x": ',
        b'{"ip": "10.9.8.',
        b'{"user": "u-cana',
        b'{"user": 4711, "email": "a@b.example", "x": NaN}',
        b'{"meta": "{\\"ip\\": \\"10.9.8.7\\", \\"user\\": \\"u-canary\\"}", oops',
        b"{'ip': '10.9.8.7', 'mail': 'a@b.example', 'six': '2001:db8:0:1::7'}",
        b'{"user": {"id": 4711, "mail": "u-canary"}, "prompt": "q"',
        b'{"user": ["u-canary", "u-canary"], "prompt": "q"',
        b"{'user': 'u-canary', 'prompt': 'q'}",
        b"\xff\xfe 10.9.8.7 a@b.example",
    ],
)
def test_of_what_cannot_be_read_all_that_looks_personal_is_cut_out(raw: bytes) -> None:
    text = broken(raw, "user")
    for secret in (b"10.9.8", b"u-cana", b"a@b.example", b"4711", b"2001:db8"):
        assert secret not in text
    assert text


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'{"user": "zo\\u00eb", "x": ', b'{"user": "%s", "x": ' % rater_key("zoë", KEY).encode()),
        (b'{"user": 4711, "x": ', b'{"user": "%s", "x": ' % rater_key("4711", KEY).encode()),
        (b'{"user": 4711', b'{"user": "[cut out]"'),
        (b'{"user": 47.11, "x": ', b'{"user": "[cut out]", "x": '),
        (b'{"user": "half \\ud800", "x": ', b'{"user": "[cut out]", "x": '),
        (b'{"user": "", "x": ', b'{"user": "[cut out]", "x": '),
        (b'{"user": "u-cana', b'{"user": "[cut out]"'),
    ],
)
def test_what_cannot_be_read_keeps_the_keyed_hash_of_an_id_that_is_whole(raw: bytes, expected: bytes) -> None:
    """So it is found when its user is to be forgotten; a number at the very end may have lost digits."""
    assert broken(raw, "user") == expected


def test_what_cannot_be_read_and_holds_nothing_personal_stays_as_it_is() -> None:
    raw = b'{"prompt": "at 12:30:45, version 1.2.3", "label": '
    assert broken(raw, "user") == raw


def test_a_broken_row_of_a_table_with_personal_columns_is_not_kept() -> None:
    """Which cell belongs to which column is what cannot be told; file and line are kept beside it."""
    assert broken(b"q,a,up,u1,x", "user", columns=("prompt", "completion", "label", "user")) == b""
    assert broken(b"q,a,up,u1,x", columns=("prompt", "completion", "label", "user")) == b"q,a,up,u1,x"
    assert broken(b"q,a,x", columns=("prompt", "ip")) == b""


def test_what_was_joined_to_a_record_is_not_kept_with_it() -> None:
    join = Join(what="texts", key="id", other="id", into="texts")
    record = json_record("in", 1, b'{"id": 1, "ip": "10.9.8.7"}')
    assert record.value is not None
    record.value["texts"] = {"prompt": "of another file"}
    assert json.loads(kept_raw(record, with_users(join=join), KEY)) == {"id": 1, "ip": CUT}
    odd = RawRecord("in", 2, b'{"a",10.9.8.7', {"id": '{"a"', "ip": "10.9.8.7"})
    assert json.loads(kept_raw(odd, with_users(), KEY)) == {"id": '{"a"', "ip": CUT}
    row = RawRecord("in", 2, b"1,10.9.8.7", {"id": "1", "ip": "10.9.8.7", "texts": [{"prompt": "of another file"}]})
    assert json.loads(kept_raw(row, with_users(join=join), KEY)) == {"id": "1", "ip": CUT}


def test_quarantine_holds_no_contact_and_no_raw_user_id(tmp_path: Path) -> None:
    """JSON lines that cannot be read, that are not in the format and that break a rule; and the same in a CSV file."""
    bad = [
        {"prompt": "q", "completion": "a", "label": "maybe", "user": "u-canary", "ip": "10.9.8.7"},
        {"prompt": " ", "completion": "a", "label": "up", "user": "u-canary", "meta": {"email": "canary@b.example"}},
        {"prompt": "q", "completion": "a", "label": "up", "user": ["u-canary"]},
        {"prompt": "q", "completion": "a", "label": "up", "user": True, "time": "canary"},
    ]
    lines = [*(json.dumps(one) for one in bad), '{"user": "u-canary", "ip": "10.9.8.7"']
    (tmp_path / "in.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (tmp_path / "in.csv").write_text(
        "prompt,completion,label,user,ip\nq,a,maybe,u-canary,10.9.8.7\nq,a,up,u-canary,10.9.8.7,more\n"
        'q,"a"b,up,u-canary,10.9.8.7\n',
        encoding="utf-8",
    )
    sources = [SourceConfig(path=str(tmp_path / name), format="thumbs") for name in ("in.jsonl", "in.csv")]
    result = ingest(sources, tmp_path / "out", max_rejected_share=1)
    rows = [row for path in result.quarantine for row in pq.read_table(path).to_pylist()]
    assert len(rows) == result.report.rows_in == 8
    shown = repr(rows)
    for secret in ("u-canary", "10.9.8.7", "canary@"):
        assert secret not in shown
    for row in rows:
        assert row["raw_sha256"] == hashlib.sha256(row["raw"]).hexdigest()
    maybe = json.loads(next(row["raw"] for row in rows if row["reason"] == RejectReason.UNKNOWN_LABEL))
    assert maybe["user"] == rater_key("u-canary", KEY)
    assert maybe["label"] == "maybe"


def test_a_map_says_which_key_is_a_user_id(tmp_path: Path) -> None:
    path = tmp_path / "map.toml"
    path.write_text(
        '[fields]\nprompt = "q"\ncompletion = "a"\nlabel = "v"\nuser = "who.list[0].account"\n[labels]\n1 = "up"\n'
    )
    assert mapped_format(path).user_keys == {"account"}
    assert find_format("mapped").user_keys == frozenset()


def test_lines_that_judge_nothing_do_not_count_against_a_file(tmp_path: Path) -> None:
    """Ninety-eight lines of a chat, a vote and a bad one: half of what judges is bad, not a hundredth."""
    judged = {"message_tree_id": "t", "prompt": {"message_id": "t", "role": "prompter", "text": "q", "replies": []}}
    for name, rank in (("a", 0), ("b", 1)):
        reply = {"message_id": name, "role": "assistant", "text": name, "rank": rank}
        judged["prompt"]["replies"].append(reply)  # type: ignore[index]
    silent = {"message_tree_id": "t", "prompt": {"message_id": "t", "role": "prompter", "text": "q"}}
    source = SourceConfig(path=str(tmp_path / "in.jsonl"), format="oasst_tree")

    def put(*records: object) -> None:
        text = "".join(json.dumps(one) + "\n" for one in records)
        (tmp_path / "in.jsonl").write_text(text, encoding="utf-8")

    put(*[silent] * 98, judged)
    result = ingest([source], tmp_path / "one")
    assert (result.report.rows_kept, result.rejected) == (1, {"no_judgement": 98})
    put(*[silent] * 98, judged, {"message_tree_id": "t", "prompt": 3})
    with pytest.raises(
        TooManyRejectedError,
        match=r"1 of 2 records \(50%\) were rejected: wrong_type 1; .*The first cases are: in.jsonl line 100",
    ):
        ingest([source], tmp_path / "two")
    put(silent)
    with pytest.raises(TooManyRejectedError, match=r"1 of 1 records \(100%\) were rejected: no_judgement 1"):
        ingest([source], tmp_path / "three")
