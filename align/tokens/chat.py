"""One conversation into token ids: the model's own chat template, with texts that cannot forge its control tokens.

A tokenizer reads `<|im_end|>` in a user's text as the end of the turn. Here the template's control tokens are renamed,
in a copy of the tokenizer and in the rendered text, to spellings that no text has; what is written in the conversation
keeps its spelling, and so is plain text. All else is tokenized as the model's tokenizer does, in one go.

messages ──break control tokens inside contents──► template ──rename the template's own──► one encoding ──border──► ids
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from jinja2.exceptions import TemplateError
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from align.tokens.tool_calls import calls_of, texts_in, with_calls_marked, with_text_arguments
from schemas.errors import ModelError
from schemas.messages import Message

__all__ = ["ChatEncoder", "Encoded"]

# private-use characters: no text of meaning has them, and they are removed from contents
_NAME: Final = "\U0010f8f0"
_BREAK: Final = "\U0010f8f1"
_START: Final = "\U0010f8f2"
_MARKS: Final = re.compile(f"[{_NAME}{_BREAK}{_START}]")


@dataclass(frozen=True, slots=True)
class Encoded:
    """A prompt and its completion as token ids, and what happened on the way.

    Args:
        prompt_ids: up to and with the template's generation prompt: what the model is given when it answers.
        completion_ids: the answer, up to and with the token that ends the turn.
        is_turn_ended: whether the completion ends with a special token, as a finished answer does.
        is_border_merged: a token spanned the border; prompt and completion were then encoded apart.
        is_prompt_redrawn: the template writes the prompt otherwise once it is answered; the unanswered form was taken.
        is_trimmed: the template did not write the answer's text as it was, for example without its outer white space.
        has_control_text: a text of the conversation spells a control token; it was encoded as plain text.
    """

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    is_turn_ended: bool
    is_border_merged: bool
    is_prompt_redrawn: bool
    is_trimmed: bool
    has_control_text: bool


class ChatEncoder:
    """Encodes conversations for one tokenizer.

    Control tokens are the special tokens and, outside the assistant's turns, every added token that the template
    writes: an assistant may write `<think>` as a token where its template knows it, a user may not.

    Without a chat template (a base model), the turns' texts are joined by blank lines, except where white space stands
    at the border already; the tokenizer's beginning-of-sequence token, where it adds one, goes before, its
    end-of-sequence token after.

    Args:
        tokenizer: a fast tokenizer of transformers.

    Raises:
        ModelError: the tokenizer is not a fast one, or its control tokens cannot be renamed.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise ModelError("the tokenizer is not a fast one", where=type(tokenizer).__name__, todo="Convert it")
        self._tokenizer = tokenizer
        template = _template_text(tokenizer.chat_template)
        added = {token_id: token for token_id, token in tokenizer.added_tokens_decoder.items() if token.content}
        self._special_ids = {token_id for token_id, token in added.items() if token.special}
        written = {i for i, token in added.items() if token.content in template and not token.content.isspace()}
        self._control_ids = {added[token_id].content: token_id for token_id in sorted(self._special_ids | written)}
        self._control = _any_of(self._control_ids)
        self._special = _any_of(text for text, token_id in self._control_ids.items() if token_id in self._special_ids)
        self._backend = _rename_tokens(tokenizer.backend_tokenizer, self._control_ids)
        self._bos, self._eos = _bos_and_eos(tokenizer)

    def encode(self, prompt: Sequence[Message], completion: Message, tools: str | None = None) -> Encoded:
        """Token ids of a prompt and its completion.

        Args:
            prompt: turns up to the answer.
            completion: the answer, a turn of the assistant.
            tools: JSON list of tools for the template, or none.

        Raises:
            TemplateError: the chat template refuses the conversation.
        """
        turns = [*prompt, completion]
        clean = [self._break_turn(turn) for turn in turns]
        text, border, is_redrawn = self._text(clean, tools)
        text, border = self._settle_ends(text, border)
        prompt_ids, completion_ids, is_merged = self._encode_apart(text, border)
        return Encoded(
            prompt_ids=tuple(prompt_ids),
            completion_ids=tuple(completion_ids),
            is_turn_ended=bool(completion_ids) and completion_ids[-1] in self._special_ids,
            is_border_merged=is_merged,
            is_prompt_redrawn=is_redrawn,
            is_trimmed=self._hide(clean[-1]["content"]) not in text[border:],
            has_control_text=any(self._breaks(turn).search(text) for turn in turns for text in texts_in(_said(turn))),
        )

    def is_only_turn_end(self, token_ids: Sequence[int]) -> bool:
        """Whether nothing but special tokens is left of a completion."""
        return all(token_id in self._special_ids for token_id in token_ids)

    def _breaks(self, turn: Message) -> re.Pattern[str]:
        return self._special if turn["role"] == "assistant" else self._control

    def _break_turn(self, turn: Message) -> Message:
        tokens = self._breaks(turn)
        said = {key: _break_all(value, tokens) for key, value in _said(turn).items()}
        return cast("Message", {"role": turn["role"], **said})

    def _text(self, turns: list[Message], tools: str | None) -> tuple[str, int, bool]:
        """The whole text, the border between prompt and completion, and whether the prompt was taken unanswered."""
        calls = calls_of(turns)
        if self._tokenizer.chat_template is None:
            if calls:
                raise TemplateError("there is no template, and without one tool calls cannot be written")
            prompt = _join(turn["content"] for turn in turns[:-1])
            whole = _join([prompt, turns[-1]["content"]])
            border = len(whole) - len(turns[-1]["content"])
            names = [_name(token) if token is not None else "" for token in (self._bos, self._eos)]
            start = names[0] + self._hide(whole[:border])
            return start + self._hide(whole[border:]) + names[1], len(start), False
        known = None if tools is None else _break_all(json.loads(tools), self._control)
        if calls and self._render(with_calls_marked(turns, _START), known, is_answered=True).count(_START) < calls:
            raise TemplateError("the template does not write tool calls")
        prompt = self._hide(self._render(turns[:-1], known, is_answered=False))
        whole = self._hide(self._render(turns, known, is_answered=True))
        if whole.startswith(prompt):
            return whole, len(prompt), False
        content = turns[-1]["content"]
        blank = len(content) - len(content.lstrip())
        marked = cast("Message", {**turns[-1], "content": content[:blank] + _START + content[blank:]})
        drawn = self._hide(self._render([*turns[:-1], marked], known, is_answered=True))
        before, found, answer = drawn.rpartition(_START)
        if not found:
            raise TemplateError("the template does not write the answer")
        if not content and whole.startswith(before):  # a tool call alone, which needs no line for a text
            answer = whole[len(before) :]
        return prompt + answer, len(prompt), True

    def _render(self, turns: Sequence[Message], tools: Any, *, is_answered: bool) -> str:
        try:
            return self._apply(turns, tools, is_answered=is_answered)
        except TypeError as error:  # an object where the template wants a text
            if not calls_of(turns):
                raise
            try:
                return self._apply(with_text_arguments(turns), tools, is_answered=is_answered)
            except TypeError:
                raise TemplateError(f"the template cannot write a tool call ({error})") from error

    def _apply(self, turns: Sequence[Message], tools: Any, *, is_answered: bool) -> str:
        chat: Any = [dict(turn) for turn in turns]
        return str(
            self._tokenizer.apply_chat_template(
                chat, tools=tools, tokenize=False, add_generation_prompt=not is_answered
            )
        )

    def _hide(self, text: str) -> str:
        """Rename the control tokens that are whole, then mend the broken ones."""
        renamed = self._control.sub(lambda found: _name(self._control_ids[found[0]]), text)
        return renamed.replace(_BREAK, "")

    def _settle_ends(self, text: str, border: int) -> tuple[str, int]:
        """One beginning token, and nothing after the token that ends the turn: a model that answers stops there."""
        if self._bos is not None:
            first = _name(self._bos)
            while border >= 2 * len(first) and text.startswith(first * 2):
                text, border = text[len(first) :], border - len(first)
        last = re.search(f"{_NAME}([0-9]+){_NAME}(\\s*)$", text[border:])
        if last is None or int(last[1]) not in self._special_ids:
            return text, border
        text, end = text[: border + last.start(2)], _name(int(last[1]))
        while text[border:].endswith(end * 2):
            text = text[: -len(end)]
        return text, border

    def _encode_apart(self, text: str, border: int) -> tuple[list[int], list[int], bool]:
        whole = self._backend.encode(text, add_special_tokens=False)
        first = next((at for at, (start, _) in enumerate(whole.offsets) if start >= border), len(whole.ids))
        if first == 0 or whole.offsets[first - 1][1] <= border:
            return whole.ids[:first], whole.ids[first:], False
        return self._ids(text[:border]), self._continue(text[border:]), True

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._backend.encode(text, add_special_tokens=False).ids
        return ids

    def _continue(self, text: str) -> list[int]:
        """Encode after a line break, so that a tokenizer that marks the start of a text does not mark this one."""
        line = self._ids("\n")
        ids = self._ids("\n" + text)
        return ids[len(line) :] if ids[: len(line)] == line else self._ids(text)


