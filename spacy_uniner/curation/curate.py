"""The whole way from annotation runs to a corpus, and its report."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from spacy.scorer import PRFScore

from ..passages import Passage
from .agreement import Agreement, Keep, Run, agree, count_by_votes, measure_agreement
from .filters import (
    Contradiction,
    count_labels,
    drop_contradictions,
    filter_mentions,
    filter_texts,
    find_contradictions,
)
from .ledger import Step, count_mentions
from .quality import Quality, measure_quality, pair_with_gold


@dataclass(frozen=True, slots=True)
class Settings:
    """What is kept.

    keep: "primary" (what the first run says), "all" (what all runs say) or "majority"; see `agreement.agree`.
    share: for "majority", the least share of runs that must have a mention.
    max_mention_words: the longest mention, in words.
    min_words, max_words: the length that a text may have, in words.
    drop_contradicted: leave out texts in which a surface form has another label than in most texts.
    dev_share: the share of texts that is written as dev.spacy; 0 for none.
    seed: of the choice of these.
    RAISES: ValueError if one is out of its range.
    """

    keep: Keep = "primary"
    share: float = 0.5
    max_mention_words: int = 12
    min_words: int = 1
    max_words: int = 1000
    drop_contradicted: bool = False
    dev_share: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.keep not in ("primary", "all", "majority"):
            raise ValueError(f"keep must be 'primary', 'all' or 'majority', got '{self.keep}'.")
        if not 0.0 < self.share <= 1.0 or not 0.0 <= self.dev_share < 1.0:
            raise ValueError(
                f"The share of runs must be in (0, 1] and that of dev in [0, 1), got {self.share} and {self.dev_share}."
            )
        if self.max_mention_words < 1 or not 1 <= self.min_words <= self.max_words:
            raise ValueError(
                "Lengths in words need max_mention_words >= 1 and 1 <= min_words <= max_words, got "
                f"{self.max_mention_words}, {self.min_words} and {self.max_words}."
            )


@dataclass(frozen=True, slots=True)
class Curation:
    """What became of annotation runs.

    train, dev: the corpus; sorted by source.
    steps: from all texts and mentions of the runs to those of the corpus.
    votes: for a number of runs, how many mentions just so many have, among texts that all annotated.
    agreement: of each pair of runs.
    quality: of each run, also on the texts that all share, and of the corpus, where there is gold.
    contradictions: surface forms that have several labels, among the mentions that agreement and filters left.
    """

    labels: tuple[str, ...]
    settings: Settings
    runs: tuple[Run, ...]
    train: tuple[Passage, ...]
    dev: tuple[Passage, ...]
    steps: tuple[Step, ...]
    votes: dict[int, int]
    agreement: tuple[Agreement, ...]
    quality: tuple[Quality, ...]
    contradictions: tuple[Contradiction, ...]

    @property
    def corpus(self) -> tuple[Passage, ...]:
        """Both parts, sorted by source."""
        return tuple(sorted((*self.train, *self.dev), key=lambda passage: passage.source))


def curate(
    runs: Sequence[Run], labels: Sequence[str], settings: Settings, gold: Sequence[Passage] | None = None
) -> Curation:
    """Make a corpus of annotation runs. Gold is only measured against, never kept.

    RAISES: ValueError if nothing is left, or a label has no mention left to train on; as `agree` and
        `measure_quality`.
    """
    passages, agreed = agree(runs, settings.keep, settings.share)
    passages, texts = filter_texts(passages, settings.min_words, settings.max_words)
    passages, mentions = filter_mentions(passages, settings.max_mention_words)
    contradictions = find_contradictions(passages)
    steps = [agreed, texts, mentions]
    if settings.drop_contradicted:
        passages, contradicted = drop_contradictions(passages, contradictions)
        steps.append(contradicted)
    train, dev = split(passages, settings.dev_share, settings.seed)
    check_corpus(train, labels, steps)
    measured = []
    if gold is not None:
        shared = [run for run in share_texts(runs) if pair_with_gold(run.passages, gold)]
        sides = [(run.name, run.passages) for run in (*runs, *shared)]
        measured = [measure_quality(name, gold, side, labels) for name, side in (*sides, ("the corpus", passages))]
    return Curation(
        tuple(labels),
        settings,
        tuple(runs),
        tuple(train),
        tuple(dev),
        tuple(steps),
        count_by_votes(runs),
        tuple(measure_agreement(runs, labels)),
        tuple(measured),
        tuple(contradictions),
    )


def share_texts(runs: Sequence[Run]) -> list[Run]:
    """Give the runs with just the texts that all of them annotated, so that they can be compared; none if all are."""
    sources = [{passage.source for passage in run.passages} for run in runs]
    shared = sources[0].intersection(*sources)
    if not shared or all(of_run == shared for of_run in sources):
        return []
    return [
        replace(run, name=f"{run.name}, shared texts", passages=tuple(p for p in run.passages if p.source in shared))
        for run in runs
    ]


def split(passages: Sequence[Passage], dev_share: float, seed: int) -> tuple[list[Passage], list[Passage]]:
    """Draw texts for dev; if a share of them is asked, at least one. Both parts keep their order."""
    n_dev = max(1, round(dev_share * len(passages))) if dev_share and passages else 0
    drawn = set(random.Random(seed).sample(range(len(passages)), n_dev))
    return (
        [passage for n, passage in enumerate(passages) if n not in drawn],
        [passage for n, passage in enumerate(passages) if n in drawn],
    )


def check_corpus(train: Sequence[Passage], labels: Sequence[str], steps: Sequence[Step]) -> None:
    """Check that there is something to learn of each label.

    RAISES: ValueError if there is no text to train on, or a label has no mention there.
    """
    lost = [
        f"{loss.n_texts:,} texts and {loss.n_mentions:,} mentions: {r}" for s in steps for r, loss in s.losses.items()
    ]
    why = f"Lost were: {'; '.join(lost) or 'none'}."
    if not train:
        raise ValueError(
            f"No text is left to train on, of {steps[0].n_texts:,}. {why} Annotate more texts, keep what fewer runs "
            "say, or filter less."
        )
    missing = [label for label, n in count_labels(train, labels).items() if not n]
    if missing:
        raise ValueError(
            f"No mention of {', '.join(missing)} is left in the {len(train):,} texts to train on. {why} Annotate texts "
            "that have some, keep what fewer runs say, take a smaller share for dev, or leave the label out of the "
            "question."
        )


def make_report(curation: Curation) -> dict[str, Any]:
    """Give all counts and measures as what JSON can hold."""
    return {
        "labels": list(curation.labels),
        "settings": asdict(curation.settings),
        "runs": [
            {"run": run.name, "losses of the reader": dict(sorted(run.losses.items())), **run.step.to_dict()}
            for run in curation.runs
        ],
        "steps": [step.to_dict() for step in curation.steps],
        "mentions by number of runs": {str(n): n_mentions for n, n_mentions in curation.votes.items()},
        "agreement": [
            {"runs": list(one.runs), "texts": one.n_texts, "scores": report_agreement(one)}
            for one in curation.agreement
        ],
        "quality": [
            {
                "annotation": one.name,
                "texts": one.n_texts,
                "texts without gold": one.n_without_gold,
                "scores": report_scores(one.scores),
                "errors": dict(one.errors),
                "wrong labels": {f"{gold} as {found}": n for (gold, found), n in sorted(one.confusions.items())},
            }
            for one in curation.quality
        ],
        "contradictions": [asdict(one) for one in curation.contradictions],
        "corpus": {
            "train": report_part(curation.train, curation.labels),
            "dev": report_part(curation.dev, curation.labels),
        },
    }


def with_total(scores: Mapping[str, PRFScore]) -> dict[str, PRFScore]:
    """Give scores by label, and of all mentions together."""
    return {**scores, "all": sum(scores.values(), PRFScore())}


def report_agreement(one: Agreement) -> dict[str, dict[str, float | int | None]]:
    """Give F1 and the mentions that both runs have, or one alone; None where neither has any."""
    return {
        name: {
            "f1": round(score.fscore, 4) if len(score) else None,
            "both": score.tp,
            f"only {one.runs[0]}": score.fp,
            f"only {one.runs[1]}": score.fn,
        }
        for name, score in with_total(one.scores).items()
    }


def report_scores(scores: Mapping[str, PRFScore]) -> dict[str, dict[str, float | int | None]]:
    """Give scores by label and of all mentions together; None where there is nothing to score."""
    return {
        name: {
            "precision": round(score.precision, 4) if score.tp + score.fp else None,
            "recall": round(score.recall, 4) if score.tp + score.fn else None,
            "f1": round(score.fscore, 4) if len(score) else None,
            "correct": score.tp,
            "not gold": score.fp,
            "not annotated": score.fn,
        }
        for name, score in with_total(scores).items()
    }


def report_part(passages: Sequence[Passage], labels: Sequence[str]) -> dict[str, Any]:
    """Say what is in a part of the corpus."""
    return {
        "texts": len(passages),
        "texts without mention": sum(not passage.mentions for passage in passages),
        "words": sum(len(passage.words) for passage in passages),
        "mentions": count_mentions(passages),
        "mentions by label": count_labels(passages, labels),
    }
