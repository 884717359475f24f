"""What a step takes in, what it loses and why, and what it leaves: counted so that it adds up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..passages import Mention, Passage

MAX_EXAMPLES = 5


@dataclass(slots=True)
class Loss:
    """What was lost for one reason, and the first few examples.

    n_texts: texts lost as a whole.
    n_mentions: mentions lost, those of lost texts included.
    """

    n_texts: int = 0
    n_mentions: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Step:
    """A step of the curation.

    name: what it does.
    n_texts, n_mentions: what comes in.
    n_texts_left, n_mentions_left: what goes out, counted anew by `close` and not by subtraction.
    losses: what was lost, by reason.
    """

    name: str
    n_texts: int
    n_mentions: int
    n_texts_left: int = 0
    n_mentions_left: int = 0
    losses: dict[str, Loss] = field(default_factory=dict)

    def lose_text(self, reason: str, passage: Passage, n_mentions: int | None = None) -> None:
        """Count a text that is lost with its mentions.

        n_mentions: how many they are, where they are not just those of the passage.
        """
        loss = self.losses.setdefault(reason, Loss())
        loss.n_texts += 1
        loss.n_mentions += len(passage.mentions) if n_mentions is None else n_mentions
        if len(loss.examples) < MAX_EXAMPLES:
            loss.examples.append(passage.source)

    def lose_mention(self, reason: str, passage: Passage, mention: Mention) -> None:
        """Count a mention that is lost from a text that stays."""
        loss = self.losses.setdefault(reason, Loss())
        loss.n_mentions += 1
        if len(loss.examples) < MAX_EXAMPLES:
            loss.examples.append(f"{surface_of(passage, mention)} ({mention.type}) in {passage.source}")

    def close(self, passages: Sequence[Passage]) -> None:
        """Count what goes out."""
        self.n_texts_left = len(passages)
        self.n_mentions_left = count_mentions(passages)

    def to_dict(self) -> dict[str, Any]:
        """Give the step as what JSON can hold."""
        return {
            "step": self.name,
            "texts": self.n_texts,
            "mentions": self.n_mentions,
            "lost": {
                reason: {"texts": loss.n_texts, "mentions": loss.n_mentions, "examples": loss.examples}
                for reason, loss in sorted(self.losses.items())
            },
            "texts left": self.n_texts_left,
            "mentions left": self.n_mentions_left,
        }


def open_step(name: str, passages: Sequence[Passage]) -> Step:
    """Begin a step that takes these passages in."""
    return Step(name, len(passages), count_mentions(passages))


def count_mentions(passages: Iterable[Passage]) -> int:
    """Count the mentions of all passages."""
    return sum(len(passage.mentions) for passage in passages)


def surface_of(passage: Passage, mention: Mention) -> str:
    """Give the words of a mention, with single spaces between."""
    return " ".join(passage.words[mention.start : mention.end])
