"""Commands of the feedback store. Each parses, calls, shows."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.options import (
    FOLDER,
    Ranking,
    from_option,
    inputs_argument,
    join_option,
    json_option,
    map_option,
    ranking_option,
    set_option,
    sql_option,
    store_option,
)

if TYPE_CHECKING:  # it loads polars and deltalake
    from feedback.store import IngestSummary, Receipt

__all__ = ["doctor", "forget", "ingest"]


@click.command(epilog="Example: thumbline ingest votes.jsonl --from thumbs --store store")
@inputs_argument()
@from_option()
@store_option(required=True)
@map_option
@join_option
@ranking_option
@sql_option
@set_option
@json_option
def ingest(
    inputs: tuple[str, ...],
    source_format: str | None,
    store: str,
    map_path: Path | None,
    join: str | None,
    ranking: Ranking,
    sql: str | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Take raw files into a store, each row once; the store is made if it is not there.

    IN... is raw files with --from, or one config file (.toml), whose sources and table [ingest] are read. What is in
    the store already, as a file or as a row of another file, is counted and not taken in again. When the command ends,
    the rows are on the disk.
    """
    from cli.lean_start import start_lean

    start_lean()
    from cli.json_output import print_json
    from cli.progress import shown_progress
    from feedback.run_config import config_of_inputs
    from feedback.store import Store

    config = config_of_inputs(
        inputs, source_format, map_path=map_path, ranking=ranking, join=join, sql=sql, overrides=overrides
    )
    with shown_progress() as progress:
        summary = Store.open(store, create=True).ingest(
            config.sources, max_rejected_share=config.ingest.max_rejected_share, progress=progress
        )
    if as_json:
        print_json({"store": store, **summary.to_dict()})
        return
    _show_ingest(summary, store)


def _show_ingest(summary: IngestSummary, store: str) -> None:
    from cli.render import print_next, show, table_of

    rows = [
        ("new", summary.new),
        ("already there", summary.already_there),
        ("quarantined", summary.quarantined),
        ("ignored", summary.ignored),
        ("of somebody who was forgotten", summary.forgotten),
        ("rows in", summary.rows_in),
    ]
    listed = ", ".join(f"{reason} {count:,}" for reason, count in summary.rejected.items())
    show(
        table_of(("what became of them", "rows>"), [row for row in rows if row[1] or row[0] in ("new", "rows in")]),
        *summary.notes,
        *([f"Quarantined: {listed}."] if listed else []),
        f"Store: {store}, version {summary.version}" + ("" if summary.version > summary.before else " as before"),
    )
    print_next(f"thumbline curate --store {shlex.quote(store)} -o dataset", "make a dataset of it")


@click.command(epilog="Example: thumbline doctor --store store")
@store_option(required=True)
@click.option("--optimize", is_flag=True, help="Then put the rows of small files together.")
@click.option(
    "--vacuum",
    "vacuum_hours",
    type=click.FloatRange(0),
    metavar="HOURS",
    help="Then delete files that no dataset's version needs, replaced longer ago than this.",
)
@json_option
@click.pass_context
def doctor(ctx: click.Context, store: str, optimize: bool, vacuum_hours: float | None, as_json: bool) -> None:
    """Look at all of a store: every commit, every byte of every file; heal what can be healed, and explain the rest.

    The exit code is 5 where something is wrong that cannot be healed; then nothing is put together or deleted.
    """
    from cli.json_output import print_json
    from cli.render import show
    from feedback.store import Store
    from schemas.errors import CorruptionError

    opened = Store.open(store, is_mended=False)
    report = opened.doctor()
    fewer = opened.optimize() if optimize and report.is_well else 0
    vacuumed = opened.vacuum(vacuum_hours) if vacuum_hours is not None and report.is_well else None
    deleted = 0 if vacuumed is None else vacuumed.files
    if as_json:
        print_json({"store": store, **report.to_dict(), "files_fewer": fewer, "files_deleted": deleted})
    else:
        for one in report.findings:
            show(f"{one.where}: {one.what} {one.done}")
        checked = f"{report.files:,} files with {report.bytes:,} bytes in version {report.version}"
        show(f"All is well: {checked}." if report.is_well else f"Not all is well: {checked}.")
        show(*([f"{fewer:,} files fewer, the same rows."] if fewer else []))
        show(*([f"{deleted:,} files deleted that no version needs."] if deleted else []))
    if not report.is_well:
        ctx.exit(CorruptionError.exit_code)


@click.command(epilog="Example: thumbline forget --store store --rater user-1017")
@store_option(required=True)
@click.option("--rater", metavar="ID", help="Forget this rater, by the id that the source has.")
@click.option("--conversation", metavar="ID", help="Forget this conversation, likewise.")
@click.option(
    "--reports",
    type=FOLDER,
    multiple=True,
    help="Also remove reports below this folder that quote them; may be given again.",
)
@json_option
def forget(store: str, rater: str | None, conversation: str | None, reports: tuple[Path, ...], as_json: bool) -> None:
    """Forget somebody: their rows, their raw records, and what datasets and reports quote of them.

    Datasets and runs that saw the rows are marked (needs_retrain.json). A keyed hash stays in the store, so that the
    rows do not come back with the next export. A call that was broken off is made again with the same id.
    """
    from cli.json_output import print_json
    from feedback.store import Store

    if (rater is None) == (conversation is None):
        raise click.UsageError("Name one of --rater ID and --conversation ID.")
    receipt = Store.open(store).forget(rater=rater, conversation=conversation, reports=reports)
    if as_json:
        print_json({"store": store, **receipt.to_dict()})
    else:
        _show_receipt(receipt, store)


def _show_receipt(receipt: Receipt, store: str) -> None:
    from cli.render import show, table_of

    raw = receipt.raw
    rows = [
        *((f"rows of kind {kind}", count) for kind, count in (receipt.rows or {}).items()),
        ("records of raw copies", 0 if raw is None else raw.records),
        ("raw copies, whole", 0 if raw is None else len(raw.removed)),
        ("old files of the store", receipt.files),
        ("rows of datasets", sum(one.rows for one in receipt.datasets)),
        ("reports", sum(len(one.removed) for one in (*receipt.runs, *receipt.reports))),
    ]
    show(table_of(("erased", "count>"), rows))
    if not any(count for _, count in rows):
        show(f"Nothing of this {receipt.kind} is in the store: look whether the id is spelled as the source has it.")
    for what, outputs in (("Dataset", receipt.datasets), ("Run", receipt.runs)):
        for one in outputs:
            left = f" Not ours, so look yourself: {', '.join(one.left)}." if one.left else ""
            left += "" if one.was_there else " It is not there any more: where it lies by now, it was not looked into."
            show(f"{what} {one.folder} saw it and needs to be made anew.{left}")
    show(f"Store: {store}, version {receipt.version}. Receipt: {store}/forgotten/{receipt.receipt}.json")
