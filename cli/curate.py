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
)

if TYPE_CHECKING:  # both load polars
    from feedback.config import CurateConfig
    from feedback.engine import Engine

__all__ = ["convert", "curate", "formats"]

DATASET_TYPES: Final = ("unpaired_preference", "preference")


@click.command(epilog="Example: thumbline formats --sniff votes.jsonl --map-out votes.toml")
@click.option("--sniff", "sniffed", metavar="FILE", help="Say which format a file is in, and why, from its beginning.")
@click.option(
    "--map-out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.toml",
    help="With --sniff: write a map to begin with, for the format 'mapped'.",
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
@from_option(required=True)
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
@json_option
def convert(
    inputs: tuple[str, ...],
    source_format: str,
    target_format: str,
    out: Path,
    dataset_type: Literal["unpaired_preference", "preference"] | None,
    map_path: Path | None,
    join: str | None,
    ranking: Ranking,
    sql: str | None,
    redact: bool,
    as_json: bool,
) -> None:
    """Write the feedback of IN... in another format, file to file.

    Nothing is curated: every row that can be read, and expressed in the new format, is written. A pair becomes two
    labelled rows where labels are wanted, an answer up and one down to the same prompt a pair where pairs are wanted.
    """
    from cli.json_output import print_json
    from cli.progress import shown_progress
    from cli.render import print_next, show, waterfall
    from feedback.formats.trainer_files import next_command
    from feedback.transcode import convert_files

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
            progress=progress,
        )
    if as_json:
        print_json({"out": str(out), "report": report.to_dict()})
        return
    show(waterfall([report]), *report.notes, f"Written: {out}")
    print_next(*next_command(target_format, report.config["kind"], out))


@click.command(epilog="Example: thumbline curate votes.jsonl --from thumbs -o dataset")
@inputs_argument()
@from_option()
@map_option
@join_option
@ranking_option
@sql_option
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
    out: Path,
    redact: bool,
    overwrite: bool,
    engine_name: str | None,
    ray_address: str | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Make a dataset: ingest, convert, dedup, conflicts, caps, split, rebalance, export.

    IN... is one config file (.toml), which may name several sources, or raw files with --from. A dataset that is
    already there, made from the same files with the same config, is left alone.
    """
    from cli.lean_start import start_lean

    start_lean(inputs)
    from cli.progress import shown_progress
    from feedback.pipeline import curate as curate_feedback

    overrides += ("export.redact=true",) if redact else ()
    config = _curate_config(inputs, source_format, map_path, join, ranking, sql, overrides)
    with shown_progress() as progress:
        engine = _open_engine(config, engine_name, ray_address)
        result = curate_feedback(config, out, overwrite=overwrite, engine=engine, progress=progress)
    show_dataset(result, as_json)


def _curate_config(
    inputs: tuple[str, ...],
    source_format: str | None,
    map_path: Path | None,
    join: str | None,
    ranking: Ranking,
    sql: str | None,
    overrides: tuple[str, ...],
) -> CurateConfig:
    """The config that a file holds, or the default one for files of a named format."""
    from feedback.formats.sniffing.unnamed import unnamed_format
    from feedback.pipeline import default_config, load_curate_config

    if len(inputs) == 1 and inputs[0].endswith(".toml"):
        return load_curate_config(Path(inputs[0]), overrides)
    if source_format is not None:
        mapped = None if map_path is None else str(map_path)
        return default_config(
            inputs, source_format, map=mapped, ranking=ranking, join=join, sql=sql, overrides=overrides
        )
    raise unnamed_format(inputs, todo="Or write a config file and name that")


def _open_engine(config: CurateConfig, name: str | None, address: str | None) -> Engine:
    """The engine that the options name, or else the config."""
    from feedback.engine import open_engine

    chosen = config.engine
    if name is None:
        return open_engine(chosen.name, address or chosen.ray_address, workers=chosen.workers)
    return open_engine(name, address, workers=chosen.workers)
