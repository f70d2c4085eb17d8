"""The formats that feedback is read from, each a file: raw record -> event or pair, or a named rejection.

`find_format` gives one by name; `writers` holds the way back. A format's module is imported when somebody asks for the
format, so that a run does not wait for the dozens that it does not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Final

from feedback.formats.drafts import Draft, EventDraft, Format, IgnoredDraft, PairDraft
from schemas.errors import UnknownChoiceError

__all__ = ["FORMATS", "Draft", "EventDraft", "Format", "IgnoredDraft", "PairDraft", "find_format"]

_TRAINERS: Final = ("trl", "openai", "llamafactory", "axolotl")
_LOGS: Final = (
    *("open_webui", "librechat", "chainlit", "hf_chat_ui", "gradio_flagged", "streamlit_feedback", "fastchat_arena"),
    "chatgpt_export",
)
_TOOLS: Final = ("langfuse", "langsmith", "mlflow", "phoenix", "otel_genai", "label_studio", "argilla")
_PUBLIC: Final = (
    *("hh_rlhf", "oasst_tree", "shp", "ultrafeedback", "helpsteer2", "helpsteer3", "arena", "mt_bench"),
    *("pku_safe_rlhf", "pku_safe_rlhf_better", "pku_safe_rlhf_safer", "webgpt", "summarize"),
)
_NAMES: Final = ("thumbs", "mapped", *_TRAINERS, *_LOGS, *_TOOLS, *_PUBLIC)
_MODULES: Final = {
    **dict.fromkeys(("helpsteer2", "helpsteer3"), "helpsteer"),
    **dict.fromkeys(("pku_safe_rlhf_better", "pku_safe_rlhf_safer"), "pku_safe_rlhf"),
}
"""Modules of formats that share one; all others have one of their name, with a constant of their name in capitals."""


class _Formats(Mapping[str, Format]):
    def __getitem__(self, name: str) -> Format:
        if name not in _NAMES:
            raise KeyError(name)
        module = import_module(f"feedback.formats.{_MODULES.get(name, name)}")
        found: Format = getattr(module, name.upper())
        return found

    def __contains__(self, name: object) -> bool:
        return name in _NAMES

    def __iter__(self) -> Iterator[str]:
        return iter(_NAMES)

    def __len__(self) -> int:
        return len(_NAMES)


FORMATS: Final[Mapping[str, Format]] = _Formats()
"""Every format by its name, our own first."""


def find_format(name: str) -> Format:
    """The format called `name`.

    Raises:
        UnknownChoiceError: there is none; the message lists the known ones.
    """
    if name not in FORMATS:
        raise UnknownChoiceError("format", name, FORMATS, todo="`thumbline formats` explains them")
    return FORMATS[name]
