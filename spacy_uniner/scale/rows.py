"""Texts to rows: the pipeline, loaded once, and what it finds: offsets in characters, labels, scores."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any, cast

import spacy
from spacy.language import Language
from spacy.tokens import Doc, Span

from .records import find_problem

if TYPE_CHECKING:
    import pandas

BATCH_SIZE = 64  # texts
FAILS_AT_ALL = 8  # texts; where so many fail one after another, it is not the texts


class PipelineFails(RuntimeError):
    """The pipeline fails whatever it is given."""


class FindEntities:
    """Finds entities in batches of rows: for `map_batches` of Ray Data and `mapInPandas` of Spark.

    The pipeline is loaded once, where the object is made: on the worker.

    model: name or folder of a spaCy pipeline; "" for a blank English one with `universal_ner`.
    types: the types to find; if none are given, those that `universal_ner` was saved with.
    threshold: the lowest score that `universal_ner` accepts, in [0, 1]; None for its own.
    text_key: the column with the text.
    RAISES: ValueError if types or a threshold are given, but the pipeline has no `universal_ner`, if one is there but
        no types are, or if the threshold is out of range.
    """

    def __init__(
        self, model: str = "", types: Sequence[str] = (), *, threshold: float | None = None, text_key: str = "text"
    ) -> None:
        self.text_key = text_key
        self.nlp = load_pipeline(model, types, threshold)
        self._keys = tuple(dict.fromkeys(component.cfg["spans_key"] for component in find_components(self.nlp)))
        self._failed: list[tuple[Doc, str]] = []
        cast(Any, self.nlp).set_error_handler(self._take_note)

    def __call__(self, batch: pandas.DataFrame) -> pandas.DataFrame:
        """Add the columns `entities`, a list for each text, and `problem`: why a text was not read, else ""."""
        texts = list(batch[self.text_key])
        problems = [find_problem(text, self.nlp.max_length) for text in texts]
        good = [n for n, problem in enumerate(problems) if not problem]
        entities: list[list[dict[str, Any]]] = [[] for _ in texts]
        with self.nlp.memory_zone():
            for first in range(0, len(good), BATCH_SIZE):
                places = good[first : first + BATCH_SIZE]
                for place, (rows, problem) in zip(places, self._to_rows([texts[n] for n in places])):
                    entities[place], problems[place] = rows, problem
        return batch.assign(entities=entities, problem=problems)

    def read(self, texts: Sequence[str | Doc]) -> list[Doc | str]:
        """Run the pipeline on a batch; one text that fails does not take the others with it.

        texts: or Docs, which keep their words.
        RETURNS: for each the Doc; or why the pipeline fails on that text.
        RAISES: PipelineFails if it does on all of many texts.
        """
        found: list[Doc | str] = ["" for _ in texts]
        self._run(texts, range(len(texts)), found)
        again = [n for n, result in enumerate(found) if isinstance(result, str)] if len(texts) > 1 else []
        for n in again:  # many components give up a batch for one text of it
            self._run(texts, [n], found)
        failed = [result for result in found if isinstance(result, str)]
        if len(failed) == len(texts) >= FAILS_AT_ALL:
            raise PipelineFails(f"The pipeline fails on all {len(failed)} texts of a batch. The first: {failed[0]}.")
        return found

    def entities_of(self, doc: Doc) -> list[dict[str, Any]]:
        """Give what was found in a Doc: by `universal_ner` with scores; in a pipeline without it, the entities."""
        if not self._keys:
            return [_to_row(span, None) for span in doc.ents]
        groups = [doc.spans[key] for key in self._keys if key in doc.spans]
        return [_to_row(span, score) for group in groups for span, score in zip(group, group.attrs["scores"])]

    def _to_rows(self, texts: Sequence[str]) -> list[tuple[list[dict[str, Any]], str]]:
        """Give the entities of each text, and what is wrong with it; no Doc outlives this call and its memory zone."""
        return [(self.entities_of(one), "") if isinstance(one, Doc) else ([], one) for one in self.read(texts)]

    def _run(self, texts: Sequence[str | Doc], places: Sequence[int], found: list[Doc | str]) -> None:
        self._failed.clear()
        docs = [self.nlp.make_doc(text) if isinstance(text := texts[n], str) else text for n in places]
        for doc, n in self.nlp.pipe(zip(docs, places), as_tuples=True, batch_size=BATCH_SIZE):
            found[n] = doc
        for n, doc in zip(places, docs):
            reasons = [reason for failed, reason in self._failed if failed is doc]
            if reasons:
                found[n] = reasons[0]
        self._failed.clear()

    def _take_note(self, name: str, component: Any, docs: list[Doc], err: Exception) -> None:
        if isinstance(err, OSError):  # a server or a disk, not the text
            raise err
        self._failed.extend((doc, f"'{name}' raised {type(err).__name__}: {err}") for doc in docs)


def load_pipeline(model: str, types: Sequence[str], threshold: float | None) -> Language:
    """Load a pipeline, and set what its `universal_ner` is to find; see `FindEntities`."""
    if model:
        nlp = spacy.load(model)
    else:
        nlp = spacy.blank("en")
        nlp.add_pipe("universal_ner")
    components = find_components(nlp)
    if not components and (types or threshold is not None):
        raise ValueError(
            f"'{model}' has no universal_ner that types or a threshold could be for. It has: "
            f"{', '.join(nlp.pipe_names) or 'no components'}. Leave them out, or name another pipeline."
        )
    if threshold is not None and not 0.0 <= threshold <= 1.0:
        raise ValueError(f"The threshold is {threshold}, expected a score in [0, 1].")
    for component in components:
        if types:
            component.labels = list(types)
        if threshold is not None:
            component.cfg["threshold"] = threshold
        if not component.labels:
            raise ValueError(f"'{component.name}' was given no types to find. Give some, such as: city, person.")
    return nlp


def find_components(nlp: Language) -> list[Any]:
    """Find what `universal_ner` made in a pipeline, whatever it is called there."""
    return [nlp.get_pipe(name) for name in nlp.pipe_names if nlp.get_pipe_meta(name).factory == "universal_ner"]


def take_fingerprint(nlp: Language) -> str:
    """Give a checksum of all in a pipeline that decides what it finds: config, weights, vectors, types, threshold."""
    digest = sha256(nlp.to_bytes(exclude=["vocab"]))
    digest.update(nlp.vocab.vectors.to_bytes())
    return digest.hexdigest()


def _to_row(span: Span, score: float | None) -> dict[str, Any]:
    return {
        "start": span.start_char,
        "end": span.end_char,
        "label": span.label_,
        "score": None if score is None else round(float(score), 4),
        "text": span.text,
    }
