"""The events behind the rows of contested answers: votes text by text, and what a row carries that is kept.

A text is a prompt and a completion after normalisation. Of its votes those that stand count; the others, and events
whose votes counted no more before, stay behind its rows all the same, since a row may show the text of any of them.
"""

from __future__ import annotations

from typing import Final

import polars as pl

__all__ = ["events_of_texts", "votes_of_texts"]

_TEXT: Final = ["prompt_key", "completion_key"]
_VOTE: Final = ["event_id", "rater_key", "event_ts", "label"]


def votes_of_texts(rows: pl.DataFrame) -> pl.DataFrame:
    """One row for each vote of an answer's text, once, though both rows of a text may carry it.

    Args:
        rows: cluster_id, group_id, prompt_key, completion_key and votes of each row.
    """
    ids = ["cluster_id", "group_id", *_TEXT]
    votes = rows.select(*ids, "votes").explode("votes", empty_as_null=False)
    votes = votes.with_columns(pl.col("votes").struct.field(*_VOTE)).drop("votes")
    return votes.unique([*_TEXT, "event_id", "label"], keep="any")


def events_of_texts(
    given: pl.DataFrame, standing: pl.DataFrame, rows: pl.DataFrame, kept: pl.DataFrame
) -> pl.DataFrame:
    """The `votes` that stand and the `other_event_ids` of each text that has a row kept, both in the order of ids.

    Args:
        given: `votes_of_texts` of the rows.
        standing: those of them that stand.
        rows: the rows, with the events that did not count before.
        kept: the rows that are kept.
    """
    texts = kept.select(_TEXT).unique()
    votes = standing.join(texts, on=_TEXT, how="semi").sort("event_id", "label")
    lists = votes.group_by(_TEXT, maintain_order=True).agg(votes=pl.struct(_VOTE))
    before = rows.select(*_TEXT, event_id="other_event_ids").explode("event_id", empty_as_null=False)
    events = pl.concat([given.select(*_TEXT, "event_id"), before.drop_nulls("event_id")])
    others = events.join(texts, on=_TEXT, how="semi").join(standing, on=[*_TEXT, "event_id"], how="anti")
    # Texts are copied in their order: a file holds their bytes as they lie in memory, and joins put them anywhere.
    ordered = others.unique().sort(*_TEXT, "event_id").with_columns(pl.concat_str("event_id", pl.lit("")))
    other_ids = ordered.group_by(_TEXT, maintain_order=True).agg(other_event_ids="event_id")
    return lists.join(other_ids, on=_TEXT, how="left")
