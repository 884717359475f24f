"""Annotation runs of the same texts: two prompts, or several samples of one prompt. What they agree on is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Literal

from spacy.scorer import PRFScore

from ..passages import Mention, Passage
from ..spans import resolve_overlaps
from .ledger import Step, open_step
from .quality import score_pairs

Keep = Literal["primary", "all", "majority"]
Place = tuple[int, int, str]


@dataclass(frozen=True, slots=True)
class Run:
    """What one prompt, or one sample of it, annotated.

    name: as it is shown, such as that of its file.
    passages: one a text; sorted by source.
    losses: what the reader lost, by reason.
    step: what became of mentions that overlap within the run.
    """

    name: str
    passages: tuple[Passage, ...]
    losses: Mapping[str, int] = field(default_factory=dict)
    step: Step = field(default_factory=lambda: Step("overlaps within the run", 0, 0))


def make_run(name: str, passages: Sequence[Passage], losses: Mapping[str, int], labels: Sequence[str]) -> Run:
    """Make a run of what was annotated, without mentions that overlap: the longest stays, of equally long ones the
    first; of two labels on the same words the first in the alphabet.

    RAISES: ValueError if there is nothing, a text has no id or stands twice, or another label was asked.
    """
    if not passages:
        lost = ", ".join(f"{n:,} {reason}" for reason, n in sorted(losses.items())) or "nothing was lost on the way"
        raise ValueError(f"Run '{name}' holds no annotated text ({lost}). Is it the file that the teacher wrote?")
    twice = [source for source, n in Counter(passage.source for passage in passages).items() if n > 1]
    if twice or not all(passage.source for passage in passages):
        found = f"annotates text '{min(twice)}' more than once" if twice else "has a text without an id"
        raise ValueError(f"Run '{name}' {found}. Give each text one id, and each sample a file of its own.")
    step = open_step("overlaps within the run", passages)
    flat = []
    for passage in sorted(passages, key=lambda passage: passage.source):
        if set(passage.types) != set(labels):
            raise ValueError(
                f"Run '{name}', text '{passage.source}' was asked {', '.join(sorted(passage.types)) or 'nothing'}, but "
                f"the labels are {', '.join(sorted(labels))}. Give the labels that the teacher was asked."
            )
        kept = resolve_overlaps(passage.mentions, "flat")
        left = list(kept)
        for mention in passage.mentions:
            if mention in left:
                left.remove(mention)
            else:
                step.lose_mention("given twice" if mention in kept else "overlaps another mention", passage, mention)
        flat.append(replace(passage, mentions=kept))
    step.close(flat)
    return Run(name, tuple(flat), losses, step)


def agree(runs: Sequence[Run], keep: Keep, share: float) -> tuple[list[Passage], Step]:
    """Bring runs together, text by text.

    "primary": what the first run says. "majority": mentions, words and label, that at least a share of the runs that
    annotated the text have; where two of them overlap, that of more runs stays, then that of the earlier run, then
    the longer. A text that less than that share of all runs annotated is left out: of what nobody was asked, nobody
    says that it has no mention. "all": as "majority" with a share of 1.

    RETURNS: the passages, sorted by source, scores being shares of runs; and the step. Its mentions are those that any
        run has, each once.
    RAISES: ValueError if runs have other words under one id.
    """
    needed = 1.0 if keep == "all" else share
    by_source = join(runs)
    step = Step("agreement", len(by_source), sum(len(count_votes(sides)) for sides in by_source.values()))
    kept = []
    for sides in by_source.values():
        passage = next(iter(sides.values()))
        votes = count_votes(sides)
        if keep == "primary" and 0 not in sides:
            step.lose_text("not annotated by the primary run", passage, len(votes))
        elif keep != "primary" and is_less(len(sides), needed, len(runs)):
            step.lose_text("annotated by too few runs", passage, len(votes))
        else:
            places = choose_primary(sides, step) if keep == "primary" else choose_voted(sides, needed, step)
            mentions = (Mention(*place, score=len(votes[place]) / len(sides)) for place in sorted(places))
            kept.append(replace(passage, mentions=tuple(mentions)))
    step.close(kept)
    return kept, step


def is_less(n_votes: int, share: float, n_runs: int) -> bool:
    """Tell whether so many votes are less than a share of the runs, whatever floats make of thirds."""
    return n_votes < share * n_runs - 1e-9


def join(runs: Sequence[Run]) -> dict[str, dict[int, Passage]]:
    """Give for each source, sorted, its passage in each run that has it.

    RAISES: ValueError if runs have other words under one id.
    """
    by_source: dict[str, dict[int, Passage]] = {}
    for n, run in enumerate(runs):
        for passage in run.passages:
            sides = by_source.setdefault(passage.source, {})
            sides[n] = passage
            first = next(iter(sides))
            if sides[first].words != passage.words:
                raise ValueError(
                    f"Text '{passage.source}' has other words in run '{run.name}' than in '{runs[first].name}'. "
                    "Annotate the same texts in all runs, cut into words by the same tokenizer."
                )
    return dict(sorted(by_source.items()))


def count_votes(sides: Mapping[int, Passage]) -> dict[Place, list[int]]:
    """Give for each mention of a text the runs that have it."""
    votes: dict[Place, list[int]] = {}
    for n, passage in sides.items():
        for mention in passage.mentions:
            votes.setdefault((mention.start, mention.end, mention.type), []).append(n)
    return votes


def choose_primary(sides: Mapping[int, Passage], step: Step) -> list[Place]:
    """Give what the first run has, and count what only others have."""
    votes = count_votes(sides)
    for place in sorted(votes):
        if 0 not in votes[place]:
            step.lose_mention("not in the primary run", sides[0], Mention(*place))
    return [place for place, voters in votes.items() if 0 in voters]


def choose_voted(sides: Mapping[int, Passage], needed: float, step: Step) -> list[Place]:
    """Give what enough runs have, no two overlapping, and count the rest."""
    passage = next(iter(sides.values()))
    votes = count_votes(sides)
    chosen: list[Place] = []
    for place in sorted(votes, key=lambda place: (-len(votes[place]), votes[place], place[0] - place[1], place)):
        if is_less(len(votes[place]), needed, len(sides)):
            step.lose_mention("in too few runs", passage, Mention(*place))
        elif any(place[0] < end and start < place[1] for start, end, _ in chosen):
            step.lose_mention("overlaps a mention that was kept", passage, Mention(*place))
        else:
            chosen.append(place)
    return chosen


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two runs agree on the texts that both annotated.

    runs: their names.
    n_texts: how many texts both annotated.
    scores: for each label, the first run held against the second; F1 is the same either way.
    """

    runs: tuple[str, str]
    n_texts: int
    scores: Mapping[str, PRFScore]


def measure_agreement(runs: Sequence[Run], labels: Sequence[str]) -> list[Agreement]:
    """Measure for each pair of runs the agreement on mentions: F1, words and label exact.

    Not Cohen's kappa: it needs the number of runs of words that both leave unmarked, which is as large as one likes.
    As that number grows, kappa becomes this F1.

    SOURCE: Hripcsak & Rothschild 2005, Agreement, the F-Measure, and Reliability in Information Retrieval.
    """
    measured = []
    for left, right in combinations(runs, 2):
        by_source = {passage.source: passage for passage in right.passages}
        pairs = [(by_source[p.source], p) for p in left.passages if p.source in by_source]
        measured.append(Agreement((left.name, right.name), len(pairs), score_pairs(pairs, labels)))
    return measured


def count_by_votes(runs: Sequence[Run]) -> dict[int, int]:
    """Count the mentions that so many runs have, among texts that all runs annotated."""
    counts: Counter[int] = Counter()
    for sides in join(runs).values():
        if len(sides) == len(runs):
            counts.update(len(voters) for voters in count_votes(sides).values())
    return dict(sorted(counts.items()))
