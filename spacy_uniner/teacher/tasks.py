"""Tasks for spacy-llm's component `llm`: annotate with given labels, or ask for entities of any type.

No task shards: cut long texts before. A shard that spacy-llm joins again has another text than the Doc had.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

# spacy-llm reads the annotations of its protocol, and knows only this Iterable.
from typing import Any, Iterable, get_args  # noqa: UP035

from spacy.scorer import get_ner_prf
from spacy.tokens import Doc, Span, SpanGroup
from spacy.training import Example

from ..docs import SPANS_KEY
from ..passages import Mention
from .prompts import OpenStyle, Shot, Style, read_shot, write_open_prompt, write_prompt
from .replies import parse_open_reply, parse_reply, place_items, place_open_items
from .shapes import NO_LABEL

REPLY_KEY = "uniner_reply"
LOSSES_KEY = "uniner_losses"


class NER:
    """Annotate with given labels: `doc.ents`, which do not overlap.

    The raw reply is kept in `doc.user_data["uniner_reply"]`, what it lost in `doc.user_data["uniner_losses"]`, counted
    by reason. If the reply is of no use, the words are of unknown annotation, not outside of entities.

    labels: the labels, or an object from label to definition.
    style: "standard", or "reasoned" for candidates with reasons first.
    examples: the few-shot examples, or a reader of them such as `spacy.FewShotReader.v1`; see `prompts.read_shot`. They
        are read when the first prompt is written, and are saved with the pipeline.
    RAISES: ValueError if there are no labels, one is blank, given twice or named like what is no entity; if the style
        is unknown; if an example is of another form.
    """

    def __init__(
        self,
        labels: list[str] | dict[str, str],
        style: Style = "standard",
        examples: list[dict[str, Any]] | Callable[[], Iterable[dict[str, Any]]] | None = None,
    ) -> None:
        if style not in get_args(Style):
            raise ValueError(f"Style '{style}' is unknown. Choose one of {', '.join(get_args(Style))}.")
        self.style: Style = style
        self._definitions: dict[str, str] = {}
        self._examples = examples if callable(examples) else list(examples or ())
        self._shots: list[Shot] | None = None
        definitions = labels if isinstance(labels, dict) else dict.fromkeys(labels, "")
        if not definitions or len(definitions) < len(labels):
            raise ValueError(f"The labels are {labels!r}. Give at least one, and each once.")
        for label, definition in definitions.items():
            self.add_label(label, definition)
        if not callable(examples):
            self.read_shots()

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self._definitions)

    def add_label(self, label: str, label_definition: str | None = None) -> int:
        """Add a label, or define one anew.

        RETURNS: 1 if it is new, else 0.
        RAISES: ValueError if the label is blank or means that there is none.
        """
        if not label.strip() or label.casefold() == NO_LABEL.casefold():
            raise ValueError(f"'{label}' is no label: {NO_LABEL} marks what is no entity. Choose another name.")
        is_new = label not in self._definitions
        self._definitions[label] = label_definition or ""
        return int(is_new)

    def clear(self) -> None:
        """Remove all labels, and the examples, which are made for them."""
        self._definitions, self._examples, self._shots = {}, [], []

    def read_shots(self) -> list[Shot]:
        """Give the examples; they are read once.

        RAISES: ValueError with the number of the example that is of another form.
        """
        if self._shots is None:
            shots = []
            for n, record in enumerate(self._examples() if callable(self._examples) else self._examples, start=1):
                try:
                    shots.append(read_shot(record, self.labels, self.style))
                except ValueError as err:
                    raise ValueError(f"Example {n}: {err}") from err
            self._shots = shots
        return self._shots

    def prompt_of(self, text: str) -> str:
        """Write the prompt for a text."""
        return write_prompt(text, self._definitions, self.style, self.read_shots())

    def generate_prompts(self, docs: Iterable[Doc]) -> Iterable[str]:
        """Write a prompt for each Doc."""
        for doc in docs:
            yield self.prompt_of(doc.text)

    def parse_responses(self, docs: Iterable[Doc], responses: Iterable[Any]) -> Iterable[Doc]:
        """Set the entities that the replies name."""
        for doc, response in zip(docs, responses):
            reply = _get_reply(response)
            parsed = parse_reply(reply, self.labels, doc.text)
            mentions, lost = place_items(parsed.items, [token.text for token in doc])
            doc.set_ents(_make_spans(doc, mentions), default="outside" if parsed.is_usable else "missing")
            doc.user_data[REPLY_KEY] = reply
            doc.user_data[LOSSES_KEY] = dict(parsed.losses + lost)
            yield doc

    def scorer(self, examples: Iterable[Example]) -> dict[str, Any]:
        """Score entities as spaCy does."""
        return dict(get_ner_prf(examples))

    def to_bytes(self, *, exclude: tuple[str, ...] = ()) -> bytes:
        """Save labels, style and examples."""
        examples = [
            {
                "text": shot.text,
                "items": [
                    {"mention": item.mention, "label": item.label or NO_LABEL, "reason": item.reason}
                    for item in shot.items
                ],
            }
            for shot in self.read_shots()
        ]
        settings = {"labels": self._definitions, "style": self.style, "examples": examples}
        return json.dumps(settings, ensure_ascii=False).encode("utf8")

    def from_bytes(self, bytes_data: bytes, *, exclude: tuple[str, ...] = ()) -> NER:
        """Load what `to_bytes` gave."""
        saved = NER(**json.loads(bytes_data))
        self.style, self._definitions, self._shots = saved.style, saved._definitions, saved._shots
        return self

    def to_disk(self, path: Path, *, exclude: tuple[str, ...] = ()) -> None:
        """Save labels, style and examples as a file."""
        path.write_bytes(self.to_bytes())

    def from_disk(self, path: Path, *, exclude: tuple[str, ...] = ()) -> NER:
        """Load what `to_disk` wrote."""
        return self.from_bytes(path.read_bytes())


class OpenNER:
    """Ask for entities of any type, as UniversalNER's training data was made.

    Every mention, with the type that the reply gives, is in `doc.spans["universal_ner"]`; reply and losses as in `NER`.

    style: "type" asks for the name of each entity's type, "definition" for a short sentence that defines it.
    RAISES: ValueError if the style is unknown.
    """

    def __init__(self, style: OpenStyle = "type") -> None:
        if style not in get_args(OpenStyle):
            raise ValueError(f"Style '{style}' is unknown. Choose one of {', '.join(get_args(OpenStyle))}.")
        self.style: OpenStyle = style

    def prompt_of(self, text: str) -> str:
        """Write the prompt for a text."""
        return write_open_prompt(text, self.style)

    def generate_prompts(self, docs: Iterable[Doc]) -> Iterable[str]:
        """Write a prompt for each Doc."""
        for doc in docs:
            yield self.prompt_of(doc.text)

    def parse_responses(self, docs: Iterable[Doc], responses: Iterable[Any]) -> Iterable[Doc]:
        """Set the spans that the replies name."""
        for doc, response in zip(docs, responses):
            reply = _get_reply(response)
            parsed = parse_open_reply(reply)
            mentions, lost = place_open_items(parsed.items, [token.text for token in doc])
            doc.spans[SPANS_KEY] = SpanGroup(doc, name=SPANS_KEY, spans=_make_spans(doc, mentions))
            doc.user_data[REPLY_KEY] = reply
            doc.user_data[LOSSES_KEY] = dict(parsed.losses + lost)
            yield doc


def _get_reply(response: Any) -> str:
    """Take the reply out of the list of one that spacy-llm gives where a Doc is one prompt."""
    return response if isinstance(response, str) else str(next(iter(response)))


def _make_spans(doc: Doc, mentions: Sequence[Mention]) -> list[Span]:
    return [Span(doc, mention.start, mention.end, label=mention.type) for mention in mentions]
