"""Options and arguments that several commands share, each with one meaning and one help text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

__all__ = [
    "FOLDER",
    "from_option",
    "inputs_argument",
    "json_option",
    "map_option",
    "overwrite_option",
    "parse_ratio",
    "set_option",
]

Function = TypeVar("Function", bound=Callable[..., Any])
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
    help="TOML map of paths and labels, for the format 'mapped'.",
)


def inputs_argument(name: str = "inputs", *, required: bool = True) -> Callable[[Function], Function]:
    """The argument IN...: files, globs, folders, a curated dataset, or - for standard input."""
    metavar = "IN..." if name == "inputs" else name.upper() + "..."
    return click.argument(name, nargs=-1, required=required, metavar=metavar)


def from_option(*, required: bool = False) -> Callable[[Function], Function]:
    """The option --from: the format of the input."""
    return click.option(
        "--from",
        "source_format",
        metavar="FORMAT",
        required=required,
        help="Format of the input; see `thumbline formats`.",
    )


def parse_ratio(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[float, float] | None:
    """`LOW:HIGH` or one target as two numbers; each may be a fraction such as 4/3.

    >>> parse_ratio(None, None, "1:4/3")
    (1.0, 1.3333333333333333)

    Raises:
        BadParameter: the text is not one or two positive numbers in ascending order.
    """
    if value is None:
        return None
    from feedback.ratio import parse_ratio_range
    from schemas.errors import ConfigError

    try:
        return parse_ratio_range(value)
    except ConfigError as error:
        raise click.BadParameter(str(error), ctx, param) from error
