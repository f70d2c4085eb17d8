"""What a trainer wants beside the records: LLaMA-Factory's `dataset_info.json`, Axolotl's entry under `datasets:`.

    votes.jsonl ─┬─ dataset_info.json     an entry `votes`; entries of other data sets in it stay as they are
                 └─ votes.axolotl.yaml    what a config says about the data; the rest of the config is the user's

Keys were read in hiyouga/LLaMA-Factory (data/README.md, src/llamafactory/data) and in axolotl-ai-cloud/axolotl
(docs/rlhf.qmd, src/axolotl/prompt_strategies).
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

from schemas.errors import InputError, OutputExistsError
from schemas.manifest import write_last

__all__ = ["check_beside", "next_command", "write_beside"]

_INFO: Final = "dataset_info.json"
_MARK: Final = "# Written by thumbline convert"
_READABLE: Final = (".jsonl", ".parquet")
"""Suffixes that LLaMA-Factory knows, of those that can be written."""


def check_beside(target: str, out: Path, suffix: str) -> None:
    """Pass if what belongs beside `out` may be written.

    Args:
        target: name of the written format.
        out: the file with the records.
        suffix: its suffix.

    Raises:
        InputError: there is a `dataset_info.json` that cannot be read.
        OutputExistsError: an entry or a file of the same name is there, and it is about something else.
    """
    if target == "llamafactory" and suffix in _READABLE:
        entry = _read_info(out).get(_name(out, suffix))
        if entry is not None and not (isinstance(entry, dict) and entry.get("file_name") == out.name):
            raise OutputExistsError(
                f"{_INFO} names another data set {_name(out, suffix)!r}",
                where=out.with_name(_INFO),
                todo="Name another file, or remove the entry",
            )
    path = _config_path(out, suffix)
    if target == "axolotl" and path.exists() and not path.read_text("utf-8", errors="replace").startswith(_MARK):
        raise OutputExistsError(
            "the file for Axolotl's config is there already, and not ours", where=path, todo="Name another file"
        )


def write_beside(target: str, kind: str, out: Path, suffix: str, fields: Collection[str]) -> str | None:
    """Write what belongs beside `out`, and say what it is; None where nothing does.

    Args:
        target: name of the written format.
        kind: `events` or `pairs`.
        out: the file with the records.
        suffix: its suffix.
        fields: all fields that a record has.
    """
    if target == "llamafactory":
        return _write_info(kind, out, suffix, fields)
    if target == "axolotl":
        path = _config_path(out, suffix)
        write_last(path, _config(kind, out, suffix))
        return f"Beside it: {path.name}, to be put into a config of Axolotl."
    return None


def next_command(target: str, kind: str, out: Path) -> tuple[str, str]:
    """The command to run after `out` was written, and what for.

    Args:
        target: name of the written format.
        kind: `events` or `pairs`.
        out: the file with the records.
    """
    if target == "llamafactory" and out.suffix in _READABLE:
        stage = "kto" if kind == "events" else "dpo"
        command = (
            f"llamafactory-cli train --stage {stage} --do_train true --finetuning_type lora "
            f"--dataset_dir {shlex.quote(str(out.parent))} --dataset {shlex.quote(_name(out, out.suffix))} "
            "--model_name_or_path MODEL --template TEMPLATE --output_dir RUN"
        )
        return command, "train on it there"
    return f"thumbline audit {shlex.quote(str(out))} --from {target}", "see what is in it"


def _name(out: Path, suffix: str) -> str:
    return out.name[: -len(suffix)]


def _read_info(out: Path) -> dict[str, Any]:
    path = out.with_name(_INFO)
    if not path.exists():
        return {}
    try:
        info = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise InputError(f"{_INFO} is not JSON ({error})", where=path, todo="Mend it, or write elsewhere") from error
    if not isinstance(info, dict):
        raise InputError(f"{_INFO} is not an object of data sets", where=path, todo="Mend it, or write elsewhere")
    return info


def _write_info(kind: str, out: Path, suffix: str, fields: Collection[str]) -> str:
    if suffix not in _READABLE:
        return f"LLaMA-Factory reads no {suffix}, so {_INFO} was not written: unpack the file, or write .jsonl."
    entry = _LABELLED if kind == "events" else _PAIRED
    columns = {**entry["columns"], **({"tools": "tools"} if "tools" in fields else {})}
    info = {**_read_info(out), _name(out, suffix): {"file_name": out.name, **entry, "columns": columns}}
    write_last(out.with_name(_INFO), json.dumps(info, indent=2, ensure_ascii=False) + "\n")
    return f"Beside it: {_INFO}, in which it is the data set {_name(out, suffix)!r}."


_LABELLED: Final[dict[str, Any]] = {
    "formatting": "sharegpt",
    "columns": {"messages": "messages", "kto_tag": "label"},
    "tags": {
        "role_tag": "role",
        "content_tag": "content",
        "user_tag": "user",
        "assistant_tag": "assistant",
        "observation_tag": "tool",
        "system_tag": "system",
    },
}
_PAIRED: Final[dict[str, Any]] = {
    "formatting": "sharegpt",
    "ranking": True,
    "columns": {"messages": "conversations", "chosen": "chosen", "rejected": "rejected"},
    "tags": {
        "role_tag": "from",
        "content_tag": "value",
        "user_tag": "human",
        "assistant_tag": "gpt",
        "observation_tag": "observation",
        "system_tag": "system",
    },
}


def _config_path(out: Path, suffix: str) -> Path:
    return out.with_name(f"{_name(out, suffix)}.axolotl.yaml")


def _config(kind: str, out: Path, suffix: str) -> str:
    # A JSON string is a YAML string, whatever the path holds.
    data = [
        f"  - path: {json.dumps(str(out))}",
        f"    ds_type: {'parquet' if suffix == '.parquet' else 'json'}",
        "    split: train",
    ]
    return "\n".join(
        [f"{_MARK}: what the config of Axolotl says about these records.", *_HEADS[kind], *data, *_TAILS[kind], ""]
    )


_HEADS: Final = {
    "events": ("rl: kto", "remove_unused_columns: false", "datasets:"),
    "pairs": ("rl: dpo", "chat_template: tokenizer_default", "datasets:"),
}
_TAILS: Final = {
    "events": ("    type: chatml.prompt_pairs  # llama3.prompt_pairs for models with the template of Llama 3",),
    "pairs": (
        "    type: chat_template.default",
        "    field_messages: messages",
        "    field_chosen: chosen",
        "    field_rejected: rejected",
        "    message_property_mappings:",
        "      role: role",
        "      content: content",
        "    roles:",
        *(f"      {role}: [{role}]" for role in ("system", "user", "assistant", "tool")),
    ),
}
