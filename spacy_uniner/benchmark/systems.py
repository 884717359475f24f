"""Systems to be measured: the embedded student, any spaCy pipeline, GLiNER where it is installed."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import spacy
from spacy.language import Language
from spacy.tokens import Doc
from spacy.util import load_model_from_config, minibatch

from ..passages import Mention, Passage
from ..pipeline import UniversalNER

EMBEDDED = "en_uniner_sm"
LOWEST_THRESHOLD = 0.02

Found = list[tuple[Mention, ...]]


class System(Protocol):
    """Something that finds mentions of the types that a passage asks.

    name: how it is called in reports.
    has_scores: whether its mentions have scores, and a threshold can be given.
    left_out: how many of its mentions could not be scored so far, by reason.
    """

    name: str
    has_scores: bool
    left_out: Counter[str]

    def find(self, passages: Sequence[Passage], threshold: float | None = None) -> Found:
        """Find the mentions in each passage.

        threshold: the lowest score that is accepted; None: the system's own.
        """

    def find_at(self, passages: Sequence[Passage], thresholds: Sequence[float]) -> list[Found]:
        """Find the mentions in each passage at each threshold, without asking anew for each; if `has_scores`."""

    def fingerprint(self) -> str:
        """Tell the system from others, and from itself with other weights or settings."""


@dataclass
class OpenPipeline:
    """A pipeline with the component `universal_ner`, whatever student it has: asked for each passage's own types.

    nlp: the pipeline.
    component: the component in it.
    name: how the system is called in reports.
    """

    nlp: Language
    component: UniversalNER
    name: str
    has_scores: bool = field(default=True, init=False)
    left_out: Counter[str] = field(default_factory=Counter, init=False)

    def find(self, passages: Sequence[Passage], threshold: float | None = None) -> Found:
        """Find the mentions in each passage, all pipes before and after included."""
        own = self.component.cfg["threshold"]
        self.component.cfg["threshold"] = own if threshold is None else threshold
        try:
            docs = self.nlp.pipe(self._to_docs(passages), batch_size=256)
            return [self._read(doc) for doc in docs]
        finally:
            self.component.cfg["threshold"] = own

    def find_at(self, passages: Sequence[Passage], thresholds: Sequence[float]) -> list[Found]:
        """Find the mentions at each threshold: the student is asked once, and overlaps are resolved for each."""
        candidates = [
            candidate
            for docs in minibatch(self._to_docs(passages), 256)
            for candidate in self.component.find_candidates(docs, min(thresholds))
        ]
        return [[self.component.choose(candidate, threshold) for candidate in candidates] for threshold in thresholds]

    def fingerprint(self) -> str:
        """Give a hash of all of the pipeline but its vocabulary."""
        return hash_of(self.nlp)

    def _to_docs(self, passages: Sequence[Passage]) -> Iterator[Doc]:
        for passage in passages:
            doc = Doc(self.nlp.vocab, words=list(passage.words))
            doc._.entity_types = list(passage.types)
            yield doc

    def _read(self, doc: Doc) -> tuple[Mention, ...]:
        group = doc.spans[self.component.cfg["spans_key"]]
        scores = group.attrs["scores"].tolist()
        return tuple(Mention(s.start, s.end, s.label_, score) for s, score in zip(group, scores, strict=True))


@dataclass
class ClosedPipeline:
    """A pipeline that writes `doc.ents` under labels of its own, such as spaCy's `ner` or the `llm` component.

    nlp: the pipeline.
    name: how the system is called in reports.
    types: the type of each of its labels; entities of other labels are left out.
    """

    nlp: Language
    name: str
    types: Mapping[str, str]
    has_scores: bool = field(default=False, init=False)
    left_out: Counter[str] = field(default_factory=Counter, init=False)

    def find(self, passages: Sequence[Passage], threshold: float | None = None) -> Found:
        """Find the mentions of mapped labels whose type is asked.

        RAISES: ValueError if a threshold is given: entities have no scores.
        """
        if threshold is not None:
            raise ValueError(f"System '{self.name}' gives entities without scores. Leave the threshold out.")
        docs = [Doc(self.nlp.vocab, words=list(passage.words)) for passage in passages]
        found: Found = []
        for passage, doc in zip(passages, self.nlp.pipe(docs), strict=True):
            self.left_out.update(f"label '{ent.label_}' not mapped" for ent in doc.ents if ent.label_ not in self.types)
            mentions = (
                Mention(ent.start, ent.end, self.types[ent.label_]) for ent in doc.ents if ent.label_ in self.types
            )
            found.append(tuple(mention for mention in mentions if mention.type in passage.types))
        return found

    def find_at(self, passages: Sequence[Passage], thresholds: Sequence[float]) -> list[Found]:
        """Entities have no scores.

        RAISES: ValueError always.
        """
        raise ValueError(f"System '{self.name}' gives entities without scores. Leave the thresholds out.")

    def fingerprint(self) -> str:
        """Give a hash of all of the pipeline but its vocabulary, and of its label map."""
        return f"{hash_of(self.nlp)} {sorted(self.types.items())}"


@dataclass
class Gliner:
    """GLiNER, from the package `gliner`, which must be installed. All types of a passage are asked at once.

    model: a `gliner.GLiNER`.
    name: how the system is called in reports.
    threshold: its own.

    GLiNER cuts words in its own way; its mentions that begin or end inside of ours are left out.
    """

    model: Any
    name: str
    threshold: float = 0.5
    has_scores: bool = field(default=True, init=False)
    left_out: Counter[str] = field(default_factory=Counter, init=False)

    def find(self, passages: Sequence[Passage], threshold: float | None = None) -> Found:
        """Find the mentions in each passage. GLiNER answers in characters; words are joined by single spaces."""
        lowest = self.threshold if threshold is None else threshold
        return [self._find_in(passage, lowest) for passage in passages]

    def find_at(self, passages: Sequence[Passage], thresholds: Sequence[float]) -> list[Found]:
        """Find the mentions at each threshold. GLiNER takes the best first, so those of a higher one are among those
        of a lower one."""
        found = self.find(passages, min(thresholds))
        return [[tuple(m for m in mentions if m.score >= lowest) for mentions in found] for lowest in thresholds]

    def fingerprint(self) -> str:
        """Give the name and the threshold: what a published model is does not change."""
        return f"{self.name} {self.threshold}"

    def _find_in(self, passage: Passage, threshold: float) -> tuple[Mention, ...]:
        starts: dict[int, int] = {}
        ends: dict[int, int] = {}
        n_characters = 0
        for place, word in enumerate(passage.words):
            starts[n_characters] = place
            ends[n_characters + len(word)] = place + 1
            n_characters += len(word) + 1
        text = " ".join(passage.words)
        answers = self.model.predict_entities(text, list(passage.types), threshold=threshold)
        aligned = [a for a in answers if a["start"] in starts and a["end"] in ends]
        self.left_out.update({"not at the borders of words": len(answers) - len(aligned)})
        return tuple(Mention(starts[a["start"]], ends[a["end"]], a["label"], float(a["score"])) for a in aligned)


def hash_of(nlp: Language) -> str:
    """Give a hash of all of a pipeline but its vocabulary."""
    return hashlib.sha256(nlp.to_bytes(exclude=["vocab"])).hexdigest()


def load_system(name: str, label_map: Path | None = None) -> System:
    """Load a system.

    name: "en_uniner_sm"; a pipeline by its name or folder; a `.cfg` to assemble one from; or "gliner:NAME".
    label_map: JSON with the type of each label, for pipelines without `universal_ner`.
    RAISES: ValueError if there is no such system, or it needs a label map that is not given or is none.
    """
    if name.startswith("gliner:"):
        return load_gliner(name.removeprefix("gliner:"))
    if name == EMBEDDED:
        nlp = spacy.blank("en")
        nlp.add_pipe("universal_ner")
    else:
        try:
            if name.endswith(".cfg"):
                nlp = load_model_from_config(spacy.util.load_config(name), auto_fill=True)
            else:
                nlp = spacy.load(name)
        except OSError as err:
            raise ValueError(
                f"No system '{name}': {err} Name '{EMBEDDED}', a pipeline, a .cfg file, or gliner:NAME."
            ) from err
    components = [component for _, component in nlp.pipeline if isinstance(component, UniversalNER)]
    if components:
        return OpenPipeline(nlp, components[0], name)
    if label_map is None:
        raise ValueError(
            f"System '{name}' has no 'universal_ner' among its pipes ({', '.join(nlp.pipe_names) or 'none'}), so its "
            "labels are its own. Give a label map: JSON with the type of each label."
        )
    return ClosedPipeline(nlp, name, read_label_map(label_map))


def read_label_map(path: Path) -> dict[str, str]:
    """Read which type each label of a closed pipeline is.

    RAISES: ValueError if the file is no JSON object of texts.
    """
    try:
        content = json.loads(path.read_text(encoding="utf8"))
    except ValueError as err:
        raise ValueError(f"{path} is not JSON: {err}. A label map is an object such as {{'PER': 'person'}}.") from err
    if not isinstance(content, dict) or not all(isinstance(value, str) for value in content.values()):
        raise ValueError(f"{path}: a label map is a JSON object that gives every label a type, such as PER: person.")
    return content


def load_gliner(name: str) -> Gliner:
    """Load a GLiNER from a folder or a name on the hub.

    RAISES: ValueError if the package is not installed.
    """
    try:
        from gliner import GLiNER
    except ImportError as err:
        raise ValueError("The package 'gliner' is not installed. Install it with: pip install gliner") from err
    return Gliner(GLiNER.from_pretrained(name), f"gliner:{name}")


def ask(passages: Iterable[Passage], names: Mapping[str, str], more: Sequence[str] = ()) -> list[Passage]:
    """Ask passages for the same types under other names, and for more types. Their gold mentions are left out.

    names: the new name of each type; a type without one keeps its own.
    more: types that are asked beside these.
    """
    return [
        replace(passage, types=(*(names.get(type_, type_) for type_ in passage.types), *more), mentions=(), unknown=())
        for passage in passages
    ]
