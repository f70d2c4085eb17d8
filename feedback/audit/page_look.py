"""What all of our pages share: the style sheet, its colours in drawings, and what the browser may load.

Every value goes through jinja2's autoescape; only our drawings, style sheet and script do not. The content security
policy allows one style sheet and at most one script, by their hashes, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from jinja2 import BaseLoader, Environment, StrictUndefined

__all__ = ["FOLDER", "content_policy", "page_environment", "style_sheet"]

FOLDER: Final = Path(__file__).parent
"""Where the style sheet, the script and the template of the audit's page lie."""


def page_environment(loader: BaseLoader) -> Environment:
    """Templates that escape every value, and refuse one that they are not given.

    Args:
        loader: finds the templates.
    """
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def style_sheet(colours: Mapping[str, str], more: str = "") -> str:
    """The style sheet, with rules that paint every disguised colour of a drawing in the theme's colour of that name.

    Args:
        colours: disguised colour by name, see `feedback.audit.svg`; none where a page has no drawing.
        more: rules of the page's own.
    """
    theme = "".join(
        f'svg [fill="{colour}"]{{fill:var(--{name})}}svg [stroke="{colour}"]{{stroke:var(--{name})}}'
        for name, colour in colours.items()
    )
    return FOLDER.joinpath("report.css").read_text("utf-8") + more + theme


def content_policy(style: str, script: str | None = None) -> str:
    """The content security policy of a page: nothing is loaded, and only this style sheet and this script count.

    Args:
        style: text of the style sheet.
        script: text of the script; none allows no script.
    """
    allowed = f"style-src {_hashed(style)}; " + ("" if script is None else f"script-src {_hashed(script)}; ")
    return f"default-src 'none'; {allowed}base-uri 'none'; form-action 'none'"


def _hashed(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
