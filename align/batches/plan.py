"""The batch plan: which rows make which optimizer step, and whose completion each row is mismatched with.

The plan is data. It follows from the dataset's digest, the seed and the settings alone, so resume is an index into it,
and ranks and micro batches only decide how a step is computed.

rows ─┬─ classes of equal prompts ──► partners, once for all runs on these rows ─┐
      └─ per epoch: shuffle, deal into steps with labels mixed ──────────────────┴─► plan
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa

from align.batches.deal import deal_steps, prompt_classes, step_sizes
from align.tokens.tokenize import TokenizedRow
from schemas.errors import StepPlanError

__all__ = ["PLAN", "build_plan", "micro_batches", "split_by_rank"]

PLAN: Final = pa.schema(
    [
        pa.field("epoch", pa.int64(), nullable=False),
        pa.field("step", pa.int64(), nullable=False),
        pa.field("slot", pa.int64(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("kl_partner", pa.int64()),
    ]
)
"""`step` counts from 0 over all epochs, `slot` inside a step; `row` and `kl_partner` are positions in the list of rows.
`kl_partner` is the row whose completion follows this row's prompt in the mismatched pair, of the same step or another;
null without such pairs."""


def build_plan(
    rows: Sequence[TokenizedRow],
    *,
    epochs: int,
    batch_size: int,
    seed: int,
    digest: str,
    needs_kl: bool = True,
    answers_together: bool = True,
) -> pa.Table:
    """The plan of a whole run: every row once an epoch.

    The steps of an epoch differ by at most one row in size, so no step is tiny; each holds the labels in the proportion
    of the data, to within one row. With a `batch_size` of 2 and an odd number of rows, one step has three.

    Partners are a permutation of the rows, so matched and mismatched pairs of an epoch have the same completions; no
    row is paired with itself or with a row of the same prompt (the same `group_id` or the same prompt tokens). They
    follow from the rows alone: another epoch, seed or batch size asks for no other mismatched pair, and a dataset that
    grew for few, so what the reference says of them is computed once.

    Args:
        rows: the rows to train on; their order counts.
        epochs: passes over the rows, at least 1; each is shuffled anew.
        batch_size: rows of one optimizer step over all ranks, at least 1; with `needs_kl` at least 2.
        seed: of the shuffles.
        digest: of the dataset that the rows came from.
        needs_kl: whether every row needs a partner.
        answers_together: whether a desirable and an undesirable row of one prompt are put into one step, as far as the
            labels' proportion allows.

    Returns:
        A table of the schema `PLAN`, with digest, seed and settings in its metadata.

    Raises:
        StepPlanError: there are no rows, a number is too small, or more than half of the rows share one prompt.
    """
    _check_numbers(len(rows), epochs=epochs, batch_size=batch_size, needs_kl=needs_kl)
    partners: list[int | None] = [None] * len(rows)
    classes = prompt_classes(rows)
    if needs_kl:
        _check_prompts(rows, classes)
        partners = _partners(rows, classes)
    labels = np.array([row.label for row in rows], dtype=bool)
    sizes = step_sizes(len(rows), batch_size, least=2 if needs_kl else 1)
    columns: dict[str, list[int | None]] = {name: [] for name in PLAN.names}
    step = 0
    for epoch in range(epochs):
        rng = np.random.Generator(np.random.PCG64(int.from_bytes(_hash(digest, seed, epoch), "little")))
        for members in deal_steps(labels, sizes, rng, together=classes if answers_together else None):
            columns["epoch"].extend([epoch] * len(members))
            columns["step"].extend([step] * len(members))
            columns["slot"].extend(range(len(members)))
            columns["row"].extend(members)
            columns["kl_partner"].extend(partners[row] for row in members)
            step += 1
    described = {
        "digest": digest,
        "seed": seed,
        "epochs": epochs,
        "batch_size": batch_size,
        "needs_kl": needs_kl,
        "answers_together": answers_together,
    }
    return pa.table(columns, schema=PLAN.with_metadata({key: str(value) for key, value in described.items()}))


def micro_batches(lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Positions of a step's sequences, arranged by length into batches of a padded size of at most `tokens`.

    A sequence longer than `tokens` stands alone. Order and number of batches change speed and memory, nothing else.

    >>> micro_batches([5, 2, 9, 3], tokens=10)
    [[2], [0, 3], [1]]

    Args:
        lengths: tokens of each sequence.
        tokens: the budget: longest sequence of a batch times its number of sequences.
    """
    batches: list[list[int]] = []
    longest = 0
    for position in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        if batches and longest * (len(batches[-1]) + 1) <= tokens:
            batches[-1].append(position)
        else:
            batches.append([position])
            longest = lengths[position]
    return batches


