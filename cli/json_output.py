"""What commands print for machines: one JSON object; apart from the tables, whose library takes longer to load."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

__all__ = ["print_json"]


def print_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True))
