"""Commands of curation: formats, convert, curate. Each parses, calls, shows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import click

from cli.dataset_page import show_dataset
from cli.options import (
    FOLDER,
    Ranking,
    engine_options,
    from_option,
    inputs_argument,
    join_option,
    json_option,
    map_option,
    overwrite_option,
    ranking_option,
    redact_option,
    set_option,
    sql_option,
    store_option,
)

if TYPE_CHECKING:  # all but the last load polars
    from feedback.config import CurateConfig
    from feedback.engine import Engine
    from feedback.pipeline import CurateResult
    from schemas.report import StageReport

__all__ = ["convert", "curate", "formats"]

DATASET_TYPES: Final = ("unpaired_preference", "preference")


@click.command(epilog="Example: thumbline formats --sniff votes.jsonl --map-out votes.toml")
@click.option("--sniff", "sniffed", metavar="FILE", help="Say which format a file is in, and why, from its beginning.")
@click.option(
    "--map-out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.toml",
    help="With --sniff: write a map to begin with, for the format that it is in or for 'mapped'.",
)
@json_option
def formats(sniffed: str | None, map_out: Path | None, as_json: bool) -> None:
    """List the formats that can be read and written, what each needs, and how it reads its labels.

    Labels are never guessed: a record whose value is not in the format's rule goes to quarantine.
    """
    from cli.format_page import show_formats, show_sniffed

    if sniffed is None and map_out is not None:
        raise click.UsageError("--map-out goes with --sniff FILE.")
    if sniffed is None:
        show_formats(as_json)
    else:
        show_sniffed(sniffed, map_out, as_json)


@click.command(epilog="Example: thumbline convert votes.jsonl --from thumbs --to trl -o votes.parquet")
@inputs_argument()
@from_option()
@click.option("--to", "target_format", metavar="FORMAT", required=True, help="Format to write.")
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="File to write.")
@click.option(
    "--type",
    "dataset_type",
    type=click.Choice(DATASET_TYPES),
    help="What to write where the format takes both.  [default: what the input is]",
)
@map_option
@join_option
@ranking_option
@sql_option
@redact_option
@click.option(
    "--max-rejected-share",
    type=click.FloatRange(0, 1),
    metavar="SHARE",
    default=0.2,
    show_default=True,
    help="Largest share of records that may be rejected; beyond it nothing is written.",
)
@json_option
def convert(
    inputs: tuple[str, ...],
    source_format: str | None,
    target_format: str,
    out: Path,
    dataset_type: Literal["unpaired_preference", "preference"] | None,
    map_path: Path | None,
    join: str | None,
    ranking: Ranking,
    sql: str | None,
    redact: bool,
    max_rejected_share: float,
    as_json: bool,
) -> None:
    """Write the feedback of IN... in another format, file to file.

    Nothing is curated: every row that can be read, and expressed in the new format, is written, of a record with
    several revisions the latest. A pair becomes two labelled rows where labels are wanted, an answer up and one down to
    the same prompt a pair where pairs are wanted.
    """
    from cli.json_output import print_json
    from cli.progress import shown_progress
    from cli.render import print_next, show, waterfall
    from feedback.formats.trainer_files import next_command
    from feedback.transcode import convert_files

    if source_format is None:
        from feedback.formats.sniffing.unnamed import unnamed_format  # looks into the files, which no right call needs

        raise unnamed_format(inputs, problem="no format is given for the input")
    with shown_progress() as progress:
        report = convert_files(
            inputs,
            source_format,
            target_format,
            out,
            map_path=map_path,
            ranking=ranking,
            join=join,
            sql=sql,
            dataset_type=dataset_type,
            redact=redact,
            max_rejected_share=max_rejected_share,
            progress=progress,
        )
    if as_json:
        print_json({"out": str(out), "report": report.to_dict()})
        return
    _tell_rejected(report)
    show(waterfall([report]), *report.notes, f"Written: {out}")
    print_next(*next_command(target_format, report.config["kind"], out))


def _tell_rejected(report: StageReport) -> None:
    """Say on stderr why records were rejected, and where the first of them are."""
    from cli.render import clean

    rejected, cases = report.figures["rejected"], report.figures["first_cases"]
    if rejected:
        listed = ", ".join(f"{reason} {count:,}" for reason, count in rejected.items())
        for line in (f"Quarantined: {listed}. The first cases are:", *(f"  {case}" for case in cases)):
            click.echo(clean(line), err=True)


@click.command(epilog="Example: thumbline curate votes.jsonl --from thumbs -o dataset")
@inputs_argument(required=False)
@from_option()
@map_option
@join_option
@ranking_option
@sql_option
@store_option()
@click.option(
    "--version", type=click.IntRange(0), metavar="N", help="With --store: which version of it.  [default: the latest]"
)
@click.option("-o", "--out", type=FOLDER, required=True, help="Folder of the dataset.")
@redact_option
@overwrite_option
@engine_options
@set_option
@json_option
def curate(
    inputs: tuple[str, ...],
    source_format: str | None,
    map_path: Path | None,
    join: str | None,
    ranking: Ranking,
    sql: str | None,
    store: str | None,
    version: int | None,
    out: Path,
    redact: bool,
    overwrite: bool,
    engine_name: str | None,
    ray_address: str | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Make a dataset: ingest, convert, dedup, conflicts, caps, split, rebalance, export.

    IN... is one config file (.toml), which may name several sources, or raw files with --from. With --store it is
    what the store holds, and IN may be a config file, whose sources are not read. A dataset that is already there,
    made from the same files with the same config, is left alone.
    """
    from cli.lean_start import start_lean

    start_lean(inputs)
    from cli.progress import shown_progress
    from feedback.pipeline import curate as curate_feedback
    from feedback.run_config import config_of_inputs

    overrides += ("export.redact=true",) if redact else ()
    if store is not None:
        named = {"--from": source_format, "--map": map_path, "--join": join, "--sql": sql}
        _refuse_sources(inputs, [option for option, value in named.items() if value is not None])
        result = _curate_store(store, inputs, version, out, overrides, (engine_name, ray_address), overwrite=overwrite)
    else:
        if version is not None:
            raise click.UsageError("--version goes with --store DIR.")
        if not inputs:
            raise click.UsageError("Missing argument 'IN...': files with --from, a config file, or --store DIR.")
        config = config_of_inputs(
            inputs, source_format, map_path=map_path, ranking=ranking, join=join, sql=sql, overrides=overrides
        )
        with shown_progress() as progress:
            engine = _open_engine(config, engine_name, ray_address)
            result = curate_feedback(config, out, overwrite=overwrite, engine=engine, progress=progress)
    show_dataset(result, as_json)


