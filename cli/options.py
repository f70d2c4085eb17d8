"""Options and arguments that several commands share, each with one meaning and one help text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import click

__all__ = [
    "FOLDER",
    "Ranking",
    "engine_options",
    "from_option",
    "inputs_argument",
    "join_option",
    "json_option",
    "map_option",
    "overwrite_option",
    "parse_ratio",
    "ranking_option",
    "redact_option",
    "set_option",
    "sql_option",
    "store_option",
]

Function = TypeVar("Function", bound=Callable[..., Any])
Ranking = Literal["extremes", "neighbours", "off"]
FOLDER: Final = click.Path(path_type=Path, file_okay=False)

set_option = click.option(
    "--set", "overrides", metavar="KEY=VALUE", multiple=True, help="Override a config key; may be repeated."
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="One JSON object on stdout instead of text, for machines."
)
overwrite_option = click.option("--overwrite", is_flag=True, help="Replace another result of ours that is there.")
map_option = click.option(
    "--map",
    "map_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="TOML map of paths and labels, for formats that need one.",
)
join_option = click.option(
    "--join",
    metavar="FILE",
    help="Other file with what the records lack, for formats that judge in one file what lies in another.",
)
ranking_option = click.option(
    "--ranking",
    type=click.Choice(("extremes", "neighbours", "off")),
    default="extremes",
    help="Where answers are ranked: best against worst, each against the next, or thumbs instead.",
    show_default=True,
)
redact_option = click.option(
    "--redact", is_flag=True, help="Replace personal data in texts by marks such as [EMAIL] and [PHONE]."
)
sql_option = click.option(
    "--sql",
    metavar="QUERY",
    help="What to read where IN is a database: postgresql://, sqlite:///FILE or duckdb:///FILE.",
)


def engine_options(command: Function) -> Function:
    """The options --engine and --ray-address: where the stages run."""
    address = click.option(
        "--ray-address",
        metavar="HOST:PORT",
        help="Ray cluster that this machine is a node of.  [default: start Ray here]",
    )
    name = click.option(
        "--engine",
        "engine_name",
        type=click.Choice(("local", "ray")),
        help="Where the stages run: the cores of this machine, or Ray.  [default: local]",
    )
    return name(address(command))


def inputs_argument(*, required: bool = True) -> Callable[[Function], Function]:
    """The argument IN...: files, globs, folders, a curated dataset, - for standard input, or URLs."""
    return click.argument("inputs", nargs=-1, required=required, metavar="IN...")


def from_option() -> Callable[[Function], Function]:
    """The option --from: the format of the input."""
    return click.option(
        "--from", "source_format", metavar="FORMAT", help="Format of the input; see `thumbline formats`."
    )


def store_option(*, required: bool = False) -> Callable[[Function], Function]:
    """The option --store: the folder of a feedback store, or its place in a bucket."""
    return click.option("--store", metavar="DIR", required=required, help="Folder, or s3:// URL, of a feedback store.")


def parse_ratio(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[float, float] | None:
    """`LOW:HIGH` or one target as two numbers; each may be a fraction such as 4/3.

    >>> parse_ratio(None, None, "1:4/3")
    (1.0, 1.3333333333333333)

    Raises:
        BadParameter: the text is not one or two positive numbers in ascending order.
    """
    if value is None:
        return None
    from feedback.rebalance.ratio import parse_ratio_range
    from schemas.errors import ConfigError

    try:
        return parse_ratio_range(value)
    except ConfigError as error:
        raise click.BadParameter(str(error), ctx, param) from error