def _said(turn: Message) -> dict[str, Any]:
    """Everything of a turn but who speaks."""
    return {key: value for key, value in turn.items() if key != "role"}


def _template_text(template: object) -> str:
    if isinstance(template, dict):
        return "\n".join(str(each) for each in template.values())
    return str(template or "")


def _any_of(texts: Iterable[str]) -> re.Pattern[str]:
    longest_first = sorted(texts, key=lambda text: (-len(text), text))
    return re.compile("|".join(map(re.escape, longest_first)) or "(?!)")


def _name(token_id: int) -> str:
    return f"{_NAME}{token_id}{_NAME}"


def _break(text: str, tokens: re.Pattern[str]) -> str:
    """Put a mark inside every control token that the text spells, also where two overlap."""
    return re.sub(f"(?s)(?={tokens.pattern}).", f"\\g<0>{_BREAK}", _MARKS.sub("", text))


def _break_all(value: Any, tokens: re.Pattern[str]) -> Any:
    if isinstance(value, str):
        return _break(value, tokens)
    if isinstance(value, dict):
        return {_break_all(key, tokens): _break_all(item, tokens) for key, item in value.items()}
    return [_break_all(item, tokens) for item in value] if isinstance(value, list) else value


def _join(texts: Iterable[str]) -> str:
    joined = ""
    for text in texts:
        is_apart = not joined or joined[-1:].isspace() or text[:1].isspace()
        joined += text if is_apart else "\n\n" + text
    return joined