def _refuse_sources(inputs: tuple[str, ...], options: list[str]) -> None:
    if options or len(inputs) > 1 or not all(name.endswith(".toml") for name in inputs):
        given = ", ".join([*inputs, *options])
        raise click.UsageError(
            f"--store is the input, and {given} would be another one. Take files in first: thumbline ingest IN... "
            "--from FORMAT --store DIR"
        )


def _curate_store(
    store: str,
    inputs: tuple[str, ...],
    version: int | None,
    out: Path,
    overrides: tuple[str, ...],
    engine: tuple[str | None, str | None],
    *,
    overwrite: bool,
) -> CurateResult:
    from cli.progress import shown_progress
    from feedback.pipeline import curate_store, store_config
    from feedback.store import Store

    config = store_config(overrides, path=Path(inputs[0]) if inputs else None)
    with shown_progress() as progress:
        return curate_store(
            Store.open(store),
            config,
            out,
            version=version,
            overwrite=overwrite,
            engine=_open_engine(config, *engine),
            progress=progress,
        )


def _open_engine(config: CurateConfig, name: str | None, address: str | None) -> Engine:
    """The engine that the options name, or else the config."""
    from feedback.engine import open_engine

    chosen = config.engine
    if name is None:
        return open_engine(chosen.name, address or chosen.ray_address, workers=chosen.workers)
    known = chosen.ray_address if name == chosen.name else None
    return open_engine(name, address or known, workers=chosen.workers)
