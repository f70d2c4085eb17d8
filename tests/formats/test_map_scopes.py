"""What a map reaches beside the record: items of lists, the way up a tree, and how they can be broken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from feedback.config import SourceConfig
from feedback.engine import read_rows
from feedback.formats import EventDraft
from feedback.formats.mapped import mapped_format
from feedback.formats.mapping.paths import find_value, parse_path, path_text
from feedback.ingest import ingest
from feedback.ingest.rater_key import ENVIRONMENT_VARIABLE
from schemas.errors import ConfigError, RecordRejectedError, UnknownChoiceError
from schemas.reasons import RejectReason
from tests.format_records import bot, user

EACH = """
[each]
list = "answers"
only = "item.vote"
[fields]
id = "id"
prompt = "q"
completion = "item.text"
label = "item.vote"
[labels]
1 = "up"
0 = "down"
"""

TREE = """
[tree]
nodes = "nodes"
rated = "rated"
parent = "up"
[fields]
conversation_messages = "thread"
label = "vote"
[labels]
1 = "up"
"""


def drafts(folder: Path, text: str, record: dict[str, Any]) -> list[Any]:
    (folder / "map.toml").write_text(text, "utf-8")
    return list(mapped_format(folder / "map.toml").parse(record))


def rejection(folder: Path, text: str, record: dict[str, Any]) -> tuple[str, str]:
    with pytest.raises(RecordRejectedError) as caught:
        drafts(folder, text, record)
    return caught.value.reason, caught.value.detail


def node(name: str, above: str | None, role: str = "user", **more: Any) -> dict[str, Any]:
    return {"id": name, "up": above, "role": role, "content": f"text {name}", **more}


def tree(*nodes: dict[str, Any], rated: Any = "b") -> dict[str, Any]:
    return {"nodes": list(nodes), "rated": rated, "vote": 1}


def test_each_judged_item_gives_a_draft_with_the_fields_of_its_record(tmp_path: Path) -> None:
    answers = [{"text": "a", "vote": 1}, {"text": "b"}, {"text": "c", "vote": 0}]
    expected = [
        EventDraft(
            prompt=[user("q")],
            completion=[bot(text)],
            signal="thumb",
            raw_value=vote,
            label=bool(vote),
            record_id=f"r/{place}",
        )
        for place, text, vote in ((0, "a", 1), (2, "c", 0))
    ]
    assert drafts(tmp_path, EACH, {"id": "r", "q": "q", "answers": answers}) == expected
    as_text = '[{"text": "a", "vote": 1}, {"text": "b"}, {"text": "c", "vote": 0}]'
    assert drafts(tmp_path, EACH, {"id": "r", "q": "q", "answers": as_text}) == expected


def test_the_id_of_an_item_of_an_object_stays_when_keys_are_added(tmp_path: Path) -> None:
    one = {"text": "A", "vote": 1}
    early = drafts(tmp_path, EACH, {"id": "r", "q": "Q", "answers": {"m/1": one}})
    later = drafts(tmp_path, EACH, {"id": "r", "q": "Q", "answers": {"a~": one, "m/1": one}})
    assert [draft.record_id for draft in early] == ["r/m~11"]
    assert [draft.record_id for draft in later] == ["r/a~0", "r/m~11"]


def test_items_of_an_object_are_known_by_their_keys(tmp_path: Path) -> None:
    text = EACH.replace('id = "id"', 'id = "item_key"\nmodel = "item_key"\nstrength = "item_place"')
    found = drafts(
        tmp_path, text, {"q": "q", "answers": {"m-1": {"text": "a", "vote": 1}, "m-2": {"text": "b", "vote": 0}}}
    )
    assert [(one.record_id, one.model_id, one.strength) for one in found] == [("m-1", "m-1", 0.0), ("m-2", "m-2", 1.0)]


@pytest.mark.parametrize(
    ("record", "reason", "detail"),
    [
        ({"q": "q"}, RejectReason.MISSING_FIELD, "field 'answers' is absent or null"),
        ({"q": "q", "answers": 3}, RejectReason.WRONG_TYPE, "field 'answers' is 3; expected a list or an object"),
        ({"q": "q", "answers": "x"}, RejectReason.INVALID_JSON, "the text at 'answers' is 'x'; expected JSON"),
        ({"q": "q", "answers": []}, RejectReason.NO_JUDGEMENT, "no item of the list at 'answers' is to be read"),
        (
            {"q": "q", "answers": [{"text": "a"}]},
            RejectReason.NO_JUDGEMENT,
            "no item of the list at 'answers' is to be read",
        ),
        (
            {"q": "q", "answers": [{"text": "a", "vote": 1}, {"text": "a", "vote": 5}]},
            RejectReason.UNKNOWN_LABEL,
            "field 'label' is 5; the map knows 0, 1",
        ),
    ],
)
def test_a_list_that_is_broken_rejects_its_record(
    tmp_path: Path, record: dict[str, Any], reason: RejectReason, detail: str
) -> None:
    assert rejection(tmp_path, EACH, record) == (reason, detail)


def test_the_way_up_a_tree_is_the_prompt_and_other_branches_are_not(tmp_path: Path) -> None:
    nodes = [
        node("b", "a", "assistant", model="m"),
        node("a", None),
        node("x", "a", "assistant"),
        node("later", "b"),
    ]
    text = TREE.replace('label = "vote"', 'label = "vote"\nmodel = "thread[-1].model"')
    (draft,) = drafts(tmp_path, text, tree(*nodes))
    assert (draft.prompt, draft.completion, draft.model_id) == ([user("text a")], [bot("text b")], "m")
    by_id = {one["id"]: {key: value for key, value in one.items() if key != "id"} for one in nodes}
    assert drafts(tmp_path, text, {"nodes": by_id, "rated": "b", "vote": 1}) == [draft]


def test_ids_of_a_tree_may_be_numbers_and_roots_may_have_a_parent_that_is_none(tmp_path: Path) -> None:
    nodes = [{**node("", None), "id": 1, "up": "top"}, {**node("", None, "assistant"), "id": 2, "up": 1}]
    (draft,) = drafts(
        tmp_path, TREE.replace('parent = "up"', 'parent = "up"\nroots = ["top"]'), tree(*nodes, rated="2")
    )
    assert len(draft.prompt) == 1


@pytest.mark.parametrize(
    ("record", "reason", "detail"),
    [
        (tree(node("a", None)), RejectReason.BROKEN_THREAD, "the rated message, 'b', is not at 'nodes'"),
        (tree(node("b", "a")), RejectReason.BROKEN_THREAD, "the parent of a message, 'a', is not at 'nodes'"),
        (tree(node("a", "b"), node("b", "a")), RejectReason.BROKEN_THREAD, "message 'b' is its own ancestor"),
        (
            tree(node("b", None), node("b", "a")),
            RejectReason.BROKEN_THREAD,
            "two messages at 'nodes' have the id 'b'",
        ),
        (tree(rated=None), RejectReason.MISSING_FIELD, "field 'rated' is absent or null"),
        (tree(rated=[1]), RejectReason.WRONG_TYPE, "the id of a message is a list; expected text or a whole number"),
        (
            tree(node("b", None)),
            RejectReason.BAD_ROLES,
            "field 'conversation_messages' ends with user, not with assistant",
        ),
    ],
)
def test_a_tree_that_is_broken_rejects_its_record(
    tmp_path: Path, record: dict[str, Any], reason: RejectReason, detail: str
) -> None:
    assert rejection(tmp_path, TREE, record) == (reason, detail)


def test_messages_without_content_are_left_out_of_the_way_but_the_rated_one(tmp_path: Path) -> None:
    text = TREE.replace('parent = "up"', 'parent = "up"\nonly = "content"')
    nodes = [{**node("root", None), "content": None}, node("a", "root"), node("b", "a", "assistant")]
    (draft,) = drafts(tmp_path, text, tree(*nodes))
    assert draft.prompt == [user("text a")]
    reason = rejection(tmp_path, text, tree(*nodes, rated="root"))
    assert reason == (RejectReason.BROKEN_THREAD, "the rated message has nothing at 'content'")


def test_several_rated_messages_of_one_tree_are_items(tmp_path: Path) -> None:
    text = TREE.replace("[tree]", '[each]\nlist = "nodes"\nonly = "item.vote"\n[tree]')
    text = text.replace('rated = "rated"', 'rated = "item.id"').replace('"vote"', '"item.vote"')
    nodes = [node("a", None), node("b", "a", "assistant", vote=1), node("c", "a", "assistant", vote=1)]
    found = drafts(tmp_path, text, {"nodes": nodes})
    assert [one.completion for one in found] == [[bot("text b")], [bot("text c")]]
    assert {tuple(turn["content"] for turn in one.prompt) for one in found} == {("text a",)}


def test_a_message_that_calls_a_tool_is_refused_where_its_keys_are_paths(tmp_path: Path) -> None:
    text = TREE + '[options]\nrole_key = "m.role"\ncontent_key = "m.text"\n'
    said = {"m": {"role": "assistant", "text": "t"}, "id": "b", "tool_calls": [{"id": "1"}]}
    assert rejection(tmp_path, text, tree(said))[0] == RejectReason.WRONG_TYPE


@pytest.mark.parametrize(
    ("text", "error", "match"),
    [
        (EACH.replace('"item.vote"\n[fields]', '"item["\n[fields]'), ConfigError, "a path of the map cannot be read"),
        (EACH.replace("only", "just"), ConfigError, "config key 'each.0.just' is not right"),
        (
            TREE.replace('"up"', '"up"\nname = "item"', 1) + '[[each]]\nlist = "x"\n',
            ConfigError,
            "two tables .* one name",
        ),
        (
            TREE + '[options]\njson = ["answer"]\n',
            UnknownChoiceError,
            "unknown field: got 'answer'; expected one of chosen",
        ),
        (TREE.replace('"up"\n[labels]', '"up"\n[labels]').replace('1 = "up"', '1 = "?"'), ConfigError, "labels.1"),
        (
            TREE.replace('"vote"', '"?"'),
            ConfigError,
            r"the map leaves 1 undecided: fields.label: got '\?'.*never guessed",
        ),
        ('[join]\nkey = "a["\nother = "b"\ninto = "c"\n' + TREE, ConfigError, "a path of the map cannot be read"),
    ],
)
def test_a_map_that_is_wrong_or_undecided_is_an_error(
    tmp_path: Path, text: str, error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        drafts(tmp_path, text, {})


def test_a_path_is_written_as_it_is_read() -> None:
    for steps in (("a", 0, "b"), ("a.b", -1), ('say "x"', "back\\slash"), ("a[0]",)):
        assert parse_path(path_text(steps), "map") == steps
    assert find_value({"a.b": [1, 2]}, parse_path('["a.b"][-2]', "map")) == 1


def test_items_keep_their_ids_when_more_are_judged_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The events of one item are revisions of one record, whatever was judged beside it."""
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "a key that is for tests only")
    (tmp_path / "map.toml").write_text(EACH, "utf-8")
    ids = []
    for name, votes in (("first", "null, 1"), ("second", "1, 1")):
        votes_of = votes.split(", ")
        answers = ", ".join(f'{{"text": "a{place}", "vote": {vote}}}' for place, vote in enumerate(votes_of))
        (tmp_path / f"{name}.jsonl").write_text(f'{{"id": "r", "q": "q", "answers": [{answers}]}}\n')
        source = SourceConfig(path=str(tmp_path / f"{name}.jsonl"), format="mapped", map=str(tmp_path / "map.toml"))
        result = ingest([source], tmp_path / name)
        ids.append(read_rows(result.events[0])["source_record_id"].to_list())
    assert ids == [["r/1"], ["r/0", "r/1"]]
