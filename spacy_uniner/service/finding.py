"""Texts in, entities out: a batch of texts, each with settings of its own, through one pass of the pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spacy.language import Language

from ..passages import Mention
from ..pipeline import UniversalNER
from ..pipeline.settings import Thresholds, find_lowest
from ..spans import Overlap


@dataclass(frozen=True, slots=True)
class Question:
    """A text and what is asked of it.

    text: the text.
    types: for each label what the student reads.
    threshold: the lowest score that is accepted, or one for each label.
    overlap: what becomes of mentions that overlap.
    """

    text: str
    types: dict[str, str]
    threshold: Thresholds
    overlap: Overlap


@dataclass(frozen=True, slots=True)
class Entity:
    """A mention in a text: `text[start:end]`, offsets in characters."""

    start: int
    end: int
    text: str
    label: str
    score: float


class Finder:
    """Finds what `nlp(text)` would put into the component's span group, in batches of texts with different settings.

    The student reads a batch once, with the lowest of all thresholds; then every text's own threshold and overlap
    choose among what it found, as the component does. Components before `universal_ner` run, for they may change the
    words; those behind it do not. What spaCy keeps of words is freed after every batch. One thread at a time.

    nlp: a pipeline, which nobody else uses meanwhile.
    name: of its component.
    RAISES: ValueError if the pipeline has no such component.
    """

    def __init__(self, nlp: Language, name: str = "universal_ner") -> None:
        component = nlp.get_pipe(name) if name in nlp.pipe_names else None
        if not isinstance(component, UniversalNER):
            raise ValueError(
                f"The pipeline has no universal_ner named '{name}', only: {', '.join(nlp.pipe_names) or 'nothing'}. "
                "Add it with nlp.add_pipe('universal_ner')."
            )
        self.component = component
        self._nlp = nlp
        self._left_out = nlp.pipe_names[nlp.pipe_names.index(name) :]

    def __call__(self, questions: Sequence[Question]) -> list[list[Entity]]:
        """Find the entities of each text, sorted by start, end and label."""
        floor = min((find_lowest(question.threshold) for question in questions), default=1.0)
        with self._nlp.memory_zone():
            docs = [self._nlp.make_doc(question.text) for question in questions]
            for doc, question in zip(docs, questions, strict=True):
                doc._.entity_types = question.types
            docs = list(self._nlp.pipe(docs, disable=self._left_out))
            found = []
            for doc, question, candidates in zip(
                docs, questions, self.component.find_candidates(docs, floor), strict=True
            ):
                mentions = self.component.choose(candidates, question.threshold, question.overlap)
                bounds = [(token.idx, token.idx + len(token)) for token in doc]
                found.append([_to_entity(mention, question.text, bounds) for mention in mentions])
        return found


def _to_entity(mention: Mention, text: str, bounds: Sequence[tuple[int, int]]) -> Entity:
    start, end = bounds[mention.start][0], bounds[mention.end - 1][1]
    return Entity(start, end, text[start:end], mention.type, mention.score)
