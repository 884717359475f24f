"""Errors by kind, for people to look at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..passages import Mention, Passage


@dataclass(frozen=True, slots=True)
class Errors:
    """What became of each mention, gold or found; every one stands in exactly one place.

    correct: found as they are in the gold.
    missed: gold mentions that nothing else accounts for.
    spurious: found mentions that nothing else accounts for.
    wrong_type: pairs (gold, found) on the same words.
    wrong_boundary: pairs (gold, found) of one type that overlap.
    """

    correct: tuple[Mention, ...]
    missed: tuple[Mention, ...]
    spurious: tuple[Mention, ...]
    wrong_type: tuple[tuple[Mention, Mention], ...]
    wrong_boundary: tuple[tuple[Mention, Mention], ...]


def sort_errors(gold: Passage, found: Sequence[Mention]) -> Errors:
    """Sort the mentions of a passage: those that are correct, then pairs on the same words, then overlapping pairs of
    one type, from left to right. A mention that is found twice stands once, with its higher score.

    SOURCE: kinds of errors are our choice; pairs are taken greedily, since they are looked at and not counted.
    """
    key = {(m.start, m.end, m.type): m for m in sorted(found, key=lambda mention: mention.score)}
    left = {(m.start, m.end, m.type): m for m in gold.mentions}
    correct = [mention for place, mention in sorted(key.items()) if place in left]
    missed = [mention for place, mention in sorted(left.items()) if place not in key]
    spurious = [mention for place, mention in sorted(key.items()) if place not in left]
    wrong_type = take_pairs(missed, spurious, lambda a, b: (a.start, a.end) == (b.start, b.end))
    wrong_boundary = take_pairs(missed, spurious, lambda a, b: a.type == b.type and a.start < b.end and b.start < a.end)
    return Errors(tuple(correct), tuple(missed), tuple(spurious), tuple(wrong_type), tuple(wrong_boundary))


def take_pairs(
    missed: list[Mention], spurious: list[Mention], is_pair: Callable[[Mention, Mention], bool]
) -> list[tuple[Mention, Mention]]:
    """Take pairs of a gold and a found mention out of the two lists, from left to right, each mention once."""
    pairs = []
    for of_gold in list(missed):
        other = next((of_found for of_found in spurious if is_pair(of_gold, of_found)), None)
        if other is not None:
            missed.remove(of_gold)
            spurious.remove(other)
            pairs.append((of_gold, other))
    return pairs
