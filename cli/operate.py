"""Commands of operation. Each parses, calls one function, shows the result."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from cli.options import FOLDER, json_option

__all__ = ["demo"]


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
