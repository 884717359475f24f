"""Annotations held against gold: precision, recall and F1 by label, and errors by kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from spacy.scorer import PRFScore

from ..passages import Passage
from ..spans import resolve_overlaps

Place = tuple[int, int, str]
KINDS = ("wrong label", "wrong boundary", "missed", "made up")


@dataclass(frozen=True, slots=True)
class Quality:
    """How good annotations are, where there is gold.

    name: of the run.
    n_texts: texts that have gold.
    n_without_gold: texts that have none, and do not count.
    scores: for each label, mentions whose words and label are exactly those of a gold mention.
    errors: how many there are of each kind; see `sort_errors`.
    confusions: for (gold label, annotated label), how often the same words have them.
    """

    name: str
    n_texts: int
    n_without_gold: int
    scores: Mapping[str, PRFScore]
    errors: Mapping[str, int]
    confusions: Mapping[tuple[str, str], int]


@dataclass(frozen=True, slots=True)
class Errors:
    """The errors of a text; mentions are (start, end, label), see `places_of`.

    wrong_label: pairs (gold, annotated) of the same words.
    wrong_boundary: pairs (gold, annotated) of one label that overlap.
    missed: gold that nothing else accounts for.
    made_up: annotated, and nothing else accounts for it.
    """

    wrong_label: tuple[tuple[Place, Place], ...]
    wrong_boundary: tuple[tuple[Place, Place], ...]
    missed: tuple[Place, ...]
    made_up: tuple[Place, ...]


def check_gold(name: str, gold: Sequence[Passage], labels: Sequence[str]) -> list[Passage]:
    """Check that gold is of these labels, and ask just these of it.

    name: as it is called in errors, such as that of its file.
    RAISES: ValueError if there is nothing, mentions are of other labels, or two overlap.
    """
    found = {mention.type for passage in gold for mention in passage.mentions}
    if not found:
        raise ValueError(f"{name} has no mention in {len(gold):,} texts. Give a file with gold, or leave it out.")
    if found - set(labels):
        raise ValueError(
            f"{name} has mentions of {', '.join(sorted(found - set(labels)))}, but the labels are "
            f"{', '.join(sorted(labels))}. Give gold of the same labels, or leave it out."
        )
    for passage in gold:
        if len(resolve_overlaps(passage.mentions, "flat")) < len(passage.mentions):
            raise ValueError(
                f"{name}, text '{passage.source}' has mentions that overlap, and a corpus of entities has none. Leave "
                "one of them out."
            )
    return [replace(passage, types=tuple(labels)) for passage in gold]


def text_of(passage: Passage) -> str:
    """Give a text without white space, by which it is known whoever cut it into words."""
    return squeeze("".join(passage.words))


def squeeze(text: str) -> str:
    """Leave out white space."""
    return "".join(text.split())


def places_of(passage: Passage) -> set[Place]:
    """Give mentions as start, end and label, in characters of `text_of`."""
    ends = [0, *accumulate(len(squeeze(word)) for word in passage.words)]
    return {(ends[mention.start], ends[mention.end], mention.type) for mention in passage.mentions}


def score_pairs(pairs: Iterable[tuple[Passage, Passage]], labels: Sequence[str]) -> dict[str, PRFScore]:
    """Score for each label the second of each pair against the first."""
    scores = {label: PRFScore() for label in labels}
    for gold, found in pairs:
        right, left = places_of(gold), places_of(found)
        for label, score in scores.items():
            score.score_set({p for p in left if p[2] == label}, {p for p in right if p[2] == label})
    return scores


def pair_with_gold(passages: Iterable[Passage], gold: Sequence[Passage]) -> list[tuple[Passage, Passage]]:
    """Give (gold, annotated) for each passage whose text has gold; of gold that stands twice, the first."""
    by_text = {text_of(passage): passage for passage in reversed(gold)}
    return [(by_text[text_of(passage)], passage) for passage in passages if text_of(passage) in by_text]


def measure_quality(name: str, gold: Sequence[Passage], passages: Sequence[Passage], labels: Sequence[str]) -> Quality:
    """Hold annotated passages against gold. Texts are found by their characters, so words may be cut in other ways.

    RAISES: ValueError if no text has gold.
    """
    pairs = pair_with_gold(passages, gold)
    if not pairs:
        raise ValueError(
            f"None of the {len(passages):,} texts of '{name}' is among the {len(gold):,} gold texts. Give gold of the "
            "same texts, or leave it out."
        )
    errors: Counter[str] = Counter(dict.fromkeys(KINDS, 0))
    confusions: Counter[tuple[str, str]] = Counter()
    for of_gold, found in pairs:
        sorted_errors = sort_errors(places_of(of_gold), places_of(found))
        errors["wrong label"] += len(sorted_errors.wrong_label)
        errors["wrong boundary"] += len(sorted_errors.wrong_boundary)
        errors["missed"] += len(sorted_errors.missed)
        errors["made up"] += len(sorted_errors.made_up)
        confusions.update((right[2], wrong[2]) for right, wrong in sorted_errors.wrong_label)
    return Quality(name, len(pairs), len(passages) - len(pairs), score_pairs(pairs, labels), errors, confusions)


def sort_errors(gold: set[Place], found: set[Place]) -> Errors:
    """Sort what two sides do not share: pairs on the same words first, then overlapping pairs of one label, each from
    left to right and each mention once. Other words with another label are missed, and made up."""
    missed, made_up = sorted(gold - found), sorted(found - gold)
    wrong_label, wrong_boundary = [], []
    for right in list(missed):
        wrong = next((p for p in made_up if p[:2] == right[:2]), None)
        if wrong is not None:
            wrong_label.append((right, wrong))
            missed.remove(right)
            made_up.remove(wrong)
    for right in list(missed):
        wrong = next((p for p in made_up if p[2] == right[2] and p[0] < right[1] and right[0] < p[1]), None)
        if wrong is not None:
            wrong_boundary.append((right, wrong))
            missed.remove(right)
            made_up.remove(wrong)
    return Errors(tuple(wrong_label), tuple(wrong_boundary), tuple(missed), tuple(made_up))
