"""What is wrong with a text as such: nothing in it, cut off, a message of a broken service, control tokens, turns."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

__all__ = ["CONTROL_TOKENS", "are_roles_out_of_order", "integrity_flags"]

Flags = NDArray[np.bool_]
"""A claim about each row. [N] bool."""

_NOTHING: Final = r"\A[\s\p{C}\p{Z}\x{2800}\x{3164}]*\z"
_HANGING: Final = r"[,(\[{\\]\s*\z"
_FENCE: Final = r"(?m)^[ \t]*(?:>[ \t]*)*```[^`\n]*$"
_MID_WORD: Final = r"[\p{L}\p{N}]\z"
_LEAST_CHARS: Final = 200
"""A shorter answer that ends with a comma is a line of a chat, not one that was cut off."""

_STATUS: Final = (
    r"error(?: code)?[: ]+[1-5][0-9]{2}\b"
    r"|(?:http )?(?:error )?(?:429|50[0234])\b[ :\-–—]*(?:too many|internal|bad gateway|service|gateway)"
    r"|(?:internal server error|bad gateway|service (?:temporarily )?unavailable|gateway time-?out|too many requests)\b"
)
_SAID: Final = (
    r"(?:an? (?:unexpected |internal |unknown )?error (?:has )?occurred|something went wrong|network error"
    r"|connection error|(?:the )?request timed out|rate limit (?:reached|exceeded)|you exceeded your current quota"
    r"|upstream connect error|this model['’]s maximum context length|context length exceeded"
    r"|the server had an error|(?:that|the) (?:engine|model) is currently overloaded|model is overloaded"
    r"|(?:invalid|incorrect) api key)\b"
)
_CODE: Final = (
    r"\[object [A-Z]\w*\]|(?:undefined|null|NaN|None)\s*\z|Traceback \(most recent call last\):"
    r"|\{\s*\"(?:error|detail|message)\"\s*:|<\?xml [^>]*>\s*<Error>"
    r"|(?:[a-z_]+\.)+[A-Z]\w*(?:Error|Exception|Timeout)\b|[A-Z]\w+(?:Error|Exception): "
)
_ERROR: Final = rf"\A\s*(?:{_CODE}|(?i:{_STATUS}|{_SAID}))"
_ERROR_PAGE: Final = (
    r"(?is)\A\s*(?:<!doctype html[^>]*>\s*)?<html\b.{0,800}<(?:title|h1)[^>]*>[^<]{0,80}"
    r"(?:\berror\b|\b[45][0-9]{2}\b|bad gateway|forbidden|not found|unavailable|denied|time-?out"
    r"|attention required|just a moment)"
)
CONTROL_TOKENS: Final = (
    r"<\|[A-Za-z0-9_▁]{2,40}\|>|<｜[^｜\n]{2,40}｜>|\[/?INST\]|<</?SYS>>"
    r"|\[(?:AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]"
    r"|<(?:bos|eos|pad|unk|start_of_turn|end_of_turn|endoftext)>|<s>\s*\[INST\]|\A\s*<s>|</s>\s*\z"
)
"""Control tokens of chat templates. `<s>` counts where templates put it: between them it is a line through words."""


def integrity_flags(answer: pl.Expr) -> list[pl.Expr]:
    """Columns `is_empty`, `is_open`, `is_mid_word` and `is_error` of the answers.

    `is_empty`: nothing but white space and invisible signs. `is_open`: it ends inside a fence of code, or, being long,
    with a comma or an open bracket. `is_mid_word`: it ends with a letter or digit, which says nothing yet.
    `is_error`: it begins as the message of a broken service does; one that talks about an error begins otherwise.
    """
    is_in_fence = answer.str.count_matches(_FENCE) % 2 == 1
    is_hanging = answer.str.contains(_HANGING) & (answer.str.len_chars() >= _LEAST_CHARS)
    return [
        answer.str.contains(_NOTHING).alias("is_empty"),
        (is_in_fence | is_hanging).alias("is_open"),
        answer.str.contains(_MID_WORD).alias("is_mid_word"),
        (answer.str.contains(_ERROR) | answer.str.contains(_ERROR_PAGE)).alias("is_error"),
    ]


def are_roles_out_of_order(prompts: pa.ListArray) -> Flags:
    """Whether the turns of each prompt stand as chat templates refuse them.

    That is: a system turn behind another turn, a user or an assistant twice in a row, or a beginning by anybody but
    the user behind the system.

    Args:
        prompts: lists of `schemas.messages.Message`. [N].

    Returns:
        [N] bool.
    """
    offsets = pl.Series(prompts.offsets).to_numpy().astype(np.int64)
    offsets = offsets - offsets[0]
    roles = pl.Series(prompts.flatten().field("role"))
    system, user, assistant = ((roles == role).to_numpy() for role in ("system", "user", "assistant"))
    place = np.arange(len(roles)) - np.repeat(offsets[:-1], np.diff(offsets))
    is_later = place > 0
    before = {name: np.concatenate(([False], flags[:-1])) & is_later for name, flags in _named(system, user, assistant)}
    is_begin = (place == 0) | ((place == 1) & before["system"])
    wrong = (system & is_later) | (user & before["user"]) | (assistant & before["assistant"])
    wrong |= is_begin & ~system & ~user
    sums = np.concatenate(([0], np.cumsum(wrong)))
    return np.asarray(sums[offsets[1:]] > sums[offsets[:-1]])


def _named(system: Flags, user: Flags, assistant: Flags) -> tuple[tuple[str, Flags], ...]:
    return ("system", system), ("user", user), ("assistant", assistant)
