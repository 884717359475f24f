"""A threshold for each label, searched on gold Examples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from spacy.training import Example

from .passages import Mention
from .pipeline import DEFAULT_THRESHOLD, Candidates, UniversalNER

Span = tuple[int, int, str]

LOWEST = 0.05


@dataclass(frozen=True, slots=True)
class LabelScore:
    """How well a label is found.

    label: the label.
    threshold: the threshold it was found with.
    precision, recall, f1: of exact spans, in [0, 1].
    n_gold: how many spans of it are in the gold annotation.
    """

    label: str
    threshold: float
    precision: float
    recall: float
    f1: float
    n_gold: int


def search_thresholds(
    component: UniversalNER,
    examples: Iterable[Example],
    *,
    step: float = 0.05,
    n_rounds: int = 2,
    progress: Callable[[list[str]], Iterable[str]] = iter,
) -> list[LabelScore]:
    """Search for each label the threshold with which micro-F1 over all labels is highest.

    The student reads the texts once. Then one label after the other is moved, in several rounds, since where labels
    compete for a span the threshold of one changes what the others find. Of equally good thresholds the one nearest
    to the component's own is taken; a label without gold spans keeps that one.

    examples: gold Examples; their entities count.
    step: between two thresholds that are tried.
    n_rounds: how often every label is moved.
    progress: wraps the labels that are gone through, for a progress bar.
    RETURNS: one score for each label of the component, in its order.
    RAISES: ValueError if there are no labels or no Examples, or a setting is out of its range.
    """
    examples = list(examples)
    if not component.labels or not examples:
        raise ValueError(
            f"Thresholds need labels and gold Examples, got {len(component.labels)} and {len(examples)}. "
            "Set the component's labels, or check the path of the data."
        )
    if not 0.0 < step < 1.0 or n_rounds < 1:
        raise ValueError(f"Thresholds need 0 < step < 1 and n_rounds >= 1, got {step} and {n_rounds}.")
    found = list(component.find_candidates((example.predicted for example in examples), LOWEST))
    gold = [_gold(example) for example in examples]
    own = component.cfg["threshold"]
    thresholds = {
        label: own.get(label, DEFAULT_THRESHOLD) if isinstance(own, dict) else own for label in component.labels
    }
    tried = [LOWEST + i * step for i in range(int((1.0 - LOWEST) / step))]
    to_move = [label for label in component.labels if any(label == span[2] for spans in gold for span in spans)]
    for label in progress(to_move * n_rounds):
        middle = thresholds[label]
        values = sorted({middle, *(round(value, 4) for value in tried)}, key=lambda value: abs(value - middle))
        thresholds[label] = max(
            values, key=lambda value: _micro_f1(component, found, gold, {**thresholds, label: value})
        )
    return [_score(label, thresholds, component, found, gold) for label in component.labels]


def _gold(example: Example) -> set[Span]:
    """Give the gold entities in words of the predicted Doc."""
    aligned = example.get_aligned_spans_y2x(example.reference.ents, allow_overlap=False)
    return {(span.start, span.end, span.label_) for span in aligned}


def _spans(mentions: Iterable[Mention]) -> set[Span]:
    return {(mention.start, mention.end, mention.type) for mention in mentions}


def _micro_f1(
    component: UniversalNER, found: Sequence[Candidates], gold: Sequence[set[Span]], thresholds: dict[str, float]
) -> float:
    n_right = n_found = n_gold = 0
    for candidates, right in zip(found, gold, strict=True):
        spans = _spans(component.choose(candidates, thresholds))
        n_right += len(spans & right)
        n_found += len(spans)
        n_gold += len(right)
    return 2.0 * n_right / max(1, n_found + n_gold)


def _score(
    label: str,
    thresholds: dict[str, float],
    component: UniversalNER,
    found: Sequence[Candidates],
    gold: Sequence[set[Span]],
) -> LabelScore:
    n_right = n_found = n_gold = 0
    for candidates, right in zip(found, gold, strict=True):
        spans = {span for span in _spans(component.choose(candidates, thresholds)) if span[2] == label}
        expected = {span for span in right if span[2] == label}
        n_right += len(spans & expected)
        n_found += len(spans)
        n_gold += len(expected)
    return LabelScore(
        label=label,
        threshold=thresholds[label],
        precision=n_right / max(1, n_found),
        recall=n_right / max(1, n_gold),
        f1=2.0 * n_right / max(1, n_found + n_gold),
        n_gold=n_gold,
    )
