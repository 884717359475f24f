"""Distillation data: which passages are held out, and which types are asked of a passage.

A marked passage has, for each run of words, the type that an expert would name and then the broad one; its other types
are what the teacher named as plausible but absent.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate, chain
from typing import Literal

from .hierarchy import Hierarchy
from .passages import Mention, Passage

Negatives = Literal["none", "uniform", "frequency", "hard"]

Runs = dict[tuple[int, int], tuple[str, ...]]


def runs_of(passage: Passage) -> Runs:
    """Give the types of each run of words, in the order in which its mentions stand."""
    runs: dict[tuple[int, int], list[str]] = defaultdict(list)
    for mention in passage.mentions:
        runs[mention.start, mention.end].append(mention.type)
    return {run: tuple(types) for run, types in runs.items()}


def split_held_out(passages: Iterable[Passage], one_in: int) -> tuple[list[Passage], list[Passage], frozenset[str]]:
    """Hold out passages, and the types that only they have.

    Which passages are held out depends on their source alone, so it stays the same when others come or go.

    one_in: about one passage in so many is held out.
    RETURNS: the passages to train on, those held out, and the types that no passage to train on mentions.
    """
    train: list[Passage] = []
    held_out: list[Passage] = []
    for passage in passages:
        number = int.from_bytes(hashlib.sha256(passage.source.encode("utf8")).digest()[:4], "big")
        (held_out if number % one_in == 0 else train).append(passage)
    seen = {mention.type for passage in train for mention in passage.mentions}
    unseen = {mention.type for passage in held_out for mention in passage.mentions} - seen
    return train, held_out, frozenset(unseen)


class Questions:
    """Chooses which types to ask of passages, and answers what their marks can answer.

    A mention is asked for by its own name, by another with the same extension, by a wider or by the broad one, at
    random, since label sets in the wild are of all levels. The negatives:

    "none": no others are asked.
    "uniform": types drawn alike.
    "frequency": types drawn as often as they are mentioned, and what is asked of the other passages of the group.
    "hard": those of "frequency", the teacher's absent types, and siblings: types under the same wider name.

    passages: marked passages; from them come the types and how often they are mentioned.
    hierarchy: other names of the types.
    negatives: see above.
    n_negatives: how many types are drawn for each group.
    seed: of the random choices.
    SOURCE: negatives by frequency as in Zhou et al. 2023, section 3.2; other names and hard ones are our choice.
    """

    def __init__(
        self, passages: Iterable[Passage], hierarchy: Hierarchy, *, negatives: Negatives, n_negatives: int, seed: int
    ) -> None:
        counts: Counter[str] = Counter()
        for passage in passages:
            for types in runs_of(passage).values():
                counts.update(hierarchy.names(types[0]).union(types))
        self.hierarchy = hierarchy
        self.negatives = negatives
        self.n_negatives = n_negatives
        self._random = random.Random(seed)
        self._names = sorted(counts)
        self._weights = list(accumulate(counts[name] for name in self._names))

    def ask(self, group: Sequence[Passage]) -> list[Passage]:
        """Ask a group of marked passages.

        They share most of what is asked, so that a batch of them has few types to encode.

        RETURNS: the passages with the types asked of each, the mentions that have these, and what is unknown.
        """
        own = [self._own_names(passage) for passage in group]
        shared = self._draw()
        if self.negatives in ("frequency", "hard"):
            shared = shared.union(*own)
        asked = [names | shared for names in own]
        if self.negatives == "hard":
            for names, passage in zip(asked, group, strict=True):
                names |= self._hard(passage)
        return [answer(passage, names, self.hierarchy) for passage, names in zip(group, asked, strict=True)]

    def _own_names(self, passage: Passage) -> set[str]:
        """Choose, at random, under which names a passage's mentions are asked for."""
        names: set[str] = set()
        for types in sorted(set(runs_of(passage).values())):
            specific = types[0]
            same, wider = self.hierarchy.same.get(specific, ()), self.hierarchy.wider.get(specific, ())
            ways = [(specific,), same or (specific,), same or (specific,), wider or (specific,)]
            names.add(self._random.choice(self._random.choice(ways)))
            if wider and self._random.random() < 0.3:
                names.add(self._random.choice(wider))
            if self._random.random() < 0.4:
                names.add(types[-1])
        return names

    def _draw(self) -> set[str]:
        if self.negatives == "none" or not self._names:
            return set()
        weights = None if self.negatives == "uniform" else self._weights
        return set(self._random.choices(self._names, cum_weights=weights, k=self.n_negatives))

    def _hard(self, passage: Passage) -> set[str]:
        mentioned = {mention.type for mention in passage.mentions}
        known = self.hierarchy.broad
        hard = {type_ for type_ in passage.types if type_ not in mentioned and type_ in known}
        for types in sorted(set(runs_of(passage).values())):
            siblings = sorted(self.hierarchy.siblings(types[0]))
            if siblings and self._random.random() < 0.3:
                hard.add(self._random.choice(siblings))
        return hard


