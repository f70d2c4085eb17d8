"""The dataset card: what a dataset holds and how it was made, in words that follow from its manifest alone.

Its first lines are YAML that tells `datasets.load_dataset(FOLDER)` which file belongs to which split.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from schemas.datasets import SPLITS
from schemas.manifest import PREFERENCE_FOLDER, Manifest
from schemas.reasons import DropReason
from schemas.report import StageReport

__all__ = ["dataset_card"]

_PROMPT: Final = ("`prompt`", "turns up to the rated answer, each with `role` and `content`")
_EVERY: Final = (
    ("`row_id`", "stable id of the row"),
    ("`group_id`", "rows of one id share a prompt and never stand in different splits"),
)
_LAST: Final = (
    (
        "`rater_key`",
        "keyed hash of the one rater whose votes all of these are; the column exists only where it was asked for",
    ),
    ("`tools`", "tools that the model could call, as JSON; the column exists only where a row has some"),
    ("`split`", "train or test"),
)
_COLUMNS: Final = {
    "unpaired_preference": (
        _PROMPT,
        ("`completion`", "the rated answer, one assistant turn"),
        ("`label`", "true: desirable, false: undesirable"),
        ("`weight`", "multiplies the row's loss; holds lambda_D or lambda_U of the train split"),
        *_EVERY,
        ("`origin`, `source`", "the kind of feedback (thumb, pair, score) and where it came from"),
        ("`n_up`, `n_down`", "the votes behind the label: how many went each way"),
        (
            "`source_event_ids`",
            "all events behind the row, its text among them: first these votes, then those that count no more",
        ),
        *_LAST,
    ),
    "preference": (
        _PROMPT,
        ("`chosen`, `rejected`", "the better and the worse answer, one assistant turn each"),
        ("`weight`", "multiplies the pair's loss: the smaller one of its answers' own weights"),
        *_EVERY,
        ("`origin`", "pair: both answers were compared side by side; thumb or score: each was judged alone"),
        ("`source`", "where the comparison, or the vote for the chosen answer, came from"),
        ("`source_event_ids`", "the judgements behind either answer"),
        *_LAST,
    ),
}
_MEANINGS: Final = {reason.value: reason.meaning for reason in DropReason}
_TITLE: Final = """# Feedback dataset

{content} (`{kind}`), curated with thumbline {version}. Digest: `{digest}`.
"""
_CONTENT: Final = {
    "unpaired_preference": "Prompts, completions and thumbs",
    "preference": "Prompts with a chosen and a rejected answer",
}
_IN_PYTHON: Final = """## In Python

```python
from datasets import load_dataset

train = load_dataset("PATH_OF_THIS_FOLDER", split="train")
```

{trains} as they are; the other columns are not used there.
"""
_TRAINS: Final = {
    "unpaired_preference": "`prompt`, `completion` and `label` train in TRL's `KTOTrainer`",
    "preference": "`prompt`, `chosen` and `rejected` train in TRL's `DPOTrainer`",
}


def dataset_card(manifest: Manifest) -> str:
    """The text of `README.md` for the dataset of `manifest`."""
    sections = [
        _front_matter(manifest),
        _TITLE.format(
            content=_CONTENT[manifest.dataset_type],
            kind=manifest.dataset_type,
            version=manifest.thumbline_version,
            digest=manifest.digest,
        ),
        _splits(manifest),
        _ratio(manifest),
        _pairs(manifest),
        _table("Columns", ("column", "meaning"), _COLUMNS[manifest.dataset_type]),
        _waterfall(manifest.stages),
        _notes(manifest.stages),
        _table(
            "Sources",
            ("file", "format", "records", "sha256"),
            ((_cell(file.name), file.format, f"{file.records:,}", f"`{file.sha256}`") for file in manifest.sources),
        ),
        _IN_PYTHON.format(trains=_TRAINS[manifest.dataset_type]),
    ]
    return "\n".join(sections)


def _front_matter(manifest: Manifest) -> str:
    lines = ["---", "configs:", *_config("default", "data", dict.fromkeys(shard.split for shard in manifest.shards))]
    if manifest.has_pairs and manifest.pairs is not None:
        splits = [split for split in SPLITS if manifest.pairs.figures.get(split)]
        lines += _config("preference", f"{PREFERENCE_FOLDER}/data", splits)
    tag = "kto" if manifest.dataset_type == "unpaired_preference" else "dpo"
    return "\n".join([*lines, "tags:", f"- {tag}", "- preference", "- feedback", "---", ""])


def _config(name: str, folder: str, splits: Iterable[str]) -> Iterable[str]:
    yield from (f"- config_name: {name}", "  data_files:")
    for split in splits:
        yield from (f"  - split: {split}", f"    path: {folder}/{split}-*.parquet")


def _splits(manifest: Manifest) -> str:
    rows = []
    for split in dict.fromkeys(shard.split for shard in manifest.shards):
        shards = [shard for shard in manifest.shards if shard.split == split]
        up, down = sum(shard.desirable for shard in shards), sum(shard.undesirable for shard in shards)
        rows.append((split, f"{sum(shard.rows for shard in shards):,}", f"{up:,}", f"{down:,}", str(len(shards))))
    if manifest.dataset_type == "preference":
        return _table("Splits", ("split", "pairs", "shards"), [(row[0], row[1], row[-1]) for row in rows])
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


def _pairs(manifest: Manifest) -> str:
    if not manifest.has_pairs or manifest.pairs is None:
        return ""
    return (
        f"## Pairs\n\nThe folder `{PREFERENCE_FOLDER}` holds {manifest.pairs.rows_kept:,} pairs of a chosen and a "
        "rejected answer to one prompt, with the same splits: "
        '`load_dataset("PATH_OF_THIS_FOLDER", "preference", split="train")`. '
        f"They were made before labels were balanced. {' '.join(manifest.pairs.notes)}\n"
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
