"""The one pass over the reference: every pair a run needs, shared out over the ranks, resumable bit for bit.

Floats depend in their last digits on which sequences share a batch. So the batches of a run follow from what the shared
cache lacks when the run begins; progress goes into a file of the run's own, by whole batches, and into the shared cache
only at the end. A run that is killed in the middle goes on with the batches it would have had.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import torch
from accelerate import Accelerator

from align.distributed.ranks import gather_objects
from align.models.cache import cache_folder
from align.reference.reference_cache import ReferenceCache, check_finite, reference_key, reference_logps
from align.scoring.scorer import Scorer
from align.tokens.token_ids import TokenPair
from schemas.errors import CorruptionError
from schemas.progress import Progress, silent

__all__ = ["keep_reference", "known_reference", "reference_file", "score_reference"]

_log = logging.getLogger(__name__)

# Raise it when numbers are computed or files written otherwise, so that old ones are not read.
_FILE_FORMAT: Final = 2
_SAVE_EVERY: Final = 20  # batches of a rank between two saves of the run's own file
_PAUSE: Final = 20  # and times as long as the last save took: a save writes everything anew, and there may be much


def score_reference(
    pairs: Sequence[TokenPair],
    scorer: Scorer,
    accelerator: Accelerator,
    *,
    model_digest: str,
    own: Path | None,
    shared: Path | None,
    progress: Progress = silent,
) -> dict[TokenPair, float]:
    """Log-probability of every pair under the reference, in nats.

    Args:
        pairs: different pairs, the same on every rank.
        scorer: the reference; it is used only for pairs that neither file has.
        accelerator: the process's place in the run.
        model_digest: of the reference's weights.
        own: the run's file; none keeps its numbers in memory.
        shared: the cache of all runs; none for no sharing. A damaged one is made anew.
        progress: told of every pair that is computed.

    Raises:
        CorruptionError: the run's file is not what was written.
    """
    keys = {pair: reference_key(model_digest, scorer.dtype, *pair) for pair in pairs}
    kept, known = ReferenceCache(own), _open_shared(shared)
    if any(key not in kept for key in keys.values()):
        todo = [pair for pair in pairs if keys[pair] not in known]
        batches = [[todo[at] for at in batch] for batch in scorer.passes(todo)]
        waiting = [batch for batch in batches if any(keys[pair] not in kept for pair in batch)]
        _score_batches(waiting, scorer, accelerator, kept, model_digest=model_digest, progress=progress)
        for key in keys.values():
            if key not in kept:
                kept.put(key, known[key])
            if key not in known:
                known.put(key, kept[key])
        if accelerator.is_main_process:
            kept.save()
            known.save()
    return {pair: kept[key] for pair, key in keys.items()}


def keep_reference(
    logps: Mapping[TokenPair, float], *, model_digest: str, dtype: str, own: Path, shared: Path, is_writer: bool
) -> dict[TokenPair, float]:
    """Keep numbers of the reference that were found elsewhere than in its pass; what a file knows already stays.

    Args:
        logps: log-probability of each pair, in nats.
        model_digest: of the reference's weights.
        dtype: that they were computed in.
        own: the run's file.
        shared: the cache of all runs.
        is_writer: whether this process writes the files.

    Returns:
        The number of each pair, as the run's file has it.

    Raises:
        NonFiniteLossError: a log-probability is NaN or infinite.
        CorruptionError: the run's file is not what was written.
    """
    kept, known = ReferenceCache(own), _open_shared(shared)
    keys = {pair: reference_key(model_digest, dtype, *pair) for pair in logps}
    for pair, key in keys.items():
        check_finite(logps[pair], pair)
        for cache in (kept, known):
            if key not in cache:
                cache.put(key, logps[pair])
    if is_writer:
        kept.save()
        known.save()
    return {pair: kept[key] for pair, key in keys.items()}


def known_reference(
    pairs: Sequence[TokenPair], *, model_digest: str, dtype: str, shared: Path
) -> dict[TokenPair, float] | None:
    """What the shared cache has of the pairs' log-probabilities, or None where it lacks one.

    Args:
        pairs: the pairs.
        model_digest: of the reference's weights.
        dtype: that the reference ran in.
        shared: the cache of all runs.

    """
    known = _open_shared(shared)
    keys = {pair: reference_key(model_digest, dtype, *pair) for pair in pairs}
    if any(key not in known for key in keys.values()):
        return None
    return {pair: known[key] for pair, key in keys.items()}


def reference_file(model_digest: str, dtype: str) -> Path:
    """The file of the shared cache for a reference and a dtype, in the user's cache directory."""
    return cache_folder("reference") / f"{model_digest}-{dtype}-v{_FILE_FORMAT}.parquet"


def _open_shared(path: Path | None) -> ReferenceCache:
    """The cache of all runs: whatever is lost of it can be computed again, so a damaged file is no reason to stop."""
    try:
        return ReferenceCache(path)
    except CorruptionError as error:
        _log.warning("%s", error)
        if path is not None:
            path.unlink(missing_ok=True)
        return ReferenceCache(path)


def _score_batches(
    batches: Sequence[Sequence[TokenPair]],
    scorer: Scorer,
    accelerator: Accelerator,
    kept: ReferenceCache,
    *,
    model_digest: str,
    progress: Progress,
) -> None:
    """Score whole batches, a round of all ranks at a time; every rank ends up with every number."""
    ranks = accelerator.num_processes
    saved, took = time.monotonic(), 0.0
    with scorer.precision(), progress("reference", sum(len(batch) for batch in batches)) as advance:
        for start in range(0, len(batches), ranks * _SAVE_EVERY):
            part = batches[start : start + ranks * _SAVE_EVERY]
            scored: list[tuple[bytes, float]] = []
            mine = part[accelerator.process_index :: ranks]
            missing = scorer.missing_passes(len(mine))
            for batch in mine:
                scored += _score_batch(batch, scorer, model_digest)
                advance(len(batch) * ranks)
            with torch.no_grad():
                scorer.fill(missing)
            for key, logp in gather_objects(scored, accelerator):
                kept.put(key, logp)
            began = time.monotonic()
            if accelerator.is_main_process and began - saved >= _PAUSE * took:
                kept.save()
                saved = time.monotonic()
                took = saved - began


def _score_batch(batch: Sequence[TokenPair], scorer: Scorer, model_digest: str) -> list[tuple[bytes, float]]:
    logps = reference_logps(
        batch,
        scorer,
        ReferenceCache(),
        model_digest=model_digest,
        dtype=scorer.dtype,
        arrange=lambda groups: [list(range(len(groups)))],
    )
    return [(reference_key(model_digest, scorer.dtype, *pair), logp) for pair, logp in zip(batch, logps, strict=True)]
