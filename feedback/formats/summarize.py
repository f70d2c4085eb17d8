"""Format `summarize`: OpenAI's summaries with human feedback, the comparisons of two summaries of one text.

    info { post, title, subreddit | article }     summaries [ {text, policy}, {text, policy} ]     choice 0 or 1

The prompt is written as the authors wrote it for their models: subreddit, title and post of a Reddit post, or a news
article, and `TL;DR:` behind it. Summaries begin with a space there, which is cut. One text is compared many times, so
its id is no record's id. The records that rate one summary on several axes (`summary.axes`) are another table and are
rejected. `extra.confidence` is not read. Fields are those of openai/summarize_from_feedback, read in code that loads
it; the prompts were read in the authors' own code (openai/summarize-from-feedback, launch settings).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import polars as pl
import pyarrow as pa

from feedback.formats.drafts import Format, PairDraft
from feedback.formats.parts.field_columns import id_of, is_id, is_said, stripped
from feedback.formats.parts.fields import need, optional_id, optional_text, reject, shown
from feedback.formats.parts.turns import read_text
from feedback.formats.plain import ID, TEXT, WHOLE, PlainRecords, Turns
from schemas.messages import Message
from schemas.reasons import RejectReason

__all__ = ["SUMMARIZE"]

_OUTCOMES: Final = {0: "a", 1: "b"}


def _parse(record: dict[str, Any]) -> Iterator[PairDraft]:
    summaries = need(record, "summaries")
    if not isinstance(summaries, list) or len(summaries) != 2 or not all(isinstance(one, dict) for one in summaries):
        reject(RejectReason.WRONG_TYPE, f"field 'summaries' is {shown(summaries)}; expected a list of two summaries")
    choice = need(record, "choice")
    if type(choice) is not int or choice not in _OUTCOMES:
        reject(RejectReason.UNKNOWN_LABEL, f"field 'choice' is {shown(choice)}; expected 0 or 1")
    answers = [[_answer(one)] for one in summaries]
    yield PairDraft(
        prompt=_prompt(need(record, "info")),
        response_a=answers[0],
        response_b=answers[1],
        outcome=_OUTCOMES[choice],
        raw_value=choice,
        rater=optional_id(record, "worker"),
        rater_kind="annotator",
        model_a=optional_text(summaries[0], "policy"),
        model_b=optional_text(summaries[1], "policy"),
    )


def _answer(summary: dict[str, Any]) -> Message:
    text = read_text(summary, "text", "assistant")
    return {**text, "content": text["content"].strip()}


def _prompt(info: Any) -> list[Message]:
    if not isinstance(info, dict):
        reject(RejectReason.WRONG_TYPE, f"field 'info' is {shown(info)}; expected an object with post or article")
    article = optional_text(info, "article")
    if article is not None:
        return [{"role": "user", "content": f"Article:\n{article}\n\nTL;DR:"}]
    lines = [f"POST: {read_text(info, 'post', 'user')['content']}"]
    for name, field in (("TITLE: ", "title"), ("SUBREDDIT: r/", "subreddit")):
        text = optional_text(info, field)
        if text is not None:
            lines.insert(0, f"{name}{text}")
    return [{"role": "user", "content": "\n\n".join([*lines, "TL;DR:"])}]


def _line(name: str, field: str) -> pl.Expr:
    """A line of the prompt with its end; nothing where the field is blank."""
    return pl.when(is_said(field)).then(pl.concat_str(pl.lit(name), field, pl.lit("\n\n"))).otherwise(pl.lit(""))


def _summary(place: int, field: str) -> pl.Expr:
    return pl.col("summaries").list.get(place, null_on_oob=True).struct.field(field)


def _policy(place: int) -> pl.Expr:
    name = _summary(place, "policy")
    return pl.when(stripped(name).str.len_bytes() > 0).then(name)


_ARTICLE, _POST = (f"info.{name}" for name in ("article", "post"))
_SAID: Final = (
    pl.when(is_said(_ARTICLE))
    .then(pl.concat_str(pl.lit("Article:\n"), _ARTICLE, pl.lit("\n\nTL;DR:")))
    .otherwise(
        pl.concat_str(
            _line("SUBREDDIT: r/", "info.subreddit"),
            _line("TITLE: ", "info.title"),
            pl.lit("POST: "),
            _POST,
            pl.lit("\n\nTL;DR:"),
        )
    )
)
_PLAIN: Final = PlainRecords(
    kind="pairs",
    turns={
        "prompt": Turns("info", "user", made=_SAID),
        "response_a": Turns("summaries", "assistant", made=stripped(_summary(0, "text"))),
        "response_b": Turns("summaries", "assistant", made=stripped(_summary(1, "text"))),
    },
    types={
        **dict.fromkeys((_ARTICLE, _POST, "info.title", "info.subreddit"), TEXT),
        "summaries": (pa.list_(pa.struct([(name, pa.string()) for name in ("text", "policy", "note")])),),
        "choice": WHOLE,
        "worker": ID,
    },
    fields={
        "outcome": pl.when(pl.col("choice") == 0).then(pl.lit("a")).otherwise(pl.lit("b")),
        "raw_value": pl.col("choice").cast(pl.String),
        "rater": id_of("worker"),
        "rater_kind": pl.lit("annotator"),
        "model_a": _policy(0),
        "model_b": _policy(1),
    },
    where=pl.all_horizontal(
        pl.col("choice").is_in([0, 1]), pl.col("summaries").list.len() == len(_OUTCOMES), is_id("worker")
    ),
    unread=frozenset({"batch", "split", "extra"}),
)

SUMMARIZE: Final = Format(
    name="summarize",
    kind="pairs",
    summary="OpenAI's summarize_from_feedback comparisons: two summaries of a post or an article.",
    label_rule="choice 0 prefers the first summary and 1 the second.",
    fields="info.post or info.article, summaries (two with text), choice; optional info.title, info.subreddit, worker, "
    "policy of a summary",
    keys=frozenset({"info", "summaries", "choice", "worker", "batch", "split", "extra"}),
    parse=_parse,
    plain=(_PLAIN,),
)
