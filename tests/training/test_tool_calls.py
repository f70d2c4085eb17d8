"""Tool calls from a dataset to the model's tokens: read, written by the template, or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from align.data.dataset import read_split
from align.data.rows import LabelledRow
from schemas.errors import InputError, ModelError
from schemas.reasons import DropReason
from tests.token_rows import run
from tests.training.test_align_dataset import ASSISTANT, USER, jsonl

CALL = {"type": "function", "function": {"name": "get_weather", "arguments": {"city": "Paris"}}}
ASKED = {"role": "user", "content": "weather?"}
RESULT = {"role": "tool", "content": "sunny"}
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.name %}({{ m.name }}){% endif %}"
    "{% if m.content %}{{ m.content }}\n{% endif %}"
    "{% for call in m.tool_calls or [] %}<call>{{ call.function.name }} {{ call.function.arguments | tojson }}"
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CALLED = '<|im_start|>assistant\n<call>get_weather {"city": "Paris"}<|im_end|>\n'


def calling(*calls: Any, content: str | None = "", **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, "tool_calls": list(calls), **more}


def conversation(*calls: Any, **more: Any) -> dict[str, Any]:
    return {"prompt": [ASKED, calling(*calls, **more), RESULT], "completion": [ASSISTANT], "label": True}


def read(tmp_path: Path, record: dict[str, Any]) -> LabelledRow:
    [row] = read_split(jsonl(tmp_path / "rows.jsonl", record), "train")
    return row


def text_of(tokenizer: Any, row: LabelledRow) -> str:
    [tokenized] = run(tokenizer, row).rows
    return str(tokenizer.decode([*tokenized.prompt_ids, *tokenized.completion_ids]))


@pytest.mark.parametrize("content", ["", None])
@pytest.mark.parametrize(
    "call",
    [
        CALL,
        {"id": "c1", **CALL},
        {"name": "get_weather", "arguments": {"city": "Paris"}},
        {"type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}},
    ],
)
def test_a_tool_call_is_written_by_the_template(
    tmp_path: Path, tokenizer_factory: Any, call: dict[str, Any], content: str | None
) -> None:
    """Whether its arguments are an object or the JSON text of one, and whether the turn's text is null or blank."""
    text = text_of(tokenizer_factory(chat_template=TEMPLATE), read(tmp_path, conversation(call, content=content)))
    assert CALLED + "<|im_start|>tool\nsunny" in text


def test_calls_in_parquet_have_their_own_arguments_only(tmp_path: Path, tokenizer_factory: Any) -> None:
    other = {"type": "function", "function": {"name": "find", "arguments": {"query": "x"}}}
    records = [conversation(CALL), conversation(other)]
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "rows.parquet")
    rows = read_split(tmp_path / "rows.parquet", "train")
    assert [row.prompt for row in rows] == [record["prompt"] for record in records]
    assert CALLED in text_of(tokenizer_factory(chat_template=TEMPLATE), rows[0])


def test_an_answer_may_be_a_tool_call(tmp_path: Path, tokenizer_factory: Any) -> None:
    tokenizer = tokenizer_factory(chat_template=TEMPLATE)
    row = read(tmp_path, {"prompt": [USER], "completion": [calling(CALL)], "label": True})
    [tokenized] = run(tokenizer, row).rows
    assert tokenizer.decode(tokenized.completion_ids) == '<call>get_weather {"city": "Paris"}<|im_end|>'


def test_a_call_as_answer_keeps_its_form_where_the_prompt_is_drawn_otherwise(
    tmp_path: Path, tokenizer_factory: Any
) -> None:
    """The line break that stands behind a text is not written: there is no text."""
    template = TEMPLATE.replace("{{ m.role }}", "{{ m.role }}{{ loop.length }}")
    tokenizer = tokenizer_factory(chat_template=template)
    split = run(tokenizer, read(tmp_path, {"prompt": [USER], "completion": [calling(CALL)], "label": True}))
    assert split.figures["redrawn_prompts"] == 1
    assert tokenizer.decode(split.rows[0].completion_ids) == '<call>get_weather {"city": "Paris"}<|im_end|>'


def test_a_name_reaches_the_template(tmp_path: Path, tokenizer_factory: Any) -> None:
    row = read(tmp_path, {"prompt": [{**USER, "name": "bob"}], "completion": [ASSISTANT], "label": True})
    assert "user\n(bob)hi" in text_of(tokenizer_factory(chat_template=TEMPLATE), row)


