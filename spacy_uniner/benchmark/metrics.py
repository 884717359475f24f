"""How good a system's mentions are, by metrics that have names.

"strict": words and type exactly those of a gold mention. "partial": a mention that only overlaps counts one half.
"string-set": UniversalNER's own, over sets of surface forms; "string-set-quirks": with the parser of its script.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..passages import Mention, Passage

ARTICLES = re.compile(r"\b(a|an|the)\b")
WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)
LIST_AT_START = re.compile(r"\[(.*?)\]")


@dataclass(frozen=True, slots=True)
class Counts:
    """Mentions that are correct, that were found, and that are gold; an overlap may be half correct."""

    n_correct: float
    n_found: int
    n_gold: int

    @property
    def precision(self) -> float:
        """Share of what was found that is correct; 0.0 if nothing was."""
        return self.n_correct / self.n_found if self.n_found else 0.0

    @property
    def recall(self) -> float:
        """Share of the gold that was found; 0.0 if there is none."""
        return self.n_correct / self.n_gold if self.n_gold else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 0.0 if there is neither gold nor anything found."""
        return 2.0 * self.n_correct / (self.n_found + self.n_gold) if self.n_found + self.n_gold else 0.0

    @property
    def is_empty(self) -> bool:
        """Whether there is neither gold nor anything found, so that a score of 0.0 says nothing."""
        return not self.n_found and not self.n_gold

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.n_correct + other.n_correct, self.n_found + other.n_found, self.n_gold + other.n_gold)


Metric = Callable[[Passage, Sequence[Mention]], dict[str, Counts]]
Run = tuple[int, int]


def strict_counts(gold: Passage, found: Sequence[Mention]) -> dict[str, Counts]:
    """Count, for each type asked, the mentions whose words and type are exactly those of a gold mention.

    A mention that is given twice counts once.

    RAISES: ValueError if a mention has a type that was not asked.
    """
    return {
        type_: Counts(len(right & left), len(left), len(right))
        for type_, (right, left) in runs_by_type(gold, found).items()
    }


def partial_counts(gold: Passage, found: Sequence[Mention]) -> dict[str, Counts]:
    """Count as `strict_counts`, and one half for a mention that shares a word with a gold mention of its type.

    Each mention, gold or found, is credited once: exact ones first, then as many overlapping pairs as there can be.

    RAISES: ValueError if a mention has a type that was not asked.
    SOURCE: Zhou et al. 2023, Table 5, after Segura-Bedmar et al. 2013; the matching is our choice.
    """
    counts = {}
    for type_, (right, left) in runs_by_type(gold, found).items():
        n_exact = len(right & left)
        n_overlapping = count_overlapping_pairs(sorted(right - left), sorted(left - right))
        counts[type_] = Counts(n_exact + 0.5 * n_overlapping, len(left), len(right))
    return counts


def runs_by_type(gold: Passage, found: Sequence[Mention]) -> dict[str, tuple[set[Run], set[Run]]]:
    """Give for each type asked the runs of words that are gold, and those that were found.

    RAISES: ValueError if a mention has a type that was not asked.
    """
    runs: dict[str, tuple[set[Run], set[Run]]] = {type_: (set(), set()) for type_ in gold.types}
    for side, mentions in enumerate((gold.mentions, found)):
        for mention in mentions:
            if mention.type not in runs:
                raise ValueError(
                    f"A mention of '{mention.type}' was found, which was not asked. Asked: {', '.join(gold.types)}. "
                    "Leave out what was not asked before scoring."
                )
            runs[mention.type][side].add((mention.start, mention.end))
    return runs