class Absent:
    """Draws negatives for single passages: types that others mention, and that the passage has not, as far as is known.

    "none", "uniform" and "frequency" are as in `Questions`. "hard" are first the teacher's absent types and siblings of
    the passage's types, in random order, and when there are no more of them, those of "frequency". A type that is never
    mentioned is never drawn: a student would learn to deny it wherever it is asked.

    passages: from them come the types and how often they are mentioned.
    hierarchy: what is known of the types; an empty one if nothing is.
    negatives: see above.
    n_negatives: how many for each passage; fewer only if the types do not give so many.
    seed: of the random choices.
    SOURCE: Zhou et al. 2023, section 3.2, which does not say how many; hard ones are our choice.
    """

    def __init__(
        self, passages: Iterable[Passage], hierarchy: Hierarchy, *, negatives: Negatives, n_negatives: int, seed: int
    ) -> None:
        if n_negatives < 0:
            raise ValueError(f"The number of negatives must be 0 or more, got {n_negatives}.")
        counts = Counter(mention.type for passage in passages for mention in passage.mentions)
        self.hierarchy = hierarchy
        self.negatives = negatives
        self.n_negatives = 0 if negatives == "none" else n_negatives
        self._random = random.Random(seed)
        self._names = sorted(counts)
        self._weights = list(accumulate(counts[name] for name in self._names))

    def add(self, passage: Passage) -> Passage:
        """Ask a passage for the types it mentions, and for negatives.

        A mention whose type implies another type asked is a mention of that, too.
        """
        own = {mention.type for mention in passage.mentions}
        marked = set(runs_of(passage).values())
        drawn: set[str] = set()
        for name in self._propose(passage):
            if len(drawn) == self.n_negatives:
                break
            if name not in own and all(self.hierarchy.judge(name, types) == "no" for types in marked):
                drawn.add(name)
        return replace(answer(passage, own | drawn, self.hierarchy), unknown=())

    def _propose(self, passage: Passage) -> Iterator[str]:
        """Propose names, some of them again and again; in the end all there are."""
        if not self._names or not self.n_negatives:
            return
        if self.negatives == "hard":
            siblings = (self.hierarchy.siblings(types[0]) for types in runs_of(passage).values())
            close = sorted({*passage.types, *chain.from_iterable(siblings)}.intersection(self._names))
            yield from self._random.sample(close, len(close))
        weights = None if self.negatives == "uniform" else self._weights
        for _ in range(20):
            yield from self._random.choices(self._names, cum_weights=weights, k=self.n_negatives)
        yield from self._random.sample(self._names, len(self._names))


def rename(
    passage: Passage, hierarchy: Hierarchy, share: float, rng: random.Random, without: frozenset[str] = frozenset()
) -> Passage:
    """Ask some of a passage's types by another name with the same extension.

    A name that may be true of a mention of another type is not used, nor one that is asked already.

    share: of the types that have other names, how many get one, in [0, 1].
    without: names that must not be used.
    """
    names = {type_: type_ for type_ in passage.types}
    marked = set(runs_of(passage).values())
    for type_ in passage.types:
        others = [types for types in marked if type_ not in types]
        free = [
            name
            for name in hierarchy.same.get(type_, ())
            if name not in without
            and name not in names.values()
            and all(hierarchy.judge(name, types) == "no" for types in others)
        ]
        if free and rng.random() < share:
            names[type_] = rng.choice(free)
    return replace(
        passage,
        types=tuple(names.values()),
        mentions=tuple(replace(mention, type=names[mention.type]) for mention in passage.mentions),
        unknown=tuple(replace(mention, type=names[mention.type]) for mention in passage.unknown),
    )


def answer(passage: Passage, names: Iterable[str], hierarchy: Hierarchy) -> Passage:
    """Answer which mentions of a marked passage have the types asked.

    RETURNS: the passage with these types, the mentions that have them, and those of which that is unknown.
    """
    asked = tuple(sorted(names))
    by_types: dict[tuple[str, ...], list[tuple[int, int]]] = defaultdict(list)
    for run, types in runs_of(passage).items():
        by_types[types].append(run)
    verdicts: dict[str, list[Mention]] = {"yes": [], "unknown": [], "no": []}
    for types, runs in by_types.items():
        for name in asked:
            verdict = hierarchy.judge(name, types)
            if verdict != "no":
                verdicts[verdict].extend(Mention(start, end, name) for start, end in runs)
    return Passage(passage.words, asked, tuple(verdicts["yes"]), tuple(verdicts["unknown"]), passage.source)


def ask_held_out(
    held_out: Sequence[Passage], unseen: frozenset[str], hierarchy: Hierarchy, *, n_negatives: int, seed: int
) -> list[Passage]:
    """Ask held-out passages for types that no training passage mentions.

    Asked are the passage's own unseen types, its absent ones, and some of the others' unseen types; of these only
    such as are clearly yes or no for every mention.

    n_negatives: how many of the other passages' types are drawn for each.
    RETURNS: those passages of which anything can be asked.
    """
    rng = random.Random(seed)
    candidates = sorted(unseen)
    known = frozenset(hierarchy.broad).union(*hierarchy.broad.values())
    questions = []
    for passage in held_out:
        mentioned = [mention.type for mention in passage.mentions if mention.type in unseen]
        absent = [type_ for type_ in passage.types if type_ in unseen or type_ not in known]
        names = {*mentioned, *absent, *rng.sample(candidates, min(n_negatives, len(candidates)))}
        marked = set(runs_of(passage).values())
        clear = [
            name
            for name in sorted(names)
            if all(name in types or hierarchy.judge(name, types) == "no" for types in marked)
        ]
        if clear:
            mentions = tuple(mention for mention in passage.mentions if mention.type in clear)
            questions.append(Passage(passage.words, tuple(clear), mentions, (), passage.source))
    return questions
