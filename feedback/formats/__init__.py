"""The formats that feedback is read from, each a file: raw record -> event or pair, or a named rejection.

`find_format` gives one by name; `writers` holds the way back.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from feedback.formats.arena import ARENA
from feedback.formats.argilla import ARGILLA
from feedback.formats.axolotl import AXOLOTL
from feedback.formats.chainlit import CHAINLIT
from feedback.formats.chatgpt_export import CHATGPT_EXPORT
from feedback.formats.drafts import Draft, EventDraft, Format, IgnoredDraft, PairDraft
from feedback.formats.fastchat_arena import FASTCHAT_ARENA
from feedback.formats.gradio_flagged import GRADIO_FLAGGED
from feedback.formats.helpsteer import HELPSTEER2, HELPSTEER3
from feedback.formats.hf_chat_ui import HF_CHAT_UI
from feedback.formats.hh_rlhf import HH_RLHF
from feedback.formats.label_studio import LABEL_STUDIO
from feedback.formats.langfuse import LANGFUSE
from feedback.formats.langsmith import LANGSMITH
from feedback.formats.librechat import LIBRECHAT
from feedback.formats.llamafactory import LLAMAFACTORY
from feedback.formats.mapped import MAPPED, mapped_format
from feedback.formats.mlflow import MLFLOW
from feedback.formats.mt_bench import MT_BENCH
from feedback.formats.oasst_tree import OASST_TREE
from feedback.formats.open_webui import OPEN_WEBUI
from feedback.formats.openai import OPENAI
from feedback.formats.otel_genai import OTEL_GENAI
from feedback.formats.phoenix import PHOENIX
from feedback.formats.pku_safe_rlhf import PKU_SAFE_RLHF, PKU_SAFE_RLHF_BETTER, PKU_SAFE_RLHF_SAFER
from feedback.formats.shp import SHP
from feedback.formats.streamlit_feedback import STREAMLIT_FEEDBACK
from feedback.formats.summarize import SUMMARIZE
from feedback.formats.thumbs import THUMBS
from feedback.formats.trl import TRL
from feedback.formats.ultrafeedback import ULTRAFEEDBACK
from feedback.formats.webgpt import WEBGPT
from schemas.errors import UnknownChoiceError

__all__ = ["FORMATS", "Draft", "EventDraft", "Format", "IgnoredDraft", "PairDraft", "find_format", "mapped_format"]

_TRAINERS: Final = (TRL, OPENAI, LLAMAFACTORY, AXOLOTL)
_LOGS: Final = (
    *(OPEN_WEBUI, LIBRECHAT, CHAINLIT, HF_CHAT_UI, GRADIO_FLAGGED, STREAMLIT_FEEDBACK, FASTCHAT_ARENA, CHATGPT_EXPORT),
)
_TOOLS: Final = (LANGFUSE, LANGSMITH, MLFLOW, PHOENIX, OTEL_GENAI, LABEL_STUDIO, ARGILLA)
_PUBLIC: Final = (
    *(HH_RLHF, OASST_TREE, SHP, ULTRAFEEDBACK, HELPSTEER2, HELPSTEER3, ARENA, MT_BENCH),
    *(PKU_SAFE_RLHF, PKU_SAFE_RLHF_BETTER, PKU_SAFE_RLHF_SAFER, WEBGPT, SUMMARIZE),
)
_ALL: Final = (THUMBS, MAPPED, *_TRAINERS, *_LOGS, *_TOOLS, *_PUBLIC)

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