def split_by_rank(lengths: Sequence[int], world_size: int) -> list[list[int]]:
    """Positions of a step's sequences for each rank, balanced by tokens; no rank is empty where there are enough.

    >>> split_by_rank([5, 2, 9, 3], world_size=2)
    [[2], [0, 1, 3]]

    Args:
        lengths: tokens of each sequence.
        world_size: number of ranks, at least 1.
    """
    parts: list[list[int]] = [[] for _ in range(world_size)]
    loads = [(0, 0, rank) for rank in range(world_size)]
    for position in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        load, count, rank = min(loads)
        loads[rank] = (load + lengths[position], count + 1, rank)
        parts[rank].append(position)
    return [sorted(part) for part in parts]


def _check_numbers(rows: int, *, epochs: int, batch_size: int, needs_kl: bool) -> None:
    if rows == 0:
        raise StepPlanError("there are no rows to plan", todo="Look at the rows that tokenization dropped")
    if epochs < 1:
        raise StepPlanError("epochs is too small", received=epochs, expected="at least 1")
    least = 2 if needs_kl else 1
    if batch_size < least or rows < least:
        raise StepPlanError(
            "z0 is a mean over a step, which needs two rows for it" if needs_kl else "a step needs a row",
            received=f"batch_size {batch_size} and {rows} rows",
            expected=f"at least {least} of both",
            todo="Raise batch_size (micro batches may still hold one row), or set z0_scope to none",
        )


def _check_prompts(rows: Sequence[TokenizedRow], classes: np.ndarray) -> None:
    [(biggest, count)] = Counter(classes.tolist()).most_common(1)
    if count > len(rows) // 2:
        example = rows[int(np.flatnonzero(classes == biggest)[0])]
        raise StepPlanError(
            f"{count} of {len(rows)} rows share one prompt, so they cannot all be paired with rows of other prompts",
            where=f"group {example.group_id!r}, row {example.row_id!r} and others",
            expected=f"at most {len(rows) // 2}",
            todo=f"Add other prompts, keep at most {len(rows) - count} rows of this one, or set z0_scope to none",
        )


def _partners(rows: Sequence[TokenizedRow], classes: np.ndarray) -> list[int | None]:
    """Arrange rows in blocks of equal prompts and rotate them by the longest block: no row meets its own prompt.

    The order is that of hashes of the rows' ids. A row that is added changes the partners of a few rows beside it.
    """
    place = np.empty(len(rows), dtype=np.int64)
    place[np.array(sorted(range(len(rows)), key=lambda row: (_hash(rows[row].row_id), row)))] = np.arange(len(rows))
    first = np.full(int(classes.max()) + 1, len(rows))
    np.minimum.at(first, classes, place)
    arranged = np.lexsort((place, first[classes]))
    partners = np.empty_like(arranged)
    partners[arranged] = np.roll(arranged, -int(np.bincount(classes).max()))
    found: list[int | None] = partners.tolist()
    return found


def _hash(*parts: str | int) -> bytes:
    return hashlib.blake2b("\n".join(map(str, parts)).encode(), digest_size=16).digest()
