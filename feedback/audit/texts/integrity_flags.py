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

_MOST_CHARS: Final = 300
"""A longer text in plain words is an answer. The longest message of a service in the tests has 244."""

_SIGNS: Final = r"[\s\p{So}\p{Cf}\x{FE0F}\x{203C}!]*"
_REGRET: Final = (
    r"(?:(?:w?h?oops|uh[ -]?oh|oh no|hmm+|error|i apologi[sz]e|(?:we['’]re |we are |i['’]m |i am )?sorry"
    r"|(?:my |our )?apologies)[\s,.!:;…–—-]+(?:but )?)?"
)
_NAMES: Final = "internal server error|bad gateway|service unavailable|gateway time-?out|too many requests"
_STATUS: Final = (
    rf"error(?: code)?[: ]+[1-5][0-9]{{2,3}}|(?:http(?:/[0-9.]+)? |error )?(?:429|50[0-4])[ :\-–—]+(?:{_NAMES})"
    rf"|[45][0-9]{{2}} [a-z][a-z -]{{2,40}}\s(?:nginx|openresty|cloudflare)[\w/.-]*|404 page not found|{_NAMES}"
)
_FAILED: Final = (
    r"an? (?:(?:unexpected|internal|unknown|server|network|output parsing) )*error (?:has |was )?"
    r"(?:occurred|encountered)"
    r"|(?:unexpected|internal|unknown|server|network|connection|application) error(?: (?:has )?occurred| encountered)?"
    r"|(?:there (?:was|has been)|(?:we|i) (?:encountered|ran into|hit)) "
    r"an? (?:(?:unexpected|internal|unknown|server|network) )*(?:error|problem|issue)"
    r"|something (?:went|has gone|seems to have gone) wrong|connection errored out"
    r"|no response from (?:the )?(?:server|model)"
    r"|(?:the |your )?(?:connection|request|server|upstream|gateway|operation|generation) "
    r"(?:timed out|refused|reset|aborted|failed)"
    r"|error (?:generating|communicating(?: with \w+)?|processing|fetching|calling|connecting|retrieving|while|during"
    r"|in (?:message|body) stream)"
    r"|(?:failed|unable) to (?:fetch|(?:generate|get|load|retrieve) (?:an?|the) (?:response|answer|completion))"
    r"|upstream connect error|no healthy upstream|(?:connect )?e(?:connrefused|connreset|timedout)"
    r"|timeout of [0-9]+ ?ms exceeded|cuda out of memory"
)
_REFUSED: Final = (
    r"(?:api )?rate limit (?:reached|exceeded)|quota exceeded|you are being rate limited"
    r"|you exceeded your current quota|resource has been exhausted"
    r"|this model['’]s maximum context length|context length exceeded|(?:the )?prompt is too long"
    r"|the message you submitted was too long|the server (?:had|encountered) an (?:internal )?error"
    r"|(?:(?:that|the|this|our) )?(?:engine|model|server|service) is (?:currently |temporarily )*"
    r"(?:overloaded|unavailable|at capacity|down)|our servers are|(?:invalid|incorrect) api key"
    r"|unusual activity has been detected|agent stopped due to|could not parse llm output"
)
_BEHIND: Final = (
    r"(?:\s*[:;\-–—(\[{|/]|,? (?:while|during|when \w+ing|processing|communicating|trying|please|try|we|provided"
    r"|due to|experiencing|currently|or|for [\w.-]+ in organization|in [0-9]{1,2} (?:second|minute|hour)s?|is [0-9]+"
    r"|(?:generating )?a response"
    r"|iteration|max|before|at this time|at the moment|right now"
    r"|with (?:status|your request|the (?:server|service|request|response|api)|other)|ray id"
    r"|on (?:our|the server)|from (?:the (?:server|api)|upstream|your device))\b)"
)
"""What may stand behind the name of an error in a message: behind "errors", "in your code" or "is a" goes an answer."""

