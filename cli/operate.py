"""Commands of operation. Each parses, calls one function, shows the result."""

from __future__ import annotations

import shlex
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.options import FOLDER, json_option, set_option, store_option

if TYPE_CHECKING:  # it loads pyarrow
    from align.champion.dataset_diff import DatasetDiff

__all__ = ["dashboard", "demo", "diff", "history", "retrain", "rollback"]

_FOLDER_ARGUMENT = click.argument(
    "folder", metavar="FOLDER", type=click.Path(path_type=Path, exists=True, file_okay=False)
)


@click.command(epilog="Example: thumbline demo -o demo-run")
@click.option("-o", "--out", type=FOLDER, default=Path("demo-run"), show_default=True, help="Folder for everything.")
@click.option("--steps", type=click.IntRange(1), default=12, show_default=True, help="Optimizer steps.")
@click.option("--model", help="Another model: a local folder or a hub name.")
@click.option("--data", type=click.Path(path_type=Path), help="Folder of the sample data, outside a clone.")
@json_option
def demo(out: Path, steps: int, model: str | None, data: Path | None, as_json: bool) -> None:
    """Go the whole way on the sample data: audit, curate, train with KTO, evaluate.

    A few minutes on two CPU cores. The same command goes on with a demo that was stopped, and shows the results of a
    finished one at once.
    """
    from cli.json_output import print_json
    from cli.progress import shown_progress
    from cli.render import page, print_next, show
    from cli.workflows.demo import DEMO_MODEL, run_demo
    from cli.workflows.results import results_sections

    with shown_progress() as progress:
        results = run_demo(
            out,
            model=model or DEMO_MODEL,
            steps=steps,
            data=data,
            progress=progress,
            tell=lambda sentence: click.echo(sentence, err=True),
        )
    if as_json:
        print_json(results)
        return
    show(*page(results_sections(results, out)))
    print_next(f"thumbline audit {shlex.quote(str(out / 'dataset'))}", "look at the dataset")


@click.command(epilog="Example: thumbline retrain retrain.toml")
@click.argument("config_path", metavar="CONFIG", type=click.Path(path_type=Path, dir_okay=False))
@set_option
@json_option
def retrain(config_path: Path, overrides: tuple[str, ...], as_json: bool) -> None:
    """Audit, curate and train on what came into the store, and promote the model where it wins.

    The exit code is 0 when a challenger was promoted, 75 when nothing new came in, or too little to train on, or
    somebody else is at work, 3 when a gate stopped the run before training, 4 when the challenger lost. The same call
    goes on with a run that was broken off. CONFIG is a TOML file, see docs/retrain.md.
    """
    from cli.json_output import print_json
    from cli.progress import shown_progress
    from cli.render import print_next, show
    from cli.workflows.retrain import load_retrain_config
    from cli.workflows.retrain import retrain as run_retrain

    config = load_retrain_config(config_path, overrides)
    with shown_progress() as progress:
        result = run_retrain(config, progress=progress, tell=lambda sentence: click.echo(sentence, err=True))
    if as_json:
        print_json(result.report)
        return
    show(
        f"Run {result.run} was promoted: {'; '.join(result.decision.reasons)}",
        f"The champion: {Path(config.folder) / 'champion'}",
        f"The page: {result.folder / 'report.html'}",
    )
    print_next(f"thumbline history {shlex.quote(config.folder)}", "every decision")


@click.command(epilog='Example: thumbline rollback models --reason "it is rude"')
@_FOLDER_ARGUMENT
@click.option("--to", metavar="RUN", help="Id of the run whose model is wanted.  [default: the champion before]")
@click.option("--reason", default="", help="Why, for the history.")
@json_option
def rollback(folder: Path, to: str | None, reason: str, as_json: bool) -> None:
    """Make an earlier champion of FOLDER champion again; nothing is deleted, so it can be taken back.

    The feedback that the model taken back was trained on is not new again.
    """
    from cli.json_output import print_json
    from cli.render import show
    from cli.workflows.rolled_back import roll_back

    decision = roll_back(folder, to, reason=reason)
    if as_json:
        print_json(decision.to_dict())
        return
    champion = decision.champion
    show(f"{champion.run if champion else 'Nothing'} is champion again, in place of {decision.run}.")


