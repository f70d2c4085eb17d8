"""Commands of curation: formats, convert, audit, curate. Each parses, calls, shows."""

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
    from feedback.audit import AuditReport
    from feedback.config import CurateConfig
    from feedback.engine import Engine

__all__ = ["audit", "convert", "curate", "formats"]

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


@click.command(epilog="Example: thumbline audit votes.jsonl --from thumbs --html audit.html")
@inputs_argument()
@from_option()
@map_option
@join_option
@ranking_option
@sql_option
@click.option(
    "--json",
    "json_path",
    metavar="[FILE.json]",
    is_flag=False,
    flag_value="-",
    help="The audit as JSON: on stdout instead of text, or into a file.",
)
@click.option(
    "--html",
    "html_path",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.html",
    help="The audit as a page with pictures, into a file.",
)
@click.option(
    "--junit",
    "junit_path",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.xml",
    help="The gates as a JUnit file, for pipelines that show test results.",
)
@click.option("--github", "is_github", is_flag=True, help="Annotations of GitHub Actions for gates that do not hold.")
@click.option(
    "--fail-on",
    type=click.Choice(("fail", "warn")),
    default="fail",
    help="What makes the exit code 3.",
    show_default=True,
)
@set_option
@click.pass_context
def audit(
    ctx: click.Context,
    inputs: tuple[str, ...],
    source_format: str | None,
    map_path: Path | None,
    join: str | None,
    ranking: Ranking,
    sql: str | None,
    json_path: str | None,
    html_path: Path | None,
    junit_path: Path | None,
    is_github: bool,
    fail_on: Literal["fail", "warn"],
    overrides: tuple[str, ...],
) -> None:
    """Say what is in the feedback, and what is wrong with it; nothing is changed.

    IN... are raw files with --from, or the folder of a curated dataset. The exit code is 3 when a gate fails.
    """
    from cli.progress import shown_progress
    from feedback.audit import AuditConfig
    from feedback.audit.sources import audit as audit_feedback
    from schemas.settings import apply_overrides, load_settings

    _refuse_to_overwrite_input(json_path, html_path, junit_path, inputs)
    config = load_settings(AuditConfig, apply_overrides({}, overrides), where="--set") if overrides else None
    with shown_progress() as progress:
        report = audit_feedback(
            inputs,
            source_format=source_format,
            map_path=map_path,
            ranking=ranking,
            join=join,
            sql=sql,
            config=config,
            progress=progress,
        )
    _show_audit(report, json_path, html_path)
    _tell_pipeline(report, junit_path, fail_on, is_github=is_github)
    _leave_at_gates(ctx, report, fail_on)


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

    start_lean()
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
    from feedback.formats import FORMATS
    from feedback.pipeline import default_config, load_curate_config
    from schemas.errors import UsageError

    if len(inputs) == 1 and inputs[0].endswith(".toml"):
        return load_curate_config(Path(inputs[0]), overrides)
    if source_format is not None:
        mapped = None if map_path is None else str(map_path)
        return default_config(
            inputs, source_format, map=mapped, ranking=ranking, join=join, sql=sql, overrides=overrides
        )
    raise UsageError(
        "the format of the input is not named",
        where=", ".join(inputs),
        expected=f"--from with one of {', '.join(FORMATS)}",
        todo="Name it, or write a config file and name that; `thumbline formats` explains the formats",
    )


def _open_engine(config: CurateConfig, name: str | None, address: str | None) -> Engine:
    """The engine that the options name, or else the config."""
    from feedback.engine import open_engine

    chosen = config.engine
    if name is None:
        return open_engine(chosen.name, address or chosen.ray_address, workers=chosen.workers)
    return open_engine(name, address, workers=chosen.workers)


def _refuse_to_overwrite_input(
    json_path: str | None, html_path: Path | None, junit_path: Path | None, inputs: tuple[str, ...]
) -> None:
    """`--json` may swallow the argument after it, which must never cost anybody their data."""
    targets = (("--json", json_path, ".json"), ("--html", html_path, ".html"), ("--junit", junit_path, ".xml"))
    for option, path, suffix in targets:
        if path is None or str(path) == "-":
            continue
        is_audit = Path(path).is_file() and '"schema_version"' in Path(path).read_text("utf-8", errors="replace")[:200]
        if Path(path).suffix != suffix or (option == "--json" and Path(path).exists() and not is_audit):
            raise click.UsageError(
                f"{option} would write the audit to {str(path)!r}. Name a new file that ends in {suffix}, "
                f"or give {option} after IN..."
            )
        if Path(path).resolve() in {Path(one).resolve() for one in inputs}:
            raise click.UsageError(f"{option} would overwrite the input {str(path)!r}. Name another file.")


def _show_audit(report: AuditReport, json_path: str | None, html_path: Path | None) -> None:
    from cli.render import audit_page, show
    from feedback.audit import render_html
    from schemas.manifest import write_last

    written: list[str] = []
    if html_path is not None:
        write_last(html_path, render_html(report))
        written.append(f"The page: {html_path}")
    if json_path not in (None, "-"):
        write_last(Path(str(json_path)), report.to_json())
        written.append(f"As JSON: {json_path}")
    if json_path == "-":
        click.echo(report.to_json(), nl=False)
    else:
        show(*audit_page(report), *written)


def _tell_pipeline(
    report: AuditReport, junit_path: Path | None, fail_on: Literal["fail", "warn"], *, is_github: bool
) -> None:
    from feedback.audit.pipeline_reports import github_annotations, render_junit
    from schemas.manifest import write_last

    if junit_path is not None:
        write_last(junit_path, render_junit(report, fail_on))
    if is_github:
        # On stderr, which the runner reads too: stdout may be the audit as JSON.
        for line in github_annotations(report):
            click.echo(line, err=True)


def _leave_at_gates(ctx: click.Context, report: AuditReport, fail_on: Literal["fail", "warn"]) -> None:
    from cli.render import clean
    from feedback.audit import check_gates
    from schemas.errors import AuditGateError

    try:
        check_gates(report, fail_on)
    except AuditGateError as error:
        click.secho(f"Error: {clean(str(error))}", fg="red", err=True)
        ctx.exit(error.exit_code)
