"""What a forward and backward pass takes in memory, measured by short passes of two lengths, and what is free.

    a pass of a few tokens, one of three times as many ─► bytes of whatever length, bytes a token

On a GPU PyTorch's own counters are read. On a CPU every operation's results are counted while they live, as the memory
of a process also holds what was freed. Weights, gradients and the optimizer's state are not in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from align.scoring.linear_logps import tile_words
from align.scoring.scorer import FORWARD_FACTOR, Scorer
from align.scoring.weight_passes import summed_in_place

__all__ = ["PassMemory", "free_memory", "measure_passes"]

_LENGTHS: Final = (64, 192)  # tokens of the two passes: long enough for layers to show, short enough to take no time
_ANSWER: Final = 8  # completion tokens of both, so that the head costs both the same
_CGROUP: Final = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class PassMemory:
    """Memory of a pass, beside weights, gradients and the optimizer's state.

    Args:
        fixed: bytes of whatever length: a tile of logits, one weight in bfloat16 and its gradient.
        per_token: bytes that each token adds, activations above all.
    """

    fixed: float
    per_token: float

    def tokens_within(self, memory: float) -> int:
        """How many tokens a pass may have in so many bytes; at least 0."""
        return max(0, int((memory - self.fixed) / max(self.per_token, 1.0)))


def measure_passes(scorer: Scorer) -> PassMemory:
    """What a pass of training takes: the larger one of those with a gradient and those, of more tokens, without.

    Gradients of the model are gone afterwards.

    Args:
        scorer: the policy, as it will train.
    """
    trained = [parameter for parameter in scorer.module.parameters() if parameter.requires_grad]
    for parameter in trained:  # they outlive every pass, so they are there before it
        parameter.grad = torch.zeros_like(parameter)
    try:
        learning = _fit(scorer, lambda length: _learn(scorer, length))
        scoring = _fit(scorer, lambda length: _score(scorer, length))
    finally:
        for parameter in trained:
            parameter.grad = None
    per_token = max(learning.per_token, FORWARD_FACTOR * scoring.per_token)
    return PassMemory(max(learning.fixed, scoring.fixed) + _head(scorer), per_token)


def free_memory(device: torch.device, processes: int = 1) -> int:
    """Bytes that a process may still take: of its GPU, or its share of the machine's and of its container's memory.

    Args:
        device: of the process.
        processes: that share the machine's memory.
    """
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0] + unused)
    available = int(psutil.virtual_memory().available)
    return min([available, *_left_in_container(_CGROUP)]) // processes


def _fit(scorer: Scorer, run: Callable[[int], None]) -> PassMemory:
    model: Any = scorer.module.model
    long = min(_LENGTHS[1], getattr(model.config.get_text_config(), "max_position_embeddings", None) or _LENGTHS[1])
    short = min(_LENGTHS[0], long // 2)
    if scorer.device.type == "cuda":
        run(short)  # the first pass on a GPU also makes the workspaces of its libraries
    low, high = (_peak(scorer, run, length) for length in (short, long))
    per_token = max(0.0, (high - low) / (long - short))
    return PassMemory(max(0.0, low - per_token * short), per_token)


def _learn(scorer: Scorer, length: int) -> None:
    with scorer.precision():
        value = scorer([_pair(length)]).sum()
        with torch.autocast(scorer.device.type, enabled=False), summed_in_place():
            (0.0 * value).backward()


def _score(scorer: Scorer, length: int) -> None:
    with torch.no_grad(), scorer.precision():
        scorer([_pair(length)])


def _pair(length: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    answer = min(_ANSWER, length // 2)
    return (0,) * (length - answer), (0,) * answer


def _peak(scorer: Scorer, run: Callable[[int], None], length: int) -> int:
    """Most bytes that lived at a time in a pass, beyond those that lived before it."""
    if scorer.device.type == "cuda":
        torch.cuda.synchronize(scorer.device)
        torch.cuda.reset_peak_memory_stats(scorer.device)
        before = torch.cuda.memory_allocated(scorer.device)
        run(length)
        return int(torch.cuda.max_memory_allocated(scorer.device) - before)
    standing = [*scorer.module.parameters(), *scorer.module.buffers()]
    gradients = [each.grad for each in standing if each.grad is not None]
    live = _LiveBytes([*standing, *gradients])
    with live:
        run(length)
    return live.peak


def _head(scorer: Scorer) -> int:
    """Bytes of a whole tile of logits and of what is made of it; 0 where nothing streams over a vocabulary."""
    scored: Any = scorer.module
    rows: int = getattr(scored, "head_tokens", 0)
    words: int = scored.model.get_output_embeddings().weight.shape[0] if rows else 0
    return 2 * 4 * rows * min(words, tile_words(scorer.device.type))


def _left_in_container(folder: Path) -> list[int]:
    """What a container's limit leaves, in bytes; empty where there is no limit."""
    try:
        limit, used = ((folder / name).read_text("ascii").strip() for name in ("memory.max", "memory.current"))
        return [int(limit) - int(used)]
    except (OSError, ValueError):  # no control groups, or `max`
        return []


class _LiveBytes(TorchDispatchMode):
    """Counts the bytes of what operations make, each storage from its making to its end."""

    def __init__(self, standing: Iterable[Tensor]) -> None:
        super().__init__()
        self.peak = 0
        self._standing = {each.untyped_storage()._cdata for each in standing}
        self._held: dict[int, tuple[StorageWeakRef, int]] = {}
        self._bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for each in out if isinstance(out, tuple | list) else [out]:
            if isinstance(each, Tensor):
                self._hold(each.untyped_storage())
        if self._bytes > self.peak:  # some of them may be gone by now
            self._held = {key: held for key, held in self._held.items() if not held[0].expired()}
            self._bytes = sum(size for _, size in self._held.values())
            self.peak = max(self.peak, self._bytes)
        return out

    def _hold(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._standing:
            return
        before = self._held.get(key, (None, 0))[1]  # the address of one that is gone may be another's by now
        self._held[key] = (StorageWeakRef(storage), storage.nbytes())
        self._bytes += storage.nbytes() - before
