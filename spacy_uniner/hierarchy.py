"""Names of types: which have the same extension, which are wider, and what one name says about another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from .passages import Passage

Verdict = Literal["yes", "no", "unknown"]


@dataclass(frozen=True, eq=False)
class Hierarchy:
    """What is known of type names.

    same: for a type, other names with the same extension.
    wider: for a type, names that are true of every mention of it, from near to far.
    broad: for every name, the broad types under which it stands.
    """

    same: dict[str, tuple[str, ...]] = field(default_factory=dict)
    wider: dict[str, tuple[str, ...]] = field(default_factory=dict)
    broad: dict[str, frozenset[str]] = field(default_factory=dict)

    def names(self, type_: str) -> frozenset[str]:
        """Give all names that are true of every mention of a type, its own included."""
        return frozenset((type_, *self.same.get(type_, ()), *self.wider.get(type_, ())))

    def judge(self, asked: str, marked: Sequence[str]) -> Verdict:
        """Tell whether a mention with the types `marked` has the type `asked`.

        It does if one of its types has that name. It may if `asked` is narrower than one of its types, if one name
        contains the other ("company", "technology company"), or if both stand under the same broad type and nothing
        more is known of its own; else it does not.

        asked: a type name.
        marked: the types of the mention, the most specific first.
        RETURNS: "yes", "no" or "unknown".
        """
        if any(asked in self.names(type_) for type_ in marked):
            return "yes"
        if self.names(asked).intersection(marked[:1]) or _contains(asked, marked[0]):
            return "unknown"
        is_near = bool(self.broad.get(asked, frozenset()).intersection(marked[1:] or marked))
        return "unknown" if is_near and marked[0] not in self.wider else "no"

    def siblings(self, type_: str) -> frozenset[str]:
        """Give the types that share the nearest wider name with a type and are no names of it."""
        nearest = self.wider.get(type_, ())[:1]
        return frozenset(name for wide in nearest for name in self._below.get(wide, ())) - self.names(type_)

    @cached_property
    def _below(self) -> dict[str, frozenset[str]]:
        below: dict[str, set[str]] = defaultdict(set)
        for type_, wider in self.wider.items():
            for name in wider[:1]:
                below[name].add(type_)
        return {name: frozenset(types) for name, types in below.items()}


def _contains(one: str, other: str) -> bool:
    words, others = set(one.split()), set(other.split())
    return words <= others or others <= words


def read_hierarchy(path: Path, passages: Iterable[Passage], without: frozenset[str] = frozenset()) -> Hierarchy:
    """Read names of types from a table, and from passages the broad types under which they stand.

    path: tab-separated: type, same, wider; a header line; lists separated by "; ".
    passages: their mentions' last type is a broad one, see `distill.mark`.
    without: types that must not be known, neither by themselves nor as another's name.
    RAISES: ValueError with file and line if a line has another form.
    """
    same: dict[str, tuple[str, ...]] = {}
    wider: dict[str, tuple[str, ...]] = {}
    with path.open(encoding="utf8") as file:
        for n_line, line in enumerate(file, start=1):
            fields = line.rstrip("\n").split("\t")
            if len(fields) != 3:
                raise ValueError(f"{path}, line {n_line}: {len(fields)} fields, expected 3: type, same, wider.")
            type_, *lists = fields
            if n_line == 1 or type_ in without:
                continue
            same[type_], wider[type_] = (
                tuple(name for name in names.split("; ") if name and name not in without) for names in lists
            )
    broad: dict[str, set[str]] = defaultdict(set)
    for passage in passages:
        by_run: dict[tuple[int, int], list[str]] = defaultdict(list)
        for mention in passage.mentions:
            by_run[mention.start, mention.end].append(mention.type)
        for types in by_run.values():
            for name in (types[0], *same.get(types[0], ()), *wider.get(types[0], ())):
                broad[name].add(types[-1])
    return Hierarchy(same, wider, {name: frozenset(types) for name, types in broad.items()})
