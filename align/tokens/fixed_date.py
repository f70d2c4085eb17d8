"""A date that stays: what chat templates write where they ask for today's.

Tokens that change overnight could not be resumed, compared with those of another day, or made again. A run's own date
would tell a model no more: it is asked on later days too.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

__all__ = ["FIXED_DATE", "template_text", "with_fixed_date", "writes_date"]

FIXED_DATE: Final = datetime(2024, 7, 26, tzinfo=UTC)
"""The one that templates of Llama 3 fall back on where there is no clock."""

_CLOCK: Final = "strftime_now"
_CODES: Final = (*(f"%-{code}" for code in "dmHIMSj"), *(f"%{code}" for code in "aAbBcCdDeFGHIjmMpSTuUVwWxXyYZ"))
_PERCENT, _MARK = "%%", "\x00"


def with_fixed_date(template: str) -> str:
    """The chat template with a macro in the place of the clock that transformers gives it; others stay as they are.

    Args:
        template: Jinja source.
    """
    if _CLOCK not in template:
        return template
    becomes = {_PERCENT: _MARK, **{code: FIXED_DATE.strftime(code) for code in _CODES}, _MARK: "%"}
    written = "".join(f" | replace({code!r}, {text!r})" for code, text in becomes.items())
    # The parameter has the name that transformers gives it. A line break behind a block is trimmed there, so the
    # template itself begins as it did.
    return f"{{% macro {_CLOCK}(format) %}}{{{{ format{written} }}}}{{% endmacro %}}\n{template}"


def writes_date(tokenizer: Any) -> bool:
    """Whether a chat template of the tokenizer asks for today's date."""
    return _CLOCK in template_text(tokenizer)


def template_text(tokenizer: Any) -> str:
    """The chat template of a tokenizer, or all of them where it has several by name; empty where it has none."""
    template = tokenizer.chat_template
    return "\n".join(map(str, template.values())) if isinstance(template, dict) else str(template or "")
