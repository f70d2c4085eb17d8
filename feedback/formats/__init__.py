"""The formats that feedback is read from, each a file: raw record -> event or pair, or a named rejection.

`find_format` gives one by name; `writers` holds the way back.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from feedback.formats.arena import ARENA
from feedback.formats.axolotl import AXOLOTL
from feedback.formats.drafts import Draft, EventDraft, Format, PairDraft
from feedback.formats.helpsteer import HELPSTEER2, HELPSTEER3
from feedback.formats.hh_rlhf import HH_RLHF
from feedback.formats.llamafactory import LLAMAFACTORY
from feedback.formats.mapped import MAPPED, mapped_format
from feedback.formats.mt_bench import MT_BENCH
from feedback.formats.oasst_tree import OASST_TREE
from feedback.formats.open_webui import OPEN_WEBUI
from feedback.formats.openai import OPENAI
from feedback.formats.pku_safe_rlhf import PKU_SAFE_RLHF, PKU_SAFE_RLHF_BETTER, PKU_SAFE_RLHF_SAFER
from feedback.formats.shp import SHP
from feedback.formats.summarize import SUMMARIZE
from feedback.formats.thumbs import THUMBS
from feedback.formats.trl import TRL
from feedback.formats.ultrafeedback import ULTRAFEEDBACK
from feedback.formats.webgpt import WEBGPT
from schemas.errors import UnknownChoiceError

__all__ = ["FORMATS", "Draft", "EventDraft", "Format", "PairDraft", "find_format", "mapped_format"]

_TRAINERS: Final = (TRL, OPENAI, LLAMAFACTORY, AXOLOTL)
_PUBLIC: Final = (
    *(HH_RLHF, OASST_TREE, SHP, ULTRAFEEDBACK, HELPSTEER2, HELPSTEER3, ARENA, MT_BENCH),
    *(PKU_SAFE_RLHF, PKU_SAFE_RLHF_BETTER, PKU_SAFE_RLHF_SAFER, WEBGPT, SUMMARIZE),
)
_ALL: Final = (THUMBS, MAPPED, *_TRAINERS, OPEN_WEBUI, *_PUBLIC)

FORMATS: Final[Mapping[str, Format]] = MappingProxyType({one.name: one for one in _ALL})
"""Every format by its name, our own first."""


def find_format(name: str) -> Format:
    """The format called `name`.

    Raises:
        UnknownChoiceError: there is none; the message lists the known ones.
    """
    if name not in FORMATS:
        raise UnknownChoiceError("format", name, FORMATS, todo="`thumbline formats` explains them")
    return FORMATS[name]
