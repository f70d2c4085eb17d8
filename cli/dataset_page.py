"""What a command shows that made a dataset."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # it loads polars
    from feedback.pipeline import CurateResult

__all__ = ["show_dataset"]


def show_dataset(result: CurateResult, as_json: bool) -> None:
    """Print what a command made: the waterfall, the notes, where it lies and what to do next; or all of it as JSON."""
    manifest = result.manifest
    if as_json:
        from cli.json_output import print_json
        from schemas.manifest import PREFERENCE_FOLDER, Manifest

        pairs = Manifest.read(result.folder / PREFERENCE_FOLDER).to_dict() if manifest.has_pairs else None
        print_json(
            {
                "out": str(result.folder),
                "was_done": result.was_done,
                "manifest": manifest.to_dict(),
                "preference": pairs,
            }
        )
        return
    from cli.render import print_next, show, waterfall

    if result.was_done:
        show("This very dataset is there already; nothing was done.")
    ratio = manifest.ratio
    show(
        waterfall(manifest.stages, ratio=None if ratio is None else ratio.value),
        *(note for stage in manifest.stages for note in stage.notes),
        *(() if manifest.pairs is None else manifest.pairs.notes),
        "",
        f"Dataset: {result.folder} (digest {manifest.digest})",
        f"Rows: {_rows_by_split(result)}",
        *_pairs_by_split(result),
        f"Dropped rows with their reasons: {result.folder / 'stages'}",
    )
    print_next(
        f"thumbline train {shlex.quote(str(result.folder))} --model builtin:smollm2-135m-instruct -o run",
        "train a model on it",
    )


def _rows_by_split(result: CurateResult) -> str:
    splits: dict[str, list[int]] = {}
    for shard in result.manifest.shards:
        counts = splits.setdefault(shard.split, [0, 0])
        counts[0] += shard.desirable
        counts[1] += shard.undesirable
    return "; ".join(f"{name} {up:,} up and {down:,} down" for name, (up, down) in splits.items())


def _pairs_by_split(result: CurateResult) -> Iterator[str]:
    from schemas.manifest import PREFERENCE_FOLDER, Manifest

    if not result.manifest.has_pairs:
        return
    folder = result.folder / PREFERENCE_FOLDER
    counts: Counter[str] = Counter()
    for shard in Manifest.read(folder).shards:
        counts[shard.split] += shard.rows
    listed = " and ".join(f"{split} {count:,}" for split, count in counts.items())
    yield f"Pairs: {listed}, for objectives such as dpo: {folder}"
