"""Log-probabilities of the frozen reference, computed once and kept by content.

A key says everything that the number depends on: the model's weights, the dtype it ran in, and the token ids, which
hold template and truncation. No row's position is in it, so a reshuffle, another objective or a restart recomputes
nothing, and another weight recomputes everything.
"""

from __future__ import annotations

import hashlib
import math
import os
import struct
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from schemas.errors import CorruptionError, NonFiniteLossError, ShapeError
from schemas.progress import Progress, silent

__all__ = ["ReferenceCache", "check_finite", "reference_key", "reference_logps"]

_DIGEST: Final = b"digest"
Pair = tuple[Sequence[int], Sequence[int]]
_SCHEMA: Final = pa.schema(
    [pa.field("key", pa.binary(16), nullable=False), pa.field("logp", pa.float64(), nullable=False)]
)


def reference_key(model_digest: str, dtype: str, prompt_ids: Sequence[int], completion_ids: Sequence[int]) -> bytes:
    """Key of one log-probability, 16 bytes.

    Args:
        model_digest: of the reference's weights.
        dtype: that the reference runs in, for example `float32`.
        prompt_ids: token ids of the prompt.
        completion_ids: token ids of the completion.
    """
    digest = hashlib.blake2b(digest_size=16)
    for part in (model_digest.encode(), dtype.encode(), _bytes(prompt_ids), _bytes(completion_ids)):
        digest.update(struct.pack("<Q", len(part)))
        digest.update(part)
    return digest.digest()


class ReferenceCache:
    """Log-probabilities by key, in memory and in one file.

    Args:
        path: the Parquet file, read if it is there; none keeps everything in memory.

    Raises:
        CorruptionError: the file is not what was written.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._logps: dict[bytes, float] = {}
        self._unsaved = 0
        if path is not None and path.is_file():
            self._logps = _read(path)

    def __len__(self) -> int:
        return len(self._logps)

    def __contains__(self, key: bytes) -> bool:
        return key in self._logps

    def __getitem__(self, key: bytes) -> float:
        return self._logps[key]

    def put(self, key: bytes, logp: float) -> None:
        """Keep a number in memory, until `save`.

        Args:
            key: of `reference_key`.
            logp: in nats.
        """
        self._unsaved += self._logps.get(key) != logp
        self._logps[key] = logp

    def save(self) -> None:
        """Write the file anew beside itself and rename it, so that it is whole at any moment.

        What another process wrote meanwhile is kept. Where nothing is new, nothing is written.

        Raises:
            CorruptionError: the file that is there is not what was written.
        """
        if self.path is None or not self._unsaved:
            return
        if self.path.is_file():
            self._logps = _read(self.path) | self._logps
        self.path.parent.mkdir(parents=True, exist_ok=True)
        keys = sorted(self._logps)
        logps = [self._logps[key] for key in keys]
        table = pa.table([keys, logps], schema=_SCHEMA.with_metadata({_DIGEST: _digest(keys, logps)}))
        partial = self.path.with_name(f"{self.path.name}.{os.getpid()}.partial")
        with partial.open("wb") as stream:
            pq.write_table(table, stream)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(self.path)
        self._unsaved = 0


def reference_logps(
    pairs: Sequence[Pair],
    scorer: Callable[[Sequence[Pair]], Tensor],
    cache: ReferenceCache,
    *,
    model_digest: str,
    dtype: str,
    arrange: Callable[[Sequence[Sequence[Pair]]], list[list[int]]],
    save_every: int = 50,
    progress: Progress = silent,
) -> list[float]:
    """Reference log-probability of every pair, in the order of `pairs`; only what the cache lacks is computed.

    Args:
        pairs: prompt ids and completion ids; the same pair twice is computed once.
        scorer: summed completion log-probabilities of B pairs, [B]; runs without gradients.
        cache: filled, and saved as it goes, so that a stopped run loses `save_every` micro batches at most.
        model_digest: of the reference's weights.
        dtype: that the scorer runs in.
        arrange: positions of groups of one pair each, by call of the scorer; see `align.scoring.scorer.Scorer.batches`.
        save_every: micro batches between two saves, at least 1.
        progress: told of every pair that is computed.

    Raises:
        ShapeError: the scorer gave another number of values than it got sequences.
        NonFiniteLossError: a log-probability is NaN or infinite; it is not kept.
    """
    keys = [reference_key(model_digest, dtype, *pair) for pair in pairs]
    missing = {key: pair for key, pair in zip(keys, pairs, strict=True) if key not in cache}
    todo = list(missing.items())
    with progress("reference", len(todo)) as advance:
        for number, batch in enumerate(arrange([[pair] for _, pair in todo]), start=1):
            _score([todo[at][1] for at in batch], [todo[at][0] for at in batch], scorer, cache)
            if number % save_every == 0:
                cache.save()
            advance(len(batch))
    cache.save()
    return [cache[key] for key in keys]


def _score(
    pairs: Sequence[Pair], keys: list[bytes], scorer: Callable[[Sequence[Pair]], Tensor], cache: ReferenceCache
) -> None:
    with torch.no_grad():
        logps = scorer(pairs)
    if logps.shape != (len(keys),):
        raise ShapeError("the scorer's values do not fit", received=tuple(logps.shape), expected=f"({len(keys)},)")
    for row, (key, logp) in enumerate(zip(keys, logps.double().tolist(), strict=True)):
        check_finite(logp, pairs[row])
        cache.put(key, logp)


def check_finite(logp: float, pair: Pair) -> None:
    """Refuse a log-probability of the reference that is NaN or infinite.

    Args:
        logp: in nats.
        pair: whose it is.

    Raises:
        NonFiniteLossError: it is.
    """
    if not math.isfinite(logp):
        raise NonFiniteLossError(
            "the reference gives a completion a log-probability that is not finite",
            received=logp,
            where=f"tokens {[token for part in pair for token in part][:8]}...",
        )


def _bytes(token_ids: Sequence[int]) -> bytes:
    return array("q", token_ids).tobytes()


def _read(path: Path) -> dict[bytes, float]:
    try:
        table = pq.ParquetFile(path).read()
        keys, logps = table["key"].to_pylist(), table["logp"].to_pylist()
        if (table.schema.metadata or {}).get(_DIGEST) == _digest(keys, logps):
            return dict(zip(keys, logps, strict=True))
        reason = "the digest differs"
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        reason = str(error)
    raise CorruptionError(
        f"the reference cache cannot be read ({reason})", where=path, todo="Delete it; it is computed anew"
    )


def _digest(keys: list[bytes], logps: list[float]) -> bytes:
    return hashlib.blake2b(b"".join(keys) + array("d", logps).tobytes(), digest_size=16).hexdigest().encode()
