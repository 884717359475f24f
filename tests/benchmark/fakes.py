"""A system that needs no model, and two small datasets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from spacy_uniner.benchmark.run import DatasetGold
from spacy_uniner.benchmark.systems import Found
from spacy_uniner.passages import Mention, Passage


@dataclass
class Lexicon:
    """Finds words that it has in a table: word, type, score. It knows no synonyms, but those that stand there."""

    table: Sequence[tuple[str, str, float]]
    name: str = "lexicon"
    own_threshold: float = 0.5
    has_scores: bool = True
    left_out: Counter[str] = field(default_factory=Counter)
    asked: list[tuple[str, ...]] = field(default_factory=list)

    def find(self, passages: Sequence[Passage], threshold: float | None = None) -> Found:
        lowest = self.own_threshold if threshold is None else threshold
        self.asked += [passage.types for passage in passages]
        return [
            tuple(
                Mention(place, place + 1, type_, score)
                for place, word in enumerate(passage.words)
                for known, type_, score in self.table
                if word == known and type_ in passage.types and score >= lowest
            )
            for passage in passages
        ]

    def find_at(self, passages: Sequence[Passage], thresholds: Sequence[float]) -> list[Found]:
        return [self.find(passages, threshold) for threshold in thresholds]

    def fingerprint(self) -> str:
        return repr((self.name, self.table, self.own_threshold))


LEXICON = Lexicon(
    [
        ("Sally", "person", 0.9),
        ("Alan", "person", 0.8),
        ("Rome", "person", 0.6),  # wrong
        ("Paris", "city", 0.7),
        ("moon", "city", 0.2),  # wrong, and not sure of it
        ("Sally", "human", 0.9),
        ("moon", "river", 0.9),
    ]
)


def make_passage(text: str, mentions: Sequence[tuple[int, int, str]], source: str) -> Passage:
    return Passage(tuple(text.split()), ("city", "person"), tuple(Mention(*m) for m in mentions), source=source)


TRAVELS = DatasetGold(
    "travels",
    "travels",
    "General",
    [
        make_passage("Sally met Alan in Rome .", [(0, 1, "person"), (2, 3, "person"), (4, 5, "city")], "t1"),
        make_passage("Alan flew from Paris to the moon .", [(0, 1, "person"), (3, 4, "city")], "t2"),
        make_passage("It was the mission to the moon .", [], "t3"),
    ],
)
CREWS = DatasetGold(
    "crews",
    "crews",
    "Law",
    [
        make_passage("The crew of Sally Ride landed near Paris", [(3, 5, "person"), (7, 8, "city")], "c1"),
        make_passage("Alan <b> lives in Rome & Paris", [(0, 1, "person"), (4, 5, "city"), (6, 7, "city")], "c2"),
    ],
)
