"""What every student is: words and types in, mentions out. Students know nothing of spaCy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..passages import Mention, Passage


@dataclass(frozen=True, slots=True)
class StudentOutput:
    """What a student says of a batch of passages.

    mentions: when it predicts, for each passage every mention whose score is above the floor, overlaps and
        several types of one run of words included, sorted by start, end and type.
    implied: when it predicts, pairs (narrow, wide) of types that met on one run of words, where being of the
        narrow type implies being of the wide one.
    n_cut: how many words or type texts of this batch were so long that only their beginning was read.
    losses: when it trains, the loss of each passage. Shape: (n_passages,), float32; None when it predicts.
    """

    mentions: list[tuple[Mention, ...]] = field(default_factory=list)
    implied: frozenset[tuple[str, str]] = frozenset()
    n_cut: int = 0
    losses: Any = None


class Student(Protocol):
    """A model that finds mentions of any type in words."""

    def predict(self, passages: Sequence[Passage], floor: float) -> StudentOutput:
        """Find the mentions of each passage's types that score above `floor`."""

    def losses(self, passages: Sequence[Passage]) -> Any:
        """Give each passage's training loss. Shape: (n_passages,), float32."""
