"""Scores Examples with what the component wrote."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from spacy.scorer import Scorer, get_ner_prf
from spacy.training import Example

from ..docs import SPANS_KEY


@dataclass(frozen=True)
class UniversalNERScorer:
    """Scores `doc.ents` as spaCy's `ner`, and the component's span group with overlaps allowed."""

    def __call__(self, examples: Iterable[Example], *, spans_key: str = SPANS_KEY, **kwargs: Any) -> dict[str, Any]:
        """Give `ents_p/r/f` with `ents_per_type`, and the same for `spans_<spans_key>`: exact span and label."""
        examples = list(examples)
        attr = f"spans_{spans_key}"
        scores: dict[str, Any] = get_ner_prf(examples)
        scores.update(
            Scorer.score_spans(
                examples,
                attr,
                allow_overlap=True,
                getter=lambda doc, _: doc.spans.get(spans_key, []),
                has_annotation=lambda doc: spans_key in doc.spans,
            )
        )
        return scores


def make_universal_ner_scorer() -> UniversalNERScorer:
    """Make the scorer for a config."""
    return UniversalNERScorer()
