"""Watches what lives: how many elements of tensors as wide as the vocabulary exist at a time."""

from __future__ import annotations

from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode


class VocabularyWatch(TorchDispatchMode):
    """Remembers the most elements that lived at a time in tensors with a dimension of a given size.

    Forward and backward operations are seen alike. A storage counts once, with all of its elements, from the operation
    that made it until nobody holds it any more; so many small tensors that are kept count as much as a large one.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.peak = 0
        self.largest = 0
        self.operations = 0
        self._live: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.operations += 1
        for each in out if isinstance(out, tuple | list) else [out]:
            if isinstance(each, torch.Tensor) and self.size in each.shape:
                storage = each.untyped_storage()
                elements = storage.nbytes() // each.element_size()
                self.largest = max(self.largest, elements)
                self._live[storage._cdata] = (StorageWeakRef(storage), elements)
        self._live = {key: held for key, held in self._live.items() if not held[0].expired()}
        self.peak = max(self.peak, sum(elements for _, elements in self._live.values()))
        return out
