"""Runs of words: windows of a long text, where surface forms stand, and what becomes of mentions that overlap.

Longer than other modules by the two small structures at its end, which keep the choice among many mentions fast.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from typing import Literal, NamedTuple

from .passages import Mention

Overlap = Literal["flat", "nested", "any"]


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a text that is read at once: `words[start:end]`.

    A mention counts in the window whose core, `words[core_start:core_end]`, holds its first word; the cores of a text
    hold every word once.
    """

    start: int
    end: int
    core_start: int
    core_end: int


def cut_windows(n_units: Sequence[int], max_units: int, overlap_words: int) -> list[Window]:
    """Cut a text into overlapping windows.

    A single word of more than `max_units` units is a window by itself. Neighbours share fewer words than asked where
    so many and the next word do not fit, and never more than half of the first of them: else a text of long words
    would be read many times over. The window in which a mention counts sees all of it if it is no longer than half of
    what that window and the next share.

    n_units: the units (such as pieces) that each word takes.
    max_units: the most that a window may take, in units.
    overlap_words: how many words neighbours share.
    RETURNS: the windows in order; between two cores the border is the middle of the words shared. Empty for no words.
    RAISES: ValueError if a window could hold nothing or the overlap is negative.
    SOURCE: our choice.
    """
    if max_units < 1 or overlap_words < 0:
        raise ValueError(
            f"Windows need max_units >= 1 and overlap_words >= 0, got {max_units} and {overlap_words}. "
            "Let windows hold more units, or overlap by no word."
        )
    if not n_units:
        return []
    bounds = [(0, _fill(n_units, 0, max_units))]
    while bounds[-1][1] < len(n_units):
        start, end = bounds[-1]
        start = _step_back(n_units, end, max_units, min(overlap_words, (end - start) // 2))
        bounds.append((start, _fill(n_units, start, max_units)))
    borders = [0, *((left[1] + right[0]) // 2 for left, right in pairwise(bounds)), len(n_units)]
    return [Window(*bound, *core) for bound, core in zip(bounds, pairwise(borders))]


def merge_windows(mentions_by_window: Sequence[Sequence[Mention]], windows: Sequence[Window]) -> tuple[Mention, ...]:
    """Bring the mentions of windows together as mentions of the text.

    mentions_by_window: for each window, its mentions; offsets in words of the window.
    RETURNS: those that start in their window's core; offsets in words of the text, sorted by start, end and type. Of
        the same mention given twice, the better score.
    RAISES: ValueError if there are not as many lists of mentions as windows.
    """
    if len(mentions_by_window) != len(windows):
        raise ValueError(
            f"Got mentions of {len(mentions_by_window)} windows, but there are {len(windows)}. "
            "Give one list of mentions, empty if need be, for each window."
        )
    merged = sorted(
        (
            replace(mention, start=window.start + mention.start, end=window.start + mention.end)
            for window, mentions in zip(windows, mentions_by_window)
            for mention in mentions
            if window.core_start <= window.start + mention.start < window.core_end
        ),
        key=_order,
    )
    return tuple(next(same) for _, same in groupby(merged, key=lambda m: (m.start, m.end, m.type)))


class Located(NamedTuple):
    """Where surface forms stand.

    runs: start and end of each place, in words; sorted, each once.
    lost: the surface forms that stand nowhere, in the order given.
    """

    runs: tuple[tuple[int, int], ...]
    lost: tuple[str, ...]


def locate(surfaces: Iterable[str], words: Sequence[str]) -> Located:
    """Find all places where surface forms stand in a text, whoever cut the text into words.

    A surface form is compared without white space, begins with a word and ends with one: "U.S." is found in "U.S." and
    in "U", ".", "S", ".", "John" not in "Johnathan". If it stands nowhere as it is written, upper and lower case are
    held for equal (casefold). Each word is read twice at most; then a surface form is compared only where a word stands
    that it begins with.

    RETURNS: the places, which may overlap, and the surface forms lost.
    SOURCE: our choice.
    """
    exact, folded = _Places(words), None
    runs: set[tuple[int, int]] = set()
    lost = []
    for surface in dict.fromkeys(surfaces):
        key = _squeeze(surface)
        found = exact.find(key)
        if not found and key:
            folded = folded or _Places([word.casefold() for word in words])
            found = folded.find(key.casefold())
        runs.update(found)
        if not found:
            lost.append(surface)
    return Located(tuple(sorted(runs)), tuple(lost))


def resolve_overlaps(
    mentions: Sequence[Mention], overlap: Overlap, implied: frozenset[tuple[str, str]] = frozenset()
) -> tuple[Mention, ...]:
    """Choose among mentions that share words.

    "flat": no two share a word. "nested": one may lie within another, but they never cross, and a run of words has
    one type. "any": all stay.

    Unless all stay, a type gives way to a more specific one on the same run of words, and the strongest runs are kept
    first; of equally strong ones the longer, then the earlier. How strong a run is, its best score tells, also that of
    a type that gave way: that somebody is a person does not become less sure because "physicist" says it more
    precisely. Of the types left on a run the best is chosen; of equal scores the first in the alphabet.

    overlap: see above.
    implied: pairs (narrow, wide) of types where being narrow implies being wide.
    RETURNS: the mentions chosen, sorted by start, end and type.
    SOURCE: greedy span selection as in GLiNER (Zaratiana et al. 2023, on decoding), there by each mention's own score;
        the specific winning is our choice, measured in docs/decisions.md, and so is its borrowing strength.
    """
    if overlap == "any":
        return tuple(sorted(mentions, key=_order))
    candidates = []
    for run in _group_runs(mentions):
        mention = min(_keep_specific(run, implied), key=lambda m: (-m.score, m.type))
        strength = max(m.score for m in run)
        candidates.append((-strength, mention.start - mention.end, mention.start, mention))
    candidates.sort(key=lambda candidate: candidate[:3])
    taken = _Flat() if overlap == "flat" else _Nested(mentions)
    return tuple(sorted((mention for *_, mention in candidates if taken.take(mention)), key=_order))


def let_specific_win(mentions: Sequence[Mention], implied: frozenset[tuple[str, str]]) -> list[Mention]:
    """Leave out mentions whose type another type on the same run of words implies.

    Of two types that imply each other, which are names of one thing, the better score stays; of equal scores the first
    in the alphabet. Of types that give way to each other in a circle, and to none outside of it, likewise one stays;
    so no run of words loses all of its mentions.

    implied: pairs (narrow, wide) of types where being narrow implies being wide; taken as they are, wide of wide is
        not concluded.
    RETURNS: the mentions left, sorted by start, end and type.
    SOURCE: our choice.
    """
    return [mention for run in _group_runs(mentions) for mention in _keep_specific(run, implied)]


class _Places:
    """Where the words of a text stand in its characters, without white space.

    Words of white space only stand nowhere; so no run begins or ends with one.
    """

    def __init__(self, words: Sequence[str]) -> None:
        squeezed = [_squeeze(word) for word in words]
        self._text = "".join(squeezed)
        self._ends: dict[int, int] = {}  # from the offset behind a word, in characters, to that behind it in words
        self._starts: dict[str, list[tuple[int, int]]] = {}  # from a word to its offsets, in characters and in words
        n_chars = 0
        for place, word in enumerate(squeezed):
            if word:
                self._starts.setdefault(word, []).append((n_chars, place))
                n_chars += len(word)
                self._ends[n_chars] = place + 1
        self._n_chars = sorted({len(word) for word in self._starts})

    def find(self, key: str) -> list[tuple[int, int]]:
        """Find the runs of words that spell `key`, which has no white space; none spell an empty one."""
        return [
            (start, self._ends[at + len(key)])
            for n_chars in self._n_chars[: bisect_right(self._n_chars, len(key))]
            for at, start in self._starts.get(key[:n_chars], ())
            if at + len(key) in self._ends and self._text.startswith(key, at)
        ]


def _squeeze(text: str) -> str:
    return "".join(text.split())


def _order(mention: Mention) -> tuple[int, int, str, float]:
    return mention.start, mention.end, mention.type, -mention.score


def _group_runs(mentions: Iterable[Mention]) -> list[list[Mention]]:
    """Put mentions of the same run of words together; all sorted."""
    return [list(run) for _, run in groupby(sorted(mentions, key=_order), key=lambda m: (m.start, m.end))]


def _keep_specific(run: list[Mention], implied: frozenset[tuple[str, str]]) -> list[Mention]:
    """Leave out of the mentions of one run of words those that `let_specific_win` does."""
    ranked = list(dict.fromkeys(m.type for m in sorted(run, key=lambda m: (-m.score, m.type))))
    if not implied or len(ranked) == 1:
        return run
    rank = {type_: n for n, type_ in enumerate(ranked)}
    yields_to = {
        wide: [
            narrow
            for narrow in ranked
            if (narrow, wide) in implied and ((wide, narrow) not in implied or rank[narrow] < rank[wide])
        ]
        for wide in ranked
    }
    above = {type_: _follow(yields_to, type_) for type_ in ranked}
    specific = {
        type_ for type_ in ranked if all(type_ in above[other] and rank[type_] <= rank[other] for other in above[type_])
    }
    return [mention for mention in run if mention.type in specific]


def _follow(yields_to: dict[str, list[str]], type_: str) -> set[str]:
    """Find all types to which a type gives way, directly or by way of others; itself if it stands in a circle."""
    found: set[str] = set()
    ahead = list(yields_to[type_])
    while ahead:
        other = ahead.pop()
        if other not in found:
            found.add(other)
            ahead.extend(yields_to[other])
    return found


def _fill(n_units: Sequence[int], start: int, max_units: int) -> int:
    """Find the end of the longest window from `start`; it holds at least one word."""
    end, n_taken = start + 1, n_units[start]
    while end < len(n_units) and n_taken + n_units[end] <= max_units:
        n_taken += n_units[end]
        end += 1
    return end


def _step_back(n_units: Sequence[int], end: int, max_units: int, max_words: int) -> int:
    """Find the start of a window that begins at most `max_words` before `end` and still holds the word at `end`."""
    start, n_taken = end, n_units[end]
    while end - start < max_words and n_taken + n_units[start - 1] <= max_units:
        start -= 1
        n_taken += n_units[start]
    return start


class _Flat:
    """The mentions taken so far, no two of which share a word."""

    def __init__(self) -> None:
        self._bounds: list[int] = []  # start, end, start, end, …

    def take(self, mention: Mention) -> bool:
        """Take a mention if it shares no word with those taken."""
        place = bisect_right(self._bounds, mention.start)
        if place % 2 or (place < len(self._bounds) and self._bounds[place] < mention.end):
            return False
        self._bounds[place:place] = [mention.start, mention.end]
        return True


class _Nested:
    """The mentions taken so far, no two of which cross.

    One long mention lies near all others, so they are not compared one by one: a new mention crosses one taken if, of
    those that start inside of it, one ends behind it, or, of those that end inside, one starts before it.

    mentions: all that may be taken.
    """

    def __init__(self, mentions: Iterable[Mention]) -> None:
        bounds = sorted({bound for m in mentions for bound in (m.start, m.end)})
        self._places = {bound: place for place, bound in enumerate(bounds)}
        self._right = _Peaks(len(bounds))  # at each start, how far right those that start there reach
        self._left = _Peaks(len(bounds))  # at each end, how far left those that end there reach, from the right edge

    def take(self, mention: Mention) -> bool:
        """Take a mention if it crosses none of those taken."""
        start, end = self._places[mention.start], self._places[mention.end]
        right, left = end, len(self._places) - start
        if self._right.find_highest(start + 1, end) > right or self._left.find_highest(start + 1, end) > left:
            return False
        self._right.lift(start, right)
        self._left.lift(end, left)
        return True


class _Peaks:
    """Heights at places, all 0 at first, and the highest of any stretch of them in logarithmic time.

    SOURCE: a segment tree: node i is as high as the higher of 2 i and 2 i + 1; the leaves are the places.
    """

    def __init__(self, n_places: int) -> None:
        self._n_places = n_places
        self._nodes = [0] * (2 * n_places)

    def lift(self, place: int, height: int) -> None:
        """Lift a place to `height`, unless it is higher already."""
        node = place + self._n_places
        while node and self._nodes[node] < height:
            self._nodes[node] = height
            node //= 2

    def find_highest(self, first: int, last: int) -> int:
        """Find the greatest height of the places from `first` up to, not including, `last`; 0 if there are none."""
        highest = 0
        left, right = first + self._n_places, last + self._n_places
        while left < right:
            if left % 2:
                highest = max(highest, self._nodes[left])
                left += 1
            if right % 2:
                right -= 1
                highest = max(highest, self._nodes[right])
            left //= 2
            right //= 2
        return highest
