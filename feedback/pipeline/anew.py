"""The rows of a finished dataset, brought into a range of R anew; what held when it was made still holds.

rows of a dataset, or some of them ─► whose they are ─► rebalance

Of the dataset's caps only that on the share of one rater can be broken, since leaving out rows lifts a share and no
count. `rebalance` holds it, which leaves the test split as it is.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

import polars as pl

from feedback.caps import caps_narrow, caps_notes, caps_plan, decide_caps
from feedback.config import CapsConfig, RebalanceConfig
from feedback.dataset.history import with_history
from feedback.dataset.rows import read_curated
from feedback.rebalance import base_weights, rebalance
from feedback.stage import StageResult
from schemas.manifest import Manifest
from schemas.settings import load_settings

__all__ = ["balanced_anew", "read_unbalanced"]

_OF_SHARE: Final = ("max_rater_share", "share_from_raters", "exempt_kinds")
"""The keys of the table `caps` that a share is held by; all others limit counts, which do not grow."""


def read_unbalanced(folder: Path, manifest: Manifest) -> tuple[pl.DataFrame, bool]:
    """The rows of a dataset with the weights they had before `rebalance`, and whether their raters were found.

    Args:
        folder: the dataset's folder.
        manifest: its manifest.

    Raises:
        CorruptionError: its folder `stages` cannot be read.
    """
    return with_history(base_weights(read_curated(folder, manifest, with_raters=True), manifest.stages), folder)


def balanced_anew(
    rows: pl.DataFrame,
    parent: Manifest,
    config: RebalanceConfig,
    *,
    is_part: bool,
    has_history: bool,
    seed: int,
    digest_in: str,
) -> StageResult:
    """Rows whose train split has its R in the range, and nobody behind more of a label than the dataset's caps allow.

    Args:
        rows: rows of a dataset, see `read_unbalanced`.
        parent: the dataset's manifest, whose config names the caps.
        config: the range, the weights and the mode.
        is_part: whether they are some of the rows, so that the share of any rater may be larger.
        has_history: whether the raters of the rows are known.
        seed: decides which rows are left out.
        digest_in: digest of the stage before.

    Raises:
        RatioUnreachableError, OneLabelError: what is left cannot be balanced.
    """
    caps, share, notes = _share_of_rater(parent, rows), None, list[str]()
    if not has_history:
        notes = [_note_on_unknown(caps)]
    elif caps is not None:
        narrow = caps_narrow(rows, caps)
        plan = caps_plan(narrow, caps, seed=seed)
        if plan.shares and (is_part or config.one_per_prompt or any(cap.over for cap in plan.shares)):
            share = caps.max_rater_share
            plan = caps_plan(narrow, caps, seed=seed, with_all_raters=True)
        rows = rows.with_columns(decide_caps(narrow, plan).capped_rater)
        notes = [] if plan.shares else caps_notes({"left_out": {}, "groups_over": 0}, plan)
    result = rebalance(rows, config, seed=seed, digest_in=digest_in, max_rater_share=share)
    return replace(result, report=replace(result.report, notes=(*notes, *result.report.notes)))


def _share_of_rater(parent: Manifest, rows: pl.DataFrame) -> CapsConfig | None:
    """The cap on the share of one rater that a dataset was made with, null where it was made without."""
    values = {name: value for name, value in parent.config.get("caps", {}).items() if name in _OF_SHARE}
    if values.get("max_rater_share", 1) in (None, 1):
        return None
    # Raters who were no team when the dataset was made are none now that some of them may have no row left.
    was_held = rows["capped_rater"].count() > 0
    caps = load_settings(CapsConfig, values, where="table [caps] of the manifest")
    return replace(caps, share_from_raters=1) if was_held else caps


def _note_on_unknown(caps: CapsConfig | None) -> str:
    unheld = "" if caps is None else f", so no rater is held to caps.max_rater_share = {caps.max_rater_share:g}"
    return (
        "Raters, models and times are not known: they are in the dataset's folder stages, which is not there or is not "
        f"of these rows{unheld}."
    )
