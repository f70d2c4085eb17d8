"""What a step is given: a row of the plan as tokens, with the reference's numbers."""

from __future__ import annotations

from dataclasses import dataclass

from align.scoring.scorer import lengths_of
from align.tokens.token_ids import TokenPair

__all__ = ["Example"]


@dataclass(frozen=True, slots=True)
class Example:
    """A row of a step, with the reference's numbers.

    Args:
        row_id: names it in errors.
        sequences: its prompt with its completion, or with the chosen and with the rejected one.
        mismatched: its prompt and its partner's completion; None where the step estimates no z0.
        reference_logps: log-probability of each sequence under the reference, in nats; 0 without a reference. Where
            the policy is the reference, None if it is not known yet.
        mismatched_reference_logp: the same of `mismatched`; 0 where the step scores none.
        label: True where desirable; of a pair True.
        weight: factor of its loss.
    """

    row_id: str
    sequences: tuple[TokenPair, ...]
    mismatched: TokenPair | None
    reference_logps: tuple[float | None, ...]
    mismatched_reference_logp: float
    label: bool
    weight: float

    @property
    def length(self) -> int:
        """Tokens of its longest sequence."""
        return max(lengths_of(self.sequences))

    @property
    def completion_tokens(self) -> int:
        """Tokens of its completions."""
        return sum(len(completion) for _, completion in self.sequences)
