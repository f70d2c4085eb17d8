"""The command `rebalance`: another ratio of labels, and with --explain the arithmetic behind it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from cli.dataset_page import show_dataset
from cli.options import (
    FOLDER,
    Ranking,
    from_option,
    inputs_argument,
    join_option,
    json_option,
    map_option,
    overwrite_option,
    parse_ratio,
    ranking_option,
    set_option,
    sql_option,
)

if TYPE_CHECKING:  # both load polars
    from feedback.pipeline import CurateResult
    from feedback.rebalance.explain import RebalanceExplanation

__all__ = ["rebalance"]

MODES: Final = ("downsample", "reweight", "both")


@click.command(epilog="Example: thumbline rebalance votes.jsonl --from thumbs --ratio 1:1.33 -o balanced")
@inputs_argument()
@from_option()
@map_option
@join_option
@ranking_option
@sql_option
@click.option("-o", "--out", type=FOLDER, help="Folder of the new dataset; not needed with --explain.")
@click.option(
    "--ratio",
    metavar="LOW:HIGH",
    callback=parse_ratio,
    help="Wanted range of R = up / down, weights included; one number is a target.  [default: 1:4/3]",
)
@click.option("--mode", type=click.Choice(MODES), help="Leave out rows, weigh them, or both.  [default: downsample]")
@click.option(
    "--strata",
    metavar="NAMES",
    help="What rows left out are spread over: of source, model, week, cluster, with commas.  [default: source]",
)
@click.option("--allow-below-one", is_flag=True, help="Let the range reach below 1, against toxic answers.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, help="Decides which rows are left out.", show_default=True
)
@click.option(
    "--explain", "is_explained", is_flag=True, help="Print the arithmetic and the rows left out; without -o only that."
)
@click.option(
    "--dropped",
    "dropped_path",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="With --explain: write the rows left out into a .jsonl, .csv or .parquet file.",
)
@overwrite_option
@set_option
@json_option
def rebalance(
    inputs: tuple[str, ...],
    source_format: str | None,
    map_path: Path | None,
    join: str | None,
    ranking: Ranking,
    sql: str | None,
    out: Path | None,
    ratio: tuple[float, float] | None,
    mode: str | None,
    strata: str | None,
    allow_below_one: bool,
    seed: int,
    is_explained: bool,
    dropped_path: Path | None,
    overwrite: bool,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Bring R, up against down, into a range: a new dataset from IN....

    IN... are raw files with --from, or the folder of a curated dataset, whose held-out split stays as it is. Keys for
    --set are those of the table [rebalance]. With --explain and no -o nothing is written: see first, then do.
    """
    from cli.progress import shown_progress
    from feedback.config import RebalanceConfig
    from feedback.pipeline import rebalance_dataset
    from schemas.settings import apply_overrides, load_settings

    if out is None and not is_explained:
        raise click.UsageError("Missing option '-o' / '--out'. Or give --explain, to see what would be done.")
    if dropped_path is not None and not is_explained:
        raise click.UsageError("--dropped goes with --explain.")
    values: dict[str, object] = {} if ratio is None else {"low": ratio[0], "high": ratio[1]}
    values |= {} if mode is None else {"mode": mode}
    values |= {} if strata is None else {"strata": strata.replace(",", " ").split()}
    values |= {"allow_below_one": True} if allow_below_one else {}
    config = load_settings(RebalanceConfig, apply_overrides(values, overrides), where="--set")
    with tempfile.TemporaryDirectory(prefix="thumbline-") as trial, shown_progress() as progress:
        result = rebalance_dataset(
            inputs,
            Path(trial) / "dataset" if out is None else out,
            config,
            format=source_format,
            map=None if map_path is None else str(map_path),
            ranking=ranking,
            join=join,
            sql=sql,
            seed=seed,
            overwrite=overwrite,
            progress=progress,
        )
        explanation = _explained(result, dropped_path, overwrite) if is_explained else None
    if explanation is not None:
        _show_explanation(explanation, None if out is None else result, dropped_path, as_json)
    if out is not None and not (as_json and is_explained):
        show_dataset(result, as_json)


def _explained(result: CurateResult, dropped_path: Path | None, overwrite: bool) -> RebalanceExplanation:
    from feedback.rebalance.explain import explain_rebalance, write_dropped

    explanation = explain_rebalance(result.folder)
    if dropped_path is not None:
        write_dropped(explanation, dropped_path, overwrite=overwrite)
    return explanation


def _show_explanation(
    explanation: RebalanceExplanation, result: CurateResult | None, dropped_path: Path | None, as_json: bool
) -> None:
    from cli.explanation import explanation_page
    from cli.json_output import print_json
    from cli.render import show

    where = [str(path) for path in explanation.files] if result is not None else []
    where = [str(dropped_path)] if dropped_path is not None else where
    if as_json:
        made = {} if result is None else {"out": str(result.folder), "was_done": result.was_done}
        made |= {} if result is None else {"manifest": result.manifest.to_dict()}
        print_json({**made, "explanation": explanation.to_dict(), "dropped_in": where})
        return
    show(*explanation_page(explanation, where))
    if result is None:
        show("", "No dataset was written; -o FOLDER makes it.")
