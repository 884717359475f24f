"""The component `universal_ner`: entities of any type, asked for by name or by description."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from spacy.language import Language
from thinc.api import Config, Model

from ..docs import SPANS_KEY
from ..passages import Passage
from ..spans import Overlap
from .component import Candidates, UniversalNER
from .settings import DEFAULT_THRESHOLD, Ents

if TYPE_CHECKING:
    from ..students import StudentOutput

__all__ = ["DEFAULT_CONFIG", "DEFAULT_THRESHOLD", "Candidates", "UniversalNER", "make_universal_ner"]

DEFAULT_CONFIG = f"""
[universal_ner]
labels = []
threshold = {DEFAULT_THRESHOLD}
overlap = "flat"
ents = "overwrite"
spans_key = "universal_ner"

[universal_ner.model]
@architectures = "spacy_uniner.Encoder.v1"
name = "en_uniner_sm"
precision = "auto"

[universal_ner.scorer]
@scorers = "spacy_uniner.universal_ner_scorer.v1"
"""


@Language.factory(
    "universal_ner",
    assigns=["doc.ents", "token.ent_iob", "token.ent_type", "doc.spans"],
    default_config=Config().from_str(DEFAULT_CONFIG)["universal_ner"],
    default_score_weights={
        "ents_f": 1.0,
        "ents_p": 0.0,
        "ents_r": 0.0,
        "ents_per_type": None,
        f"spans_{SPANS_KEY}_f": 0.0,
        f"spans_{SPANS_KEY}_p": 0.0,
        f"spans_{SPANS_KEY}_r": 0.0,
        f"spans_{SPANS_KEY}_per_type": None,
    },
)
def make_universal_ner(
    nlp: Language,
    name: str,
    model: Model[list[Passage], StudentOutput],
    labels: list[str] | dict[str, str],
    threshold: float | dict[str, float],
    overlap: Overlap,
    ents: Ents,
    spans_key: str,
    scorer: Callable[..., dict[str, Any]] | None,
) -> UniversalNER:
    """Make the component for a config; see `UniversalNER`."""
    return UniversalNER(
        nlp.vocab,
        model,
        name,
        labels=labels,
        threshold=threshold,
        overlap=overlap,
        ents=ents,
        spans_key=spans_key,
        scorer=scorer,
    )