_EXCEPTION: Final = (
    r"Exception in thread \"|(?:[A-Za-z_$][\w$]*\.)+[A-Z]\w*(?:Error|Exception|Timeout)(?::|\s*\z|\s*\n)"
    r"|[A-Z]\w+(?:Error|Exception): |\[ERROR\]|HTTPS?ConnectionPool\(|<Response \[[45][0-9]{2}\]>"
)
_SENTENCE: Final = r"(?:[^.!?…\n]|[.!?…]+[^\s.!?…)\]\"'])*"
_NEXT: Final = (
    r"(?:please|kindly|maybe|try|retry|reload|refresh|wait|if|contact|check|visit|see|you (?:can|may|could|are)|we|our"
    r"|your (?:request|messages?|session)|the (?:server|service|request|team)|this (?:error|issue|request)|error|code"
    r"|status|request|reset reason|ray id|details?|https?|help|sorry|for (?:more|help|assistance)|thanks?|failed"
    r"|limit|however"
    r"|nginx|openresty|cloudflare|connection|something|tried to|max|in order to|at [\w.$<>]+\(|[({])"
)
"""What the second sentence of a message begins with; that of an answer explains."""

_PLAIN: Final = (
    rf"\A{_SIGNS}(?:(?:{_EXCEPTION}){_SENTENCE}"
    rf"|(?i:{_REGRET}(?:{_STATUS}|{_FAILED}|{_REFUSED})(?:{_BEHIND}{_SENTENCE})?|error))"
    rf"(?:(?:[.!…\n]|\s*\p{{So}})[\s.!…)\]\"'\p{{So}}]*(?i:{_NEXT}{_SENTENCE})?)*{_SIGNS}\z"
)
_EXPLAINS: Final = (
    r"(?i)\b(?:means?|meaning|because|happens?|indicates?|refers? to|usually|typically|often|for example|which|instead"
    r"|(?:is|are) (?:handled|caused|raised|thrown|returned|sent)|occurs? (?:when|if)|when (?:you|your|an?)"
    r"|to (?:fix|solve|resolve|avoid|handle|prevent)|so (?:you|the|your|that)|that is|(?:is|are) missing"
    r"|check (?:that|whether)|first|then|here(?:['’]s| is)"
    r"|you (?:asked|pass|forgot|need|should|must|want|are (?:adding|trying|using|calling|passing))"
    r"|your (?:list|code|function|dict|loop|script|variable|string|file|program|query|json))\b|```|(?:\A|\s)\*\*\w"
)
_CODE: Final = (
    r"\A\s*(?:(?:\[object [A-Z]\w*\]|undefined|null|NaN)\s*\z|Traceback \(most recent call last\):\s*\n\s+File\b"
    r"|\{\s*[\"'](?:errors?|detail)[\"']\s*:\s*[\[{\"']|<\?xml [^>]*>\s*<Error>"
    r"|(?:Error code: )?[45][0-9]{2}(?: [A-Z_]+\.| -) \{"
    r"|\{\s*\"(?:[Mm]essage|type|code|status|statusCode|timestamp)\"[^{}]{0,200}?(?i:\berror|exception|timed out"
    r"|forbidden|unauthorized|too many|not found|rate limit|limit exceeded|unavailable|denied))"
)
"""What no answer in words begins with. `None` is not among it: it answers "how many are left?", as `null` does not."""

_EXPLAINS_BELOW: Final = (
    r"(?i)\n\s*\n(?s:.*)\b(?:means?|because|this happens|to fix|the problem is|here(?:['’]s| is))\b"
)
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
    `is_error`: it is the message of a broken service: what code prints, or few words that begin as such a message
    does and go on to ask for patience. One that explains an error is an answer.
    """
    is_in_fence = answer.str.count_matches(_FENCE) % 2 == 1
    is_hanging = answer.str.contains(_HANGING) & (answer.str.len_chars() >= _LEAST_CHARS)
    return [
        answer.str.contains(_NOTHING).alias("is_empty"),
        (is_in_fence | is_hanging).alias("is_open"),
        answer.str.contains(_MID_WORD).alias("is_mid_word"),
        _is_error(answer).alias("is_error"),
    ]


def _is_error(answer: pl.Expr) -> pl.Expr:
    printed = answer.str.contains(_CODE)
    said = answer.str.contains(_PLAIN) & (answer.str.len_chars() <= _MOST_CHARS)
    # Few texts begin like one, so that what reads to the end is looked for in hardly any.
    explains = pl.when(said).then(answer).str.contains(_EXPLAINS)
    explains_below = pl.when(printed).then(answer).str.contains(_EXPLAINS_BELOW)
    is_message = (said & ~explains.fill_null(False)) | (printed & ~explains_below.fill_null(False))
    return is_message | answer.str.contains(_ERROR_PAGE)


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