def count_overlapping_pairs(right: Sequence[Run], left: Sequence[Run]) -> int:
    """Count the most pairs of overlapping runs in which none stands twice.

    SOURCE: maximum bipartite matching by augmenting paths (Kuhn 1955); they are looked for in a loop, since chains of
        a thousand overlapping runs are too long for recursion.
    """
    overlaps = [
        [m for m, of_left in enumerate(left) if of_left[0] < end and start < of_left[1]] for start, end in right
    ]
    left_of: dict[int, int] = {}
    right_of: dict[int, int] = {}
    for first in range(len(right)):
        came_from: dict[int, int] = {}
        free = find_free(first, overlaps, right_of, came_from)
        while free is not None:  # walk back; each on the way gives its partner away and takes the next
            n = came_from[free]
            given_away = left_of.get(n)
            left_of[n], right_of[free] = free, n
            free = given_away
    return len(right_of)


def find_free(
    first: int, overlaps: Sequence[Sequence[int]], right_of: Mapping[int, int], came_from: dict[int, int]
) -> int | None:
    """Find a left run without partner that `first` may reach if others change theirs; None if there is none.

    came_from: filled with the right run from which each left one was reached.
    """
    queue = [first]
    for n in queue:  # it grows
        for m in overlaps[n]:
            if m not in came_from:
                came_from[m] = n
                if m not in right_of:
                    return m
                queue.append(right_of[m])
    return None


def string_set_counts(gold: Passage, found: Sequence[Mention], *, quirks: bool = False) -> dict[str, Counts]:
    """Count, for each type asked, the normalised surface forms that gold and found have in common, as sets.

    Where in the text a mention stands, and how often, does not count. A surface form is its words with single spaces.

    quirks: first write both as the JSON lists that the released script reads, and parse them as it does.
    RAISES: ValueError if a mention has a type that was not asked.
    SOURCE: Zhou et al. 2023, src/eval/evaluate.py, from its description; normalisation as in SQuAD.
    """
    counts = {}
    for type_, sides in runs_by_type(gold, found).items():
        surfaces = [[" ".join(gold.words[start:end]) for start, end in sorted(side)] for side in sides]
        if quirks:
            surfaces = [parse_as_released(json.dumps(of_side)) for of_side in surfaces]
        right, left = ({normalise(surface) for surface in of_side} for of_side in surfaces)
        counts[type_] = Counts(len(right & left), len(left), len(right))
    return counts


def string_set_counts_with_quirks(gold: Passage, found: Sequence[Mention]) -> dict[str, Counts]:
    """Count as `string_set_counts` does with `quirks`."""
    return string_set_counts(gold, found, quirks=True)


def normalise(surface: str) -> str:
    """Lower the case, delete punctuation and articles, collapse spaces."""
    return " ".join(ARTICLES.sub(" ", surface.lower().translate(WITHOUT_PUNCTUATION)).split())


def parse_as_released(reply: str) -> list[str]:
    """Read a reply as the released script does: a list at its very start, up to the first "]"; anything else is []."""
    match = LIST_AT_START.match(reply)
    try:
        return [str(surface) for surface in json.loads(match.group())] if match else []
    except ValueError:
        return []


METRICS: dict[str, Metric] = {
    "strict": strict_counts,
    "partial": partial_counts,
    "string-set": string_set_counts,
    "string-set-quirks": string_set_counts_with_quirks,
}


def pool(counts: Iterable[Mapping[str, Counts]]) -> dict[str, Counts]:
    """Add up the counts of passages, type by type."""
    total: dict[str, Counts] = {}
    for of_one in counts:
        for type_, of_type in of_one.items():
            total[type_] = total[type_] + of_type if type_ in total else of_type
    return total


def micro(by_type: Mapping[str, Counts]) -> Counts:
    """Add up the counts of types."""
    return sum(by_type.values(), Counts(0, 0, 0))


def macro_f1(by_type: Mapping[str, Counts]) -> float:
    """Average the F1 of the types that have gold mentions or found ones; 0.0 if there are none."""
    scores = [counts.f1 for counts in by_type.values() if not counts.is_empty]
    return sum(scores) / len(scores) if scores else 0.0
