"""One conversation into token ids: the model's own chat template, with texts that cannot forge its control tokens.

A tokenizer reads `<|im_end|>` in a user's text as the end of the turn. Here the template's control tokens are renamed,
in a copy of the tokenizer and in the rendered text, to spellings that no text has; what is written in the conversation
keeps its spelling, and so is plain text. All else is tokenized as the model's tokenizer does, in one go; only where an
answer would change the tokens before it, the prompt is encoded alone, as the model is asked.

messages ──break control tokens inside contents──► template ──rename the template's own──► one encoding ──border──► ids
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from typing import Any, Final, cast

from jinja2.exceptions import TemplateError
from transformers import PreTrainedTokenizerBase

from align.tokens.fixed_date import template_text, with_fixed_date
from align.tokens.private_names import BREAK, NAME, START, break_texts, name_of, pattern_of, rename_tokens
from align.tokens.tool_calls import calls_of, texts_in, with_calls_marked, with_text_arguments
from schemas.errors import ModelError
from schemas.messages import Message

__all__ = ["ChatEncoder", "Encoded"]

_NAMES_AT_END: Final = re.compile(f"(?:{NAME}[0-9]+{NAME}\\s*)+$")
_LAST_NAME: Final = re.compile(f"({NAME}([0-9]+){NAME})\\s*$")
_LAST_OPENING: Final = re.compile(f"({NAME}[0-9]+{NAME}|<think>)\\s*$")


@dataclass(frozen=True, slots=True)
class Encoded:
    """A prompt and its completion as token ids, and what happened on the way.

    Args:
        prompt_ids: up to and with the template's generation prompt: what the model is given when it answers.
        completion_ids: the answer, up to and with the token that ends the turn.
        is_turn_ended: whether the completion ends with a special token, as a finished answer does.
        is_border_merged: a token spanned the border, or the prompt has others when it stands alone; prompt and
            completion were then encoded apart.
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

    A template that writes today's date writes a fixed one, see `align.tokens.fixed_date`.

    Without a chat template (a base model), the turns' texts are joined by blank lines, except where white space stands
    at the border already; the tokenizer's beginning-of-sequence token, where it adds one, goes before, its
    end-of-sequence token after.

    Args:
        tokenizer: a fast tokenizer of transformers.

    Raises:
        ModelError: the tokenizer is not a fast one, has templates but no default one, or its control tokens cannot be
            renamed.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise ModelError("the tokenizer is not a fast one", where=type(tokenizer).__name__, todo="Convert it")
        named = tokenizer.chat_template
        if isinstance(named, dict) and "default" not in named:
            raise ModelError(
                "none of the tokenizer's chat templates is the default one",
                where=tokenizer.name_or_path or type(tokenizer).__name__,
                received=sorted(named),
                todo="Give one of them the name default",
            )
        self._tokenizer = tokenizer
        template = template_text(tokenizer)
        added = {token_id: token for token_id, token in tokenizer.added_tokens_decoder.items() if token.content}
        self._special_ids = {token_id for token_id, token in added.items() if token.special}
        written = {i for i, token in added.items() if token.content in template and not token.content.isspace()}
        self._control_ids = {added[token_id].content: token_id for token_id in sorted(self._special_ids | written)}
        self._control = pattern_of(self._control_ids)
        self._special = pattern_of(
            text for text, token_id in self._control_ids.items() if token_id in self._special_ids
        )
        self._backend = rename_tokens(tokenizer.backend_tokenizer, self._control_ids)
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
        said = self._hide(clean[-1]["content"])
        prompt_ids, completion_ids, is_merged = self._encode_apart(text, border)
        return Encoded(
            prompt_ids=tuple(prompt_ids),
            completion_ids=tuple(completion_ids),
            is_turn_ended=bool(completion_ids) and completion_ids[-1] in self._special_ids,
            is_border_merged=is_merged,
            is_prompt_redrawn=is_redrawn,
            is_trimmed=said not in text[max(0, border - len(said)) :],  # a thought may begin in the prompt
            has_control_text=any(self._breaks(turn).search(text) for turn in turns for text in texts_in(_said(turn))),
        )

    def turn_end(self) -> int | None:
        """The token that ends the assistant's turns; none where the template writes none, or not without more turns."""
        try:
            plain = self.encode([{"role": "user", "content": "-"}], {"role": "assistant", "content": "-"})
        except TemplateError:
            return None
        return plain.completion_ids[-1] if plain.is_turn_ended else None

    def is_only_turn_end(self, token_ids: Sequence[int]) -> bool:
        """Whether nothing but special tokens is left of a completion."""
        return all(token_id in self._special_ids for token_id in token_ids)

    def _breaks(self, turn: Message) -> re.Pattern[str]:
        return self._special if turn["role"] == "assistant" else self._control

    def _break_turn(self, turn: Message) -> Message:
        tokens = self._breaks(turn)
        said = {key: break_texts(value, tokens) for key, value in _said(turn).items()}
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
            names = [name_of(token) if token is not None else "" for token in (self._bos, self._eos)]
            start = names[0] + self._hide(whole[:border])
            return start + self._hide(whole[border:]) + names[1], len(start), False
        known = None if tools is None else break_texts(json.loads(tools), self._control)
        if calls and self._render(with_calls_marked(turns, START), known, is_answered=True).count(START) < calls:
            raise TemplateError("the template does not write tool calls")
        prompt = self._rendered(turns[:-1], known, is_answered=False)
        whole = self._rendered(turns, known)
        content = turns[-1]["content"]
        is_redrawn = not whole.startswith(prompt)
        if not is_redrawn and self._hide(content.strip()) in whole[len(prompt) :]:
            return whole, len(prompt), False
        before, found, answer = self._parted(turns, len(content) - len(content.lstrip()), known)
        if not found:
            return prompt + self._said_in_full(turns, known, behind=prompt), len(prompt), False
        if not is_redrawn:
            return whole, len(prompt), False
        if not content and whole.startswith(before):  # a tool call alone, which needs no line for a text
            answer = whole[len(before) :]
        return prompt + answer, len(prompt), True

    def _said_in_full(self, turns: list[Message], known: Any, *, behind: str) -> str:
        """The answer as it was said and its end, where the template leaves a thought at its beginning out.

        What opens the thought, a token or `<think>`, stands once, where the prompt ends with it.
        """
        content = turns[-1]["content"].rstrip()
        _, found, end = self._parted(turns, len(content), known)
        if not found:
            raise TemplateError("the template does not write the answer")
        said, opened = self._hide(content), _LAST_OPENING.search(behind)
        if opened is not None and said.lstrip().startswith(opened[1]):
            said = said.lstrip().removeprefix(opened[1]).lstrip()
        return said + end

    def _parted(self, turns: list[Message], place: int, known: Any) -> tuple[str, str, str]:
        """The text before and behind a place in the answer, with the mark between them where the template writes it."""
        content = turns[-1]["content"]
        marked = cast("Message", {**turns[-1], "content": content[:place] + START + content[place:]})
        return self._rendered([*turns[:-1], marked], known).rpartition(START)

    def _rendered(self, turns: list[Message], tools: Any, *, is_answered: bool = True) -> str:
        return self._hide(self._render(turns, tools, is_answered=is_answered))

    def _render(self, turns: Sequence[Message], tools: Any, *, is_answered: bool) -> str:
        try:
            return self._apply(turns, tools, is_answered=is_answered)
        except TypeError as error:  # an object where the template wants a text
            if not calls_of(turns):
                raise TemplateError(f"the template cannot write the conversation ({error})") from error
            try:
                return self._apply(with_text_arguments(turns), tools, is_answered=is_answered)
            except TypeError:
                raise TemplateError(f"the template cannot write a tool call ({error})") from error

    def _apply(self, turns: Sequence[Message], tools: Any, *, is_answered: bool) -> str:
        chat: Any = [dict(turn) for turn in turns]
        return str(
            self._tokenizer.apply_chat_template(
                chat,
                tools=tools,
                chat_template=with_fixed_date(self._tokenizer.get_chat_template(None, tools)),
                tokenize=False,
                add_generation_prompt=not is_answered,
            )
        )

    def _hide(self, text: str) -> str:
        """Rename the control tokens that are whole, then mend the broken ones."""
        renamed = self._control.sub(lambda found: name_of(self._control_ids[found[0]]), text)
        return renamed.replace(BREAK, "")

    def _settle_ends(self, text: str, border: int) -> tuple[str, int]:
        """One beginning token, and nothing after the token that ends the turn: a model that answers stops there."""
        if self._bos is not None:
            first = name_of(self._bos)
            while border >= 2 * len(first) and text.startswith(first * 2):
                text, border = text[len(first) :], border - len(first)
        run = _NAMES_AT_END.search(text, border)
        last = _LAST_NAME.search(text, border)
        if run is None or last is None or int(last[2]) not in self._special_ids:
            return text, border
        ends = [end for end in (self._turn_end, last[1]) if end is not None and end in run[0]]
        return text[: text.index(ends[0], run.start()) + len(ends[0])], border

    @cached_property
    def _turn_end(self) -> str | None:
        """The last special token that the template writes behind an answer wherever it stands, as it is renamed.

        Some templates end a conversation with one token more than a turn, which a model never comes to write.
        """
        if self._tokenizer.chat_template is None:
            return None
        said = (("user", "-"), ("assistant", "-" + START), ("user", "-"))
        turns = [cast("Message", {"role": role, "content": content}) for role, content in said]
        try:
            last, inner = (self._rendered(some, None).rpartition(START)[2] for some in (turns[:2], turns))
        except TemplateError:
            return None
        shared = takewhile(lambda both: both[0] == both[1], zip(last, inner, strict=False))
        names = re.findall(f"({NAME}([0-9]+){NAME})", "".join(one for one, _ in shared))
        return next((name for name, token_id in reversed(names) if int(token_id) in self._special_ids), None)

    def _encode_apart(self, text: str, border: int) -> tuple[list[int], list[int], bool]:
        """The prompt's ids as it has them alone, the completion's, and whether they were encoded apart."""
        whole = self._backend.encode(text, add_special_tokens=False)
        first = next((at for at, (start, _) in enumerate(whole.offsets) if start >= border), len(whole.ids))
        # No tokenizer looks beyond a control token, so what stands behind the last one is enough to be compared.
        last = text.rfind(NAME, 0, max(0, text.rfind(NAME, 0, border)))
        alone = self._ids(text[max(0, last) : border])
        together = whole.ids[first - len(alone) if last >= 0 else 0 : first]
        if together == alone and (first == 0 or whole.offsets[first - 1][1] <= border):
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