@click.command(epilog="Example: thumbline history models")
@_FOLDER_ARGUMENT
@json_option
def history(folder: Path, as_json: bool) -> None:
    """Every decision about the champion of FOLDER, the newest one last."""
    from align.champion.registry import Registry
    from cli.json_output import print_json
    from cli.render import show, table_of

    decisions = Registry(folder).history()
    if as_json:
        print_json({"decisions": [decision.to_dict() for decision in decisions]})
        return
    if not decisions:
        show("Nothing was decided here yet.")
        return
    rows = [
        (
            str(one.number),
            one.decided_at,
            one.kind,
            one.run,
            "–" if one.champion is None else one.champion.run,
            str(one.watermark),
            "; ".join(one.reasons),
        )
        for one in decisions
    ]
    show(table_of(("", "decided", "what", "run", "champion", "up to>", "why"), rows))


@click.command(epilog="Example: thumbline diff previous champion --in models")
@click.argument("before", metavar="BEFORE")
@click.argument("after", metavar="AFTER")
@click.option("--in", "folder", type=FOLDER, help="Folder of thumbline retrain, to name its runs by their ids.")
@click.option(
    "--rows",
    "rows_path",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.parquet",
    help="Write the ids of all rows that differ into a new file.",
)
@json_option
def diff(before: str, after: str, folder: Path | None, rows_path: Path | None, as_json: bool) -> None:
    """Show which rows came, went or changed from BEFORE to AFTER, and what differs between the models.

    Both are folders of datasets, of training runs or of runs of retrain; with --in, also ids of runs, `champion` and
    `previous`.
    """
    from cli.json_output import print_json
    from cli.workflows.comparison import compare_named

    if rows_path is not None and rows_path.suffix != ".parquet":
        raise click.UsageError(f"--rows writes Parquet: name a file that ends in .parquet, not {str(rows_path)!r}.")
    found = compare_named(before, after, folder)
    if rows_path is not None:
        if found.datasets is None:
            raise click.UsageError("--rows goes with datasets, and these are models.")
        from cli.workflows.comparison import write_differing

        write_differing(found.datasets.rows, rows_path)
    if as_json:
        print_json(found.to_dict())
        return
    _show_diff(found.datasets, found.models)


@click.command(epilog="Example: thumbline dashboard models --store store -o site --serve")
@_FOLDER_ARGUMENT
@click.option("-o", "--out", type=FOLDER, required=True, help="Folder of the site.")
@store_option()
@click.option("--serve", is_flag=True, help="Show the site on this machine's loopback address until Ctrl-C.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port to serve on.  [default: a free one]")
@json_option
def dashboard(folder: Path, out: Path, store: str | None, serve: bool, port: int, as_json: bool) -> None:
    """Write a static site of FOLDER, the folder of thumbline retrain: decisions, measures, models, audits, store."""
    from cli.json_output import print_json
    from cli.render import show
    from cli.workflows.dashboard import dashboard_server, write_dashboard

    # The port comes first: where it is taken, nothing was said that is not so.
    with dashboard_server(out, port) if serve else nullcontext() as server:
        page = write_dashboard(folder, out, store)
        if as_json:
            print_json({"page": str(page)})
        else:
            show(f"The site: {page}")
        if server is not None:
            click.echo(f"Serving on http://127.0.0.1:{server.server_port}/ until Ctrl-C", err=True)
            server.serve_forever()


def _show_diff(datasets: DatasetDiff | None, models: dict[str, Any] | None) -> None:
    from cli.render import show, table_of

    if datasets is not None:
        _show_changes(datasets, "rows")
        if datasets.pairs is not None:
            _show_changes(datasets.pairs, "pairs")
    if models is not None:
        weights = models["weights"]
        moved = "–" if weights["relative"] is None else f"{weights['relative']:.4f}"
        show(f"The weights lie {moved} apart, relative to the norm of the earlier ones ({weights['tensors']} tensors).")
        keys = [(key, str(old), str(new)) for key, (old, new) in models["config"].items()]
        if keys:
            show(table_of(("config key", "before", "after"), keys))
        figures = [(key.replace("_", " "), old, new) for key, (old, new) in models["evaluation"].items()]
        show(models["evaluated_on"], *([table_of(("", "before>", "after>"), figures)] if figures else []))


def _show_changes(found: DatasetDiff, noun: str) -> None:
    from cli.render import show, table_of

    titles = {
        "came": "that came",
        "went": "that went",
        "label": "with another label",
        "split": "in the other split",
        "weight": "with another weight",
        "same": f"in both, with the same {'label, split and weight' if noun == 'rows' else 'split and weight'}",
    }
    counts = [(f"{noun} {titles[key]}", found.counts[key]) for key in titles if noun == "rows" or key != "label"]
    show(f"From {found.rows_before:,} {noun} to {found.rows_after:,}.", table_of(("", f"{noun}>"), counts))
