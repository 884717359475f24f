"""The component itself: labels, prediction, annotation, training.

Over 300 lines, since spaCy asks for all of it on one class.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

import numpy
from spacy.language import Language
from spacy.pipeline import TrainablePipe
from spacy.tokens import Doc, Span, SpanGroup
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.util import minibatch
from spacy.vocab import Vocab
from thinc.api import Model, Optimizer, set_dropout_rate

from ..docs import SPANS_KEY, doc_to_passage, example_to_passage, register_extensions
from ..passages import Mention, Passage
from ..spans import Overlap, resolve_overlaps
from .settings import DEFAULT_THRESHOLD, Ents, Labels, Thresholds, check_labels, check_threshold, find_lowest

if TYPE_CHECKING:
    from ..students import StudentOutput

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Candidates:
    """What a student found in a Doc, in labels, before any choice.

    mentions: all that scored above the floor; they may overlap.
    implied: pairs (narrow, wide) of labels where being narrow implies being wide.
    """

    mentions: tuple[Mention, ...]
    implied: frozenset[tuple[str, str]]


class UniversalNER(TrainablePipe):
    """Finds entities of any type.

    Every accepted mention goes into `doc.spans[spans_key]`, with the scores in the group's `attrs["scores"]`, and,
    unless `ents` is "off", into `doc.ents`. The types may be given anew at every call, and for a Doc by
    `doc._.entity_types`.

    vocab: the shared vocabulary.
    model: a student, such as `spacy_uniner.Encoder.v1`.
    name: name of the component.
    labels: the types to find; a mapping gives each a description, which the student reads in place of the label.
    threshold: the lowest score that is accepted, in [0, 1]; or one for each label (the default for the others).
    overlap: "flat": no two mentions share a word; "nested": one may lie within another, with one label a span; "any":
        all. Unless all stay, of two labels on one span of which one implies the other, the specific one stays.
    ents: "overwrite" replaces the entities that are there; "extend" keeps them, and what is blocked, and adds those
        that fit between; "off" leaves them alone.
    spans_key: the span group to write to.
    scorer: scores Examples.
    RAISES: ValueError if a setting is out of its range, a label is blank or given twice, or a threshold is for an
        unknown label.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: Model[list[Passage], StudentOutput],
        name: str = "universal_ner",
        *,
        labels: Labels = (),
        threshold: Thresholds = DEFAULT_THRESHOLD,
        overlap: Overlap = "flat",
        ents: Ents = "overwrite",
        spans_key: str = SPANS_KEY,
        scorer: Callable[..., dict[str, Any]] | None = None,
    ) -> None:
        for setting, value, values in (("overlap", overlap, get_args(Overlap)), ("ents", ents, get_args(Ents))):
            if value not in values:
                raise ValueError(f"'{name}': {setting} is '{value}', expected one of: {', '.join(values)}.")
        texts = check_labels(labels, name)
        check_threshold(threshold, texts, name)
        self.vocab = vocab
        self.model = model
        self.name = name
        self.scorer = scorer
        self.cfg: dict[str, Any] = {
            "labels": texts,
            "threshold": threshold,
            "overlap": overlap,
            "ents": ents,
            "spans_key": spans_key,
        }
        self._rehearsal_model: Model[list[Passage], StudentOutput] | None = None
        self.n_misaligned = 0
        self.n_not_asked = 0
        self.n_cut = 0
        register_extensions()

    # Labels

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels to find, in the order in which they were given. Assign a list or a mapping to change them."""
        return tuple(self.cfg["labels"])

    @labels.setter
    def labels(self, labels: Labels) -> None:
        self.cfg["labels"] = check_labels(labels, self.name)

    @property
    def label_data(self) -> dict[str, str]:
        """The labels and what the student reads of each, for `spacy init labels`."""
        return dict(self.cfg["labels"])

    def add_label(self, label: str, description: str | None = None) -> int:
        """Add a label.

        RETURNS: 1 if it is new, else 0.
        RAISES: ValueError if it is blank, or its description is already another's.
        """
        if label in self.cfg["labels"]:
            return 0
        self.labels = {**self.cfg["labels"], label: label if description is None else description}
        return 1

    # Prediction

    def __call__(self, doc: Doc, *, labels: Labels | None = None, batch_size: int = 1) -> Doc:
        """Find entities in a Doc.

        labels: find these instead of the component's own.
        batch_size: passed over; `nlp.pipe` writes it into the `component_cfg` that it is given, with which `nlp` may
            be called next.
        """
        return next(iter(self._annotate([doc], labels)), doc)

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 128, labels: Labels | None = None) -> Iterator[Doc]:
        """Find entities in a stream of Docs.

        A Doc that fails does not take its batch with it: the others are annotated, and it goes to the error handler.

        batch_size: Docs that are read at once.
        labels: find these instead of the component's own.
        """
        for docs in minibatch(stream, size=batch_size):
            yield from self._annotate(docs, labels)

    def _annotate(self, docs: list[Doc], labels: Labels | None) -> Iterator[Doc]:
        try:
            self.set_annotations(docs, self.predict(docs, labels=labels))
        except Exception as err:  # noqa: BLE001 (spaCy's contract: whatever fails, the error handler decides)
            if len(docs) == 1:
                self.get_error_handler()(self.name, self, docs, err)
            else:
                for doc in docs:
                    yield from self._annotate([doc], labels)
        else:
            yield from docs

    def predict(self, docs: Iterable[Doc], *, labels: Labels | None = None) -> list[tuple[Mention, ...]]:
        """Find the mentions that reach their label's threshold.

        RETURNS: for each Doc, its mentions, overlaps resolved; their types are labels.
        """
        threshold = self.cfg["threshold"]
        found = self.find_candidates(docs, find_lowest(threshold), labels=labels)
        return [self.choose(candidates, threshold) for candidates in found]

    def find_candidates(
        self, docs: Iterable[Doc], floor: float, *, labels: Labels | None = None
    ) -> Iterator[Candidates]:
        """Find all that scores at least `floor`, for each Doc, before overlaps are resolved."""
        docs = list(docs)
        common = self.cfg["labels"] if labels is None else check_labels(labels, self.name)
        texts = [self._texts_of(doc, common) for doc in docs]
        passages = [doc_to_passage(doc, tuple(of_doc.values())) for doc, of_doc in zip(docs, texts, strict=True)]
        usual = self.model.attrs["floor"]
        self.model.attrs["floor"] = float(floor) - 1e-6
        output = self.model.predict(passages)
        self.model.attrs["floor"] = usual  # saved with the model, which is not to depend on what it was asked last
        self._report_cut(output.n_cut)
        for mentions, of_doc in zip(output.mentions, texts, strict=True):
            label_of = {text: label for label, text in of_doc.items() if text != label}
            if label_of:
                renamed = tuple(replace(mention, type=label_of.get(mention.type, mention.type)) for mention in mentions)
                asked = set(of_doc.values())  # the other Docs' types may be this one's labels, and mean other things
                pairs = (pair for pair in output.implied if asked.issuperset(pair))
                implied = frozenset((label_of.get(a, a), label_of.get(b, b)) for a, b in pairs)
                yield Candidates(renamed, implied)
            else:
                yield Candidates(mentions, output.implied)

    def _report_cut(self, n_cut: int) -> None:
        if n_cut and not self.n_cut:
            logger.warning(
                "'%s': %d words or type descriptions are so long that only their beginning is read. "
                "How many there were in all is in `n_cut`.",
                self.name,
                n_cut,
            )
        self.n_cut += n_cut

    def choose(
        self, candidates: Candidates, threshold: Thresholds, overlap: Overlap | None = None
    ) -> tuple[Mention, ...]:
        """Choose the candidates that reach their label's threshold, and resolve their overlaps.

        overlap: left out, the component's own.
        """
        by_label = threshold if isinstance(threshold, dict) else {}
        otherwise = DEFAULT_THRESHOLD if isinstance(threshold, dict) else threshold
        accepted = [
            mention for mention in candidates.mentions if mention.score >= by_label.get(mention.type, otherwise)
        ]
        return resolve_overlaps(accepted, overlap or self.cfg["overlap"], candidates.implied)

    def _texts_of(self, doc: Doc, common: dict[str, str]) -> dict[str, str]:
        own = doc._.entity_types
        return common if own is None else check_labels(own, f"{self.name}, doc._.entity_types")

    def set_annotations(self, docs: Iterable[Doc], scores: Sequence[Sequence[Mention]]) -> None:
        """Write mentions into Docs: all into the span group, with scores; those that do not overlap into the entities.

        scores: what `predict` returned.
        """
        key = self.cfg["spans_key"]
        for doc, mentions in zip(docs, scores, strict=True):
            spans = [Span(doc, mention.start, mention.end, label=mention.type) for mention in mentions]
            values = numpy.array([mention.score for mention in mentions], dtype="float32")
            doc.spans[key] = SpanGroup(doc, name=key, spans=spans, attrs={"scores": values})
            if self.cfg["ents"] != "off":
                kept, blocked = (list(doc.ents), _find_blocked(doc)) if self.cfg["ents"] == "extend" else ([], [])
                taken = {i for span in (*kept, *blocked) for i in range(span.start, span.end)}
                fitting = [mention for mention in mentions if taken.isdisjoint(range(mention.start, mention.end))]
                flat = [
                    Span(doc, mention.start, mention.end, label=mention.type)
                    for mention in resolve_overlaps(fitting, "flat")
                ]
                doc.set_ents([*kept, *flat], blocked=blocked, default="outside")

    # Saving: as every TrainablePipe; what goes wrong while loading is said with the folder

    def from_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> UniversalNER:
        """Load the component from a folder that `to_disk` wrote.

        RAISES: ValueError if a file there is cut, or the weights are of another architecture.
        """
        try:
            super().from_disk(path, exclude=exclude)
        except ValueError as err:
            raise ValueError(
                f"'{self.name}' cannot be loaded from {path}: {str(err).rstrip('.')}. A file is cut, or the weights "
                "are of another architecture than the config says; copy the pipeline again, or check its config."
            ) from err
        return self

    # Training

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Language | None = None,
        labels: list[str] | dict[str, str] | None = None,
    ) -> None:
        """Set the labels: to those given, else to those configured and all that the Examples have.

        Examples whose Docs bring their own types do not count. The student's weights stay as they are.

        get_examples: gives a sample of gold Examples.
        labels: such as `spacy init labels` wrote.
        """
        validate_get_examples(get_examples, "UniversalNER.initialize")
        if labels is not None:
            self.labels = labels
            return
        found = {
            span.label_
            for example in islice(get_examples(), 10_000)
            if example.reference._.entity_types is None
            for span in self._gold_spans(example.reference)
        }
        for label in sorted(found):
            self.add_label(label)

    def _gold_spans(self, reference: Doc) -> Iterable[Span]:
        return cast(Iterable[Span], reference.spans.get(self.cfg["spans_key"], reference.ents))

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optimizer | None = None,
        losses: dict[str, float] | None = None,
    ) -> dict[str, float]:
        """Learn from gold Examples: their spans under `spans_key`, or their entities where that group is missing.

        Asked are the component's labels, or what a reference brings in `doc._.entity_types`. An Example with neither
        the group nor any entity annotation says nothing of its entities and is passed over. Gold spans whose bounds
        fall inside a word of the predicted Doc cannot be learned: `n_misaligned` counts them, and the first is
        reported. So does `n_not_asked` with those of labels that are not asked.

        drop: dropout of the student's pretrained layers.
        losses: the loss of all Examples, in nats, is added under the component's name.
        """
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, "UniversalNER.update")
        passages = [self._to_passage(example) for example in examples if self._is_annotated(example.reference)]
        passages = [passage for passage in passages if passage.words and passage.types]
        if passages:
            losses[self.name] += self._learn(passages, drop, sgd)
        return losses

    def _is_annotated(self, reference: Doc) -> bool:
        return self.cfg["spans_key"] in reference.spans or reference.has_annotation("ENT_IOB")

    def _to_passage(self, example: Example) -> Passage:
        texts = self._texts_of(example.reference, self.cfg["labels"])
        passage, n_misaligned = example_to_passage(
            example, tuple(texts.values()), lambda label: texts.get(label, label), self.cfg["spans_key"]
        )
        if n_misaligned and not self.n_misaligned:
            logger.warning(
                "'%s': gold spans do not align with the pipeline's words and are not learned; the first is in: %.60s… "
                "Their number is in `n_misaligned`. Tokenize the gold data as the pipeline does.",
                self.name,
                example.reference.text,
            )
        self.n_misaligned += n_misaligned
        if example.reference._.entity_types is None:
            self._report_not_asked(example)
        return passage

    def _report_not_asked(self, example: Example) -> None:
        not_asked = [
            span.label_ for span in self._gold_spans(example.reference) if span.label_ not in self.cfg["labels"]
        ]
        if not_asked and not self.n_not_asked:
            logger.warning(
                "'%s': gold spans have labels that are not the component's and are not learned; the first is '%s'. "
                "Their number is in `n_not_asked`. Give all labels in [initialize.components.%s].",
                self.name,
                not_asked[0],
                self.name,
            )
        self.n_not_asked += len(not_asked)

    def _learn(self, passages: list[Passage], drop: float, sgd: Callable[..., Any] | None) -> float:
        set_dropout_rate(self.model, drop)
        output, backprop = self.model.begin_update(passages)
        loss, gradient = self.get_loss(passages, output)
        backprop(gradient)
        if sgd:
            self.finish_update(sgd)
        return loss

    def get_loss(self, examples: Iterable[Any], scores: StudentOutput) -> tuple[float, Any]:
        """Give the loss that the student found itself, and the gradient of its mean.

        RETURNS: the sum over all passages, in nats, and the gradient. Shape: (n_passages,), float32.
        """
        n_passages = len(scores.losses)
        return float(scores.losses.sum()), numpy.full(n_passages, 1.0 / n_passages, dtype="float32")

    def rehearse(
        self,
        examples: Iterable[Example],
        *,
        sgd: Optimizer | None = None,
        losses: dict[str, float] | None = None,
        **config: Any,
    ) -> dict[str, float]:
        """Keep what the student knew: learn from what it would have said of these texts when first asked to rehearse
        (or after `nlp.resume_training`), whether it is right or not.
        """
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        if self._rehearsal_model is None:
            self._rehearsal_model = copy.deepcopy(self.model)
        asked = [
            doc_to_passage(example.predicted, tuple(self._texts_of(example.reference, self.cfg["labels"]).values()))
            for example in examples
        ]
        asked = [passage for passage in asked if passage.words and passage.types]
        if asked:
            self._rehearsal_model.attrs["floor"] = DEFAULT_THRESHOLD
            said = self._rehearsal_model.predict(asked).mentions
            passages = [replace(passage, mentions=of_one) for passage, of_one in zip(asked, said, strict=True)]
            losses[self.name] += self._learn(passages, 0.0, sgd and partial(_with_own_gradient, sgd))
        return losses


def _find_blocked(doc: Doc) -> list[Span]:
    """Give the words that `doc.set_ents(…, blocked=…)` keeps free of entities."""
    return [doc[token.i : token.i + 1] for token in doc if token.ent_iob_ == "B" and not token.ent_type]


def _with_own_gradient(sgd: Optimizer, key: tuple[int, str], weights: Any, gradient: Any) -> Any:
    """Give the optimizer a copy of the gradient: that of `nlp.rehearse` only takes note of it and moves the weights
    later, when the student's own is zero again.
    """
    return sgd(key, weights, gradient.copy())