def _bos_and_eos(tokenizer: PreTrainedTokenizerBase) -> tuple[int | None, int | None]:
    """The token that the tokenizer itself puts before a text, if any, and the one that ends a sequence."""
    first = tokenizer("a")["input_ids"][:1]
    bos = tokenizer.bos_token_id
    return (bos if bos is not None and first == [bos] else None), tokenizer.eos_token_id


def _rename_tokens(backend: Tokenizer, control_ids: dict[str, int]) -> Tokenizer:
    """A copy of the tokenizer in which every control token has its private name, and nothing else differs."""
    values = json.loads(backend.to_str())
    names = {text: _name(token_id) for text, token_id in control_ids.items()}
    values["truncation"] = values["padding"] = values["post_processor"] = None
    for token in values["added_tokens"]:
        token["content"] = names.get(token["content"], token["content"])
    vocab = values["model"]["vocab"]
    if isinstance(vocab, dict):
        values["model"]["vocab"] = {names.get(text, text): number for text, number in vocab.items()}
    else:
        values["model"]["vocab"] = [[names.get(text, text), score] for text, score in vocab]
    unknown = values["model"].get("unk_token")
    if unknown is not None:
        values["model"]["unk_token"] = names.get(unknown, unknown)
    copy = Tokenizer.from_str(json.dumps(values))
    wrong = [text for text, token_id in control_ids.items() if copy.token_to_id(_name(token_id)) != token_id]
    if wrong or copy.get_vocab_size() != backend.get_vocab_size():
        raise ModelError("the tokenizer's control tokens cannot be renamed", received=wrong[:5])
    return copy
