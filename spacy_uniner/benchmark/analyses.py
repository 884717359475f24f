"""What a score alone does not tell: other names, the order of labels, distractors, length of text, speed."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..passages import Mention, Passage
from .metrics import Counts, micro, pool, strict_counts
from .systems import Found, System, ask

LENGTHS = (10, 20, 40)
N_SPEED_TYPES = (5, 25, 100)


@dataclass(frozen=True, slots=True)
class Robustness:
    """What becomes of strict micro-F1 if types are asked differently; F1 in [0, 1].

    n_passages: passages that were asked.
    f1: under their own names.
    paraphrase_f1: under other names, one for each round.
    agreement: mean share of mentions that are the same as under their own names (Jaccard), over all rounds.
    shuffled_f1: with the types in another order.
    distractor_f1: with so many more types asked, whose mentions do not count.
    """

    n_passages: int
    f1: float
    paraphrase_f1: tuple[float, ...]
    agreement: float
    shuffled_f1: float
    distractor_f1: dict[int, float]


def measure_robustness(
    system: System,
    gold: Sequence[Passage],
    paraphrases: Mapping[str, Sequence[str]],
    distractors: Sequence[str],
    *,
    n_distractors: Sequence[int] = (10, 50),
    seed: int = 0,
) -> Robustness:
    """Ask the same passages for the same types under other names, in another order, and among distractors.

    paraphrases: for each type its synonyms; round k takes the k-th of each. A type without any keeps its name.
    distractors: types of which some are asked beside those of the passage.
    """
    own = system.find(gold)
    n_rounds = max((len(paraphrases.get(type_, ())) for passage in gold for type_ in passage.types), default=0)
    scores, agreements = [], []
    for k in range(n_rounds):
        names = {type_: of_one[k] for type_, of_one in paraphrases.items() if k < len(of_one)}
        found = [
            rename(mentions, {names.get(type_, type_): type_ for type_ in passage.types})
            for passage, mentions in zip(gold, system.find(ask(gold, names)), strict=True)
        ]
        scores.append(f1_of(gold, found))
        agreements.append(agreement(own, found))
    rng = random.Random(seed)
    shuffled = [replace(passage, types=tuple(rng.sample(passage.types, len(passage.types)))) for passage in gold]
    among: dict[int, float] = {}
    for n in n_distractors:
        types = {type_ for passage in gold for type_ in passage.types}
        others = sorted(set(distractors) - types)
        more = rng.sample(others, min(n, len(others)))
        found = [tuple(m for m in mentions if m.type in types) for mentions in system.find(ask(gold, {}, more))]
        among[n] = f1_of(gold, found)
    return Robustness(
        n_passages=len(gold),
        f1=f1_of(gold, own),
        paraphrase_f1=tuple(scores),
        agreement=sum(agreements) / len(agreements) if agreements else 1.0,
        shuffled_f1=f1_of(gold, system.find(shuffled)),
        distractor_f1=among,
    )


def f1_of(gold: Sequence[Passage], found: Found) -> float:
    """Give the strict micro-F1, in [0, 1]."""
    return micro(pool(strict_counts(passage, mentions) for passage, mentions in zip(gold, found, strict=True))).f1


def rename(mentions: Sequence[Mention], names: Mapping[str, str]) -> tuple[Mention, ...]:
    """Give mentions other types."""
    return tuple(replace(mention, type=names[mention.type]) for mention in mentions)


def agreement(one: Found, other: Found) -> float:
    """Give the share of mentions that both found, of all that either found; 1.0 if neither found any."""
    n_both = n_either = 0
    for of_one, of_other in zip(one, other, strict=True):
        left, right = ({(m.start, m.end, m.type) for m in mentions} for mentions in (of_one, of_other))
        n_both += len(left & right)
        n_either += len(left | right)
    return n_both / n_either if n_either else 1.0


def group_by_length(gold: Sequence[Passage], counts: Sequence[Counts]) -> dict[str, Counts]:
    """Add up the counts of passages of like length, in words."""
    names = ["1 to 10", "11 to 20", "21 to 40", "over 40"]
    groups = {name: Counts(0.0, 0, 0) for name in names}
    for passage, of_one in zip(gold, counts, strict=True):
        name = names[sum(len(passage.words) > length for length in LENGTHS)]
        groups[name] += of_one
    return groups


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast a system is.

    n_types: types asked of each passage.
    words_per_second: after one round to warm up.
    """

    n_types: int
    words_per_second: float


def measure_speed(
    system: System, gold: Sequence[Passage], types: Sequence[str], n_types: Sequence[int] = N_SPEED_TYPES
) -> list[Speed]:
    """Time the system on the same passages with more and more types."""
    n_words = sum(len(passage.words) for passage in gold)
    speeds = []
    for n in n_types:
        if n > len(types):
            break
        passages = [Passage(passage.words, tuple(types[:n])) for passage in gold]
        system.find(passages[:20])
        started = time.perf_counter()
        system.find(passages)
        speeds.append(Speed(n, n_words / (time.perf_counter() - started)))
    return speeds
