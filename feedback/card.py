"""The dataset card: what a dataset holds and how it was made, in words that follow from its manifest alone.

Its first lines are YAML that tells `datasets.load_dataset(FOLDER)` which file belongs to which split.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from schemas.manifest import Manifest
from schemas.reasons import DropReason
from schemas.report import StageReport

__all__ = ["dataset_card"]

_COLUMNS: Final = (
    ("`prompt`", "turns up to the rated answer, each with `role` and `content`"),
    ("`completion`", "the rated answer, one assistant turn"),
    ("`label`", "true: desirable, false: undesirable"),
    ("`weight`", "multiplies the row's loss; holds lambda_D or lambda_U of the train split"),
    ("`row_id`", "stable id of the row"),
    ("`group_id`", "rows of one id share a prompt and never stand in different splits"),
    ("`origin`, `source`", "the kind of feedback (thumb, pair, score) and where it came from"),
    ("`source_event_ids`, `n_up`, `n_down`", "the votes behind the label: their ids and how many went each way"),
    ("`tools`", "tools that the model could call, as JSON; the column exists only where a row has some"),
    ("`split`", "train or test"),
)
_MEANINGS: Final = {reason.value: reason.meaning for reason in DropReason}
_TITLE: Final = """# Feedback dataset

Prompts, completions and thumbs (`unpaired_preference`), curated with thumbline {version}. Digest: `{digest}`.
"""
_IN_PYTHON: Final = """## In Python

```python
from datasets import load_dataset

train = load_dataset("PATH_OF_THIS_FOLDER", split="train")
```

`prompt`, `completion` and `label` train in TRL's `KTOTrainer` as they are; the other columns are not used there.
"""


def dataset_card(manifest: Manifest) -> str:
    """The text of `README.md` for the dataset of `manifest`."""
    sections = [
        _front_matter(manifest),
        _TITLE.format(version=manifest.thumbline_version, digest=manifest.digest),
        _splits(manifest),
        _ratio(manifest),
        _table("Columns", ("column", "meaning"), _COLUMNS),
        _waterfall(manifest.stages),
        _notes(manifest.stages),
        _table(
            "Sources",
            ("file", "format", "records", "sha256"),
            ((_cell(file.name), file.format, f"{file.records:,}", f"`{file.sha256}`") for file in manifest.sources),
        ),
        _IN_PYTHON,
    ]
    return "\n".join(sections)


def _front_matter(manifest: Manifest) -> str:
    lines = ["---", "configs:", "- config_name: default", "  data_files:"]
    for split in dict.fromkeys(shard.split for shard in manifest.shards):
        lines += [f"  - split: {split}", f"    path: data/{split}-*.parquet"]
    return "\n".join([*lines, "tags:", "- kto", "- preference", "- feedback", "---", ""])


def _splits(manifest: Manifest) -> str:
    rows = []
    for split in dict.fromkeys(shard.split for shard in manifest.shards):
        shards = [shard for shard in manifest.shards if shard.split == split]
        up, down = sum(shard.desirable for shard in shards), sum(shard.undesirable for shard in shards)
        rows.append((split, f"{up + down:,}", f"{up:,}", f"{down:,}", str(len(shards))))
    return _table("Splits", ("split", "rows", "desirable", "undesirable", "shards"), rows)


def _ratio(manifest: Manifest) -> str:
    ratio = manifest.ratio
    if ratio is None:
        return ""
    value = "undefined" if not ratio.undesirable else f"{ratio.value:.4f}"
    return (
        "## Ratio of labels\n\n"
        f"R = lambda_D n_D / (lambda_U n_U) = {ratio.desirable_weight:.6g} x {ratio.desirable:,} / "
        f"({ratio.undesirable_weight:.6g} x {ratio.undesirable:,}) = {value} in the train split, wanted in "
        f"[{ratio.low:.6g}, {ratio.high:.6g}]. The weights are in the column `weight`, so the weights of the training "
        "objective itself stay 1. A trainer that does not read `weight` gets them as its desirable and undesirable "
        "weight instead. The test split keeps the ratio that the feedback has.\n"
    )


def _waterfall(stages: Sequence[StageReport]) -> str:
    rows = []
    for stage in stages:
        dropped = ", ".join(f"{count:,} {reason}" for reason, count in sorted(stage.dropped.items()))
        rows.append(
            (stage.stage, f"{stage.rows_in:,}", f"{stage.rows_created:,}", f"{stage.rows_kept:,}", dropped or "none")
        )
    table = _table("From raw feedback to this dataset", ("stage", "in", "created", "kept", "dropped"), rows)
    used = sorted({reason for stage in stages for reason in stage.dropped})
    return table + "".join(f"\n- `{reason}`: {_MEANINGS.get(reason, reason)}" for reason in used) + "\n"


def _notes(stages: Sequence[StageReport]) -> str:
    notes = [f"- {stage.stage}: {note}" for stage in stages for note in stage.notes]
    return "\n".join(["## What the stages did\n", *notes, ""])


def _table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return f"## {title}\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(text: str) -> str:
    """A file name that cannot break out of a table's cell."""
    return "`" + text.replace("`", "'").replace("|", "\\|").replace("\n", " ") + "`"