def test_a_template_that_wants_arguments_as_text_gets_them_so(tmp_path: Path, tokenizer_factory: Any) -> None:
    template = TEMPLATE.replace("{{ call.function.arguments | tojson }}", "{{ '' + call.function.arguments }}")
    assert CALLED in text_of(tokenizer_factory(chat_template=template), read(tmp_path, conversation(CALL)))


def test_an_argument_that_spells_a_control_token_is_plain_text(tmp_path: Path, tokenizer_factory: Any) -> None:
    tokenizer = tokenizer_factory(chat_template=TEMPLATE)
    call = {"type": "function", "function": {"name": "f", "arguments": {"q": "<|im_end|>"}}}
    split = run(tokenizer, read(tmp_path, conversation(call)))
    [tokenized] = split.rows
    assert tokenized.prompt_ids.count(tokenizer.eos_token_id) == 3
    assert '{"q": "<|im_end|>"}' in tokenizer.decode(tokenized.prompt_ids)
    assert split.figures["control_texts"] == 1


FIRST_CALL_ONLY = TEMPLATE.replace("m.tool_calls or []", "(m.tool_calls or [])[:1]")
NO_OBJECT = TEMPLATE.replace("{{ call.function.arguments | tojson }}", "{{ 1 + call.function.arguments }}")


@pytest.mark.parametrize("template", ["chat", FIRST_CALL_ONLY, NO_OBJECT])
def test_a_row_whose_calls_the_template_does_not_write_is_counted(
    tmp_path: Path, tokenizer_factory: Any, chat_tokenizer: Any, template: str
) -> None:
    tokenizer = chat_tokenizer if template == "chat" else tokenizer_factory(chat_template=template)
    plain = read(tmp_path, {"prompt": [USER], "completion": [ASSISTANT], "label": True})
    split = run(tokenizer, read(tmp_path, conversation(CALL, CALL)), plain)
    assert split.dropped == {DropReason.TEMPLATE_REFUSED: 1}
    assert len(split.rows) == 1


def test_if_no_call_of_any_row_is_written_the_reason_is_said(
    tmp_path: Path, chat_tokenizer: Any, tokenizer_factory: Any
) -> None:
    row = read(tmp_path, conversation(CALL))
    with pytest.raises(ModelError, match=r"refuses every row \(the template does not write tool calls\)"):
        run(chat_tokenizer, row)
    with pytest.raises(ModelError, match="there is no template, and without one tool calls cannot be written"):
        run(tokenizer_factory(chat_template=None), row)


@pytest.mark.parametrize(
    ("turn", "message"),
    [
        (calling("get_weather"), "a tool call does not name its function: got 'get_weather'; expected"),
        (calling({"function": {"arguments": {}}}), "a tool call does not name its function"),
        (calling({"function": {"name": "f", "arguments": "{torn"}}), "call of f: the arguments of a tool call are not"),
        (
            calling({"function": {"name": "f", "arguments": "[1]"}}),
            r"are not an object: got '\[1\]'; expected an object",
        ),
        ({**ASSISTANT, "tool_calls": "text"}, "tool_calls is not a list: got 'text'"),
        ({**USER, "tool_calls": [CALL]}, "a turn that is not the assistant's calls tools: got 'user'"),
        ({**ASSISTANT, "function_call": {"name": "f"}}, "a turn has a function_call: got .*expected tool_calls"),
        ({**ASSISTANT, "name": 5}, "name: not a text: got 5"),
        ({**ASSISTANT, "tool_call_id": 5}, "tool_call_id: not a text: got 5"),
        ({"role": "assistant", "content": None, "tool_calls": []}, "a turn is not a role and a text"),
    ],
)
def test_a_turn_that_cannot_be_read_names_its_row(tmp_path: Path, turn: dict[str, Any], message: str) -> None:
    record = {"prompt": [ASKED, turn, RESULT], "completion": [ASSISTANT], "label": True}
    with pytest.raises(InputError, match=f"row 0, column 'prompt'.*{message}"):
        read(tmp_path, record)


def test_a_call_without_arguments_has_none(tmp_path: Path) -> None:
    calls = [{"function": {"name": "now"}}, {"function": {"name": "now", "arguments": ""}}]
    row = read(tmp_path, conversation(*calls))
    said = json.loads(json.dumps(row.prompt[1]))["tool_calls"]
    assert said == [{"type": "function", "function": {"name": "now", "arguments": {}}}] * 2
