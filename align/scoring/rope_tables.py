"""Models whose positions are turned by another table where a sequence is long: `longrope` and `dynamic` rope.

transformers chooses the table by the longest position of a whole batch, so a short answer would get other numbers
beside a long one. Here a pass holds sequences of one table: those of `longrope` are scored in two parts. `dynamic` has
a table for every length, and one that depends on what was computed before, so longer sequences are refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from schemas.errors import ModelError

__all__ = ["RopeTables", "rope_tables"]


@dataclass(frozen=True, slots=True)
class RopeTables:
    """Where a model changes the table that it turns positions by.

    Args:
        kind: of rope.
        length: tokens of the longest sequence of the first table.
    """

    kind: Literal["longrope", "dynamic"]
    length: int

    def parts(self, lengths: Sequence[int]) -> list[list[int]]:
        """Places of sequences by their table, the short ones first.

        >>> RopeTables("longrope", 8).parts([3, 9, 8])
        [[0, 2], [1]]

        Args:
            lengths: tokens that the model computes on for each.

        Raises:
            ModelError: one is longer than a model of dynamic rope has one table for.
        """
        long = [place for place, length in enumerate(lengths) if length > self.length]
        if long and self.kind == "dynamic":
            self.refuse(max(lengths))
        short = [place for place, length in enumerate(lengths) if length <= self.length]
        return [part for part in (short, long) if part]

    def refuse(self, longest: int) -> None:
        """Refuse a batch that would hold sequences of two tables, or of one that depends on the batch.

        Args:
            longest: tokens of its longest sequence.

        Raises:
            ModelError: it is longer than the first table's.
        """
        if longest <= self.length:
            return
        raise ModelError(
            f"the model turns positions of long sequences by another table ({self.kind} rope), which would change the "
            "numbers of all that are computed with them",
            received=f"a sequence of {longest} tokens",
            expected=f"at most {self.length}",
            todo="Lower tokens.max_prompt_tokens or tokens.max_completion_tokens",
        )


def rope_tables(config: Any) -> RopeTables | None:
    """Where a model changes tables; None where one serves all lengths.

    Args:
        config: of the model, of transformers.
    """
    text = config.get_text_config()
    found: list[RopeTables] = []
    for values in _parameters(getattr(text, "rope_parameters", None)):
        if values["rope_type"] == "longrope":
            length = values.get("original_max_position_embeddings") or text.original_max_position_embeddings
            found.append(RopeTables("longrope", int(length)))
        elif values["rope_type"] == "dynamic":
            found.append(RopeTables("dynamic", int(text.max_position_embeddings)))
    return min(found, key=lambda one: (one.kind, one.length), default=None)


def _parameters(values: Any) -> list[Mapping[str, Any]]:
    """The parameters of a rope, or of that of each kind of layer."""
    if not isinstance(values, Mapping):
        return []
    if "rope_type" in values:
        return [values]
    return [each for each in values.values() if isinstance(each, Mapping) and "rope_type" in each]
