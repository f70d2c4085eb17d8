"""Texts without the passwords of the URLs in them: errors, reports and manifests never hold one."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["without_passwords"]

# A password may hold what it should not, so it goes on to the last @ of its word.
_USER: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://[^\s:/@?#'\"]*):[^\s'\"]*@")
_PARAMETER: Final = re.compile(r"([?&][a-z_]*(?:password|passwd|pwd|secret|token)[a-z_]*=)[^&\s#'\"]*", re.IGNORECASE)


def without_passwords(text: str) -> str:
    """`text` with `***` for each password of a URL in it.

    >>> without_passwords("postgresql://ann:s3cret@localhost/votes?sslpassword=x")
    'postgresql://ann:***@localhost/votes?sslpassword=***'
    """
    return _PARAMETER.sub(r"\1***", _USER.sub(r"\1:***@", text)) if "://" in text else text
