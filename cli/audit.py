"""The command `audit`: look before you train."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from cli.options import (
    Ranking,
    from_option,
    inputs_argument,
    join_option,
    map_option,
    ranking_option,
    set_option,
    sql_option,
)

if TYPE_CHECKING:  # it loads polars
    from feedback.audit import AuditReport

__all__ = ["audit"]


@click.command(epilog="Example: thumbline audit votes.jsonl --from thumbs --html audit.html")
@inputs_argument()
@from_option()
@map_option
@join_option
@ranking_option
@sql_option
@click.option("--version", type=click.IntRange(0), metavar="N", help="Where IN is a store: which version of it.")
@click.option(
    "--against",
    metavar="B",
    help="Another dataset, or raw files of the same --from: what changed since, and whether chance makes as much.",
)
@click.option(
    "--model",
    metavar="MODEL",
    help="Local folder or hub name: what training it on IN would do, after tokenization. --set train.KEY=VALUE.",
)
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
    version: int | None,
    against: str | None,
    model: str | None,
    json_path: str | None,
    html_path: Path | None,
    junit_path: Path | None,
    is_github: bool,
    fail_on: Literal["fail", "warn"],
    overrides: tuple[str, ...],
) -> None:
    """Say what is in the feedback, and what is wrong with it; nothing is changed.

    IN... are raw files with --from, or the folder of a store or of a curated dataset. The exit code is 3 when a gate
    fails.
    """
    from cli.progress import shown_progress
    from cli.workflows.training_audit import ask_training, audit_training, split_overrides
    from feedback.audit.sources import audit as audit_feedback
    from feedback.audit.sources import audit_against
    from feedback.audit.subjects import RawReading
    from feedback.records.store_mark import is_store
    from schemas.settings import apply_overrides

    if model is not None and is_store(inputs[0]):
        raise click.UsageError("--model looks at raw files or at a dataset. Make one: thumbline curate --store DIR.")
    named = inputs if against is None else (*inputs, against)
    _refuse_to_overwrite_input(json_path, html_path, junit_path, named)
    mine, of_training = split_overrides(overrides, has_model=model is not None)
    config = apply_overrides({}, mine)
    asked = None if model is None else ask_training(model, of_training)
    with shown_progress() as progress:
        reading: dict[str, Any] = {
            "source_format": source_format,
            "map_path": map_path,
            "ranking": ranking,
            "join": join,
            "sql": sql,
            "version": version,
            "config": config,
            "with_examples": html_path is not None,
            "progress": progress,
        }
        before = None
        if against is None:
            report = audit_feedback(inputs, **reading)
        else:
            report, before = audit_against(inputs, against, **reading)
        if asked is not None:
            raw = RawReading(source_format, None if map_path is None else str(map_path), ranking, join, sql)
            report = audit_training(report, inputs, asked, raw, progress=progress)
    _show_audit(report, before, json_path, html_path)
    _tell_pipeline(report, junit_path, fail_on, is_github=is_github)
    _leave_at_gates(ctx, report, fail_on)


def _refuse_to_overwrite_input(
    json_path: str | None, html_path: Path | None, junit_path: Path | None, inputs: tuple[str, ...]
) -> None:
    """`--json` may swallow the argument after it, which must never cost anybody their data."""
    targets = (("--json", json_path, ".json"), ("--html", html_path, ".html"), ("--junit", junit_path, ".xml"))
    for option, path, suffix in targets:
        if path is None or str(path) == "-":
            continue
        if not Path(path).parent.is_dir():
            raise click.UsageError(f"{option}: there is no folder {str(Path(path).parent)!r}.")
        is_audit = Path(path).is_file() and '"schema_version"' in Path(path).read_text("utf-8", errors="replace")[:200]
        if Path(path).suffix != suffix or (option == "--json" and Path(path).exists() and not is_audit):
            raise click.UsageError(
                f"{option} would write the audit to {str(path)!r}. Name a new file that ends in {suffix}, "
                f"or give {option} after IN..."
            )
        if Path(path).resolve() in {Path(one).resolve() for one in inputs}:
            raise click.UsageError(f"{option} would overwrite the input {str(path)!r}. Name another file.")


def _show_audit(report: AuditReport, before: AuditReport | None, json_path: str | None, html_path: Path | None) -> None:
    from cli.render import audit_page, show
    from feedback.audit import render_html
    from schemas.manifest import write_last

    written: list[str] = []
    if html_path is not None:
        write_last(html_path, render_html(report, before))
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
