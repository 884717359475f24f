"""Annotating texts: texts in, raw replies out, one a line; and those lines as passages.

The file keeps what the teacher said, not what was read of it: a better parser never costs another call.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from spacy.language import Language

from ..passages import Passage
from .prompts import OpenStyle, Style
from .replies import ParsedReply, parse_open_reply, parse_reply, place_items, place_open_items
from .tasks import NER, REPLY_KEY, OpenNER

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Text:
    """A text to annotate; its id is its own within a file."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Annotation:
    """What a teacher said of a text.

    id, text: as in `Text`.
    style: of the prompt.
    reply: the raw reply.
    model: the name of the model.
    prompt: the SHA-256 of the prompt; "" if that is not known.
    """

    id: str
    text: str
    style: str
    reply: str
    model: str
    prompt: str = ""


def read_texts(path: Path, id_prefix: str = "") -> list[Text]:
    """Read texts from JSONL: `id` and `text`, or `tokens`, which are joined by blanks.

    id_prefix: a line without an id gets this and its number from 0, in five digits.
    RAISES: ValueError with file and line if a line is no text, a text is blank or an id stands twice; if there are no
            texts.
    """
    texts: dict[str, Text] = {}
    for n_line, record in read_records(path):
        text, tokens = record.get("text"), record.get("tokens")
        if text is None and isinstance(tokens, list) and all(isinstance(token, str) for token in tokens):
            text = " ".join(tokens)
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"{path}, line {n_line}: the text is {text!r}. Expected a string that is not blank.")
        id_ = record.get("id", f"{id_prefix}{n_line - 1:05d}")
        if not isinstance(id_, str) or not id_:
            raise ValueError(f"{path}, line {n_line}: the id is {id_!r}. Expected a string that is not empty.")
        if id_ in texts:
            raise ValueError(f"{path}, line {n_line}: the id '{id_}' stands twice. Give each text its own.")
        texts[id_] = Text(id_, text)
    if not texts:
        raise ValueError(f"{path} has no texts. Expected one a line, as JSON with id and text.")
    return list(texts.values())


def read_records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read JSON objects from JSONL, each with the number of its line; blank lines are passed over.

    RAISES: ValueError with file and line if a line is no object.
    """
    with path.open("rb") as file:
        for n_line, line in enumerate(file, start=1):
            if line.strip():
                try:
                    record = json.loads(line.decode("utf8"))
                except ValueError as err:
                    raise ValueError(f"{path}, line {n_line}: not JSON: {err}.") from err
                if not isinstance(record, dict):
                    raise ValueError(f"{path}, line {n_line}: a JSON {type(record).__name__}. Expected an object.")
                yield n_line, record


def find_task(nlp: Language) -> tuple[str, NER | OpenNER]:
    """Find the component that asks the teacher.

    RETURNS: its name and its task.
    RAISES: ValueError if there is none.
    """
    for name, component in nlp.pipeline:
        task = getattr(component, "task", None)
        if isinstance(task, NER | OpenNER):
            return name, task
    raise ValueError(
        f"No component of the pipeline ({', '.join(nlp.pipe_names) or 'it is empty'}) has the task spacy_uniner.NER.v1 "
        "or spacy_uniner.OpenNER.v1. Add the component 'llm' with one of them."
    )


def annotate(nlp: Language, texts: Sequence[Text], output: Path) -> Iterator[Annotation | None]:
    """Annotate texts, and append each reply to a file. A run that was killed goes on where it was.

    A reply is on the disk before the next one is written. When all texts are done, the file has the order of the texts.
    What was asked by another prompt, as before a definition was changed, is asked again.

    nlp: a pipeline with the component `llm` and one of our tasks.
    texts: what is to be annotated; those that the file has are passed over.
    output: the file.
    RETURNS: an iterator over the new annotations; None for a text that got no reply, which is asked again next time.
    RAISES: ValueError if the file has a line that is no annotation, or one of another text, style or model.
    """
    name, task = find_task(nlp)
    model = nlp.config["components"][name]["model"]
    teacher = model.get("name") or model["@llm_models"]
    done = _read_done(output, texts, task.style, teacher)
    stale = [id_ for id_, one in done.items() if one.prompt and one.prompt != _hash(task.prompt_of(one.text))]
    if stale:
        logger.warning("%s: %d texts were asked by another prompt, and are asked again.", output, len(stale))
        done = {id_: one for id_, one in done.items() if id_ not in set(stale)}
        _write(output, done.values())
    todo = [text for text in texts if text.id not in done]
    output.parent.mkdir(parents=True, exist_ok=True)
    with output.open("ab") as file:
        for doc, text in nlp.pipe(((text.text, text) for text in todo), as_tuples=True):
            reply = doc.user_data.get(REPLY_KEY, "")
            if not reply:
                yield None
                continue
            prompt = _hash(task.prompt_of(text.text))
            annotation = Annotation(text.id, text.text, task.style, reply, teacher, prompt)
            file.write(_to_line(annotation))
            file.flush()
            os.fsync(file.fileno())
            done[text.id] = annotation
            yield annotation
    if list(done) != [text.id for text in texts if text.id in done]:  # those without a reply came later
        _write(output, [done[text.id] for text in texts if text.id in done])


def read_annotations(path: Path, labels: Sequence[str], nlp: Language) -> tuple[list[Passage], Counter[str]]:
    """Read annotations with given labels as passages: of each all labels are asked.

    path: what `annotate` wrote with the task `spacy_uniner.NER.v1`.
    labels: the labels; a label that a reply names beside them is a loss.
    nlp: cuts the texts into words.
    RETURNS: the passages, `source` being the id; and what was lost, by reason (see `replies.Loss`). A reply that is
        empty, cannot be read or is cut off gives no passage, since what it does not name may be there.
    RAISES: ValueError with file and line if a line is no annotation or of an open task; if there are none.
    """
    passages: list[Passage] = []
    losses: Counter[str] = Counter()
    for annotation in _read_annotations(path, get_args(Style)):
        parsed = parse_reply(annotation.reply, labels, annotation.text)
        losses += parsed.losses
        if parsed.is_usable:
            words = _cut(annotation.text, nlp)
            mentions, lost = place_items(parsed.items, words)
            losses += lost
            passages.append(Passage(words, tuple(labels), mentions, source=annotation.id))
    return passages, losses


def read_open_annotations(path: Path, nlp: Language) -> tuple[list[Passage], Counter[str]]:
    """Read annotations with open types as passages: of each those types are asked that its reply names.

    path: what `annotate` wrote with the task `spacy_uniner.OpenNER.v1`.
    The others, RETURNS and RAISES: as `read_annotations`.
    """
    passages: list[Passage] = []
    losses: Counter[str] = Counter()
    for annotation in _read_annotations(path, get_args(OpenStyle)):
        parsed: ParsedReply = parse_open_reply(annotation.reply)
        losses += parsed.losses
        if parsed.is_usable:
            words = _cut(annotation.text, nlp)
            mentions, lost = place_open_items(parsed.items, words)
            losses += lost
            types = tuple(dict.fromkeys(mention.type for mention in mentions))
            passages.append(Passage(words, types, mentions, source=annotation.id))
    return passages, losses


def _hash(prompt: str) -> str:
    return hashlib.sha256(prompt.encode("utf8", "surrogatepass")).hexdigest()


def _write(output: Path, annotations: Iterable[Annotation]) -> None:
    part = output.with_name(output.name + ".part")
    part.write_bytes(b"".join(map(_to_line, annotations)))
    os.replace(part, output)


def _cut(text: str, nlp: Language) -> tuple[str, ...]:
    return tuple(token.text for token in nlp.make_doc(text))


def _to_line(annotation: Annotation) -> bytes:
    record = asdict(annotation)
    try:
        return (json.dumps(record, ensure_ascii=False) + "\n").encode("utf8")
    except UnicodeEncodeError:  # half of a surrogate pair, as a reply that was cut may have one
        return (json.dumps(record) + "\n").encode("ascii")


def _read_annotations(path: Path, styles: Sequence[str]) -> Iterator[Annotation]:
    is_empty = True
    for n_line, record in read_records(path):
        annotation = _read_annotation(path, n_line, record)
        if annotation.style not in styles:
            raise ValueError(
                f"{path}, line {n_line}: the style is '{annotation.style}', expected {' or '.join(styles)}. Read open "
                "types with read_open_annotations, and given labels with read_annotations."
            )
        is_empty = False
        yield annotation
    if is_empty:
        raise ValueError(f"{path} has no annotations. Annotate some texts first.")


def _read_annotation(path: Path, n_line: int, record: dict[str, Any]) -> Annotation:
    fields = ("id", "text", "style", "reply", "model")
    known = {*fields, "prompt"}
    if not set(fields) <= set(record) <= known or not all(isinstance(value, str) for value in record.values()):
        raise ValueError(
            f"{path}, line {n_line}: not an annotation. Expected the fields {', '.join(fields)}, all strings; remove "
            "the line to have its text annotated again."
        )
    return Annotation(**record)


def _read_done(output: Path, texts: Sequence[Text], style: str, model: str) -> dict[str, Annotation]:
    """Read what a former run has done; a last line without an end, left by a kill, is cut off."""
    if not output.exists():
        return {}
    content = output.read_bytes()
    if not content.endswith(b"\n"):
        os.truncate(output, content.rfind(b"\n") + 1)
    by_id = {text.id: text.text for text in texts}
    done = {}
    for n_line, record in read_records(output):
        annotation = _read_annotation(output, n_line, record)
        expected = (by_id.get(annotation.id), style, model)
        if (annotation.text, annotation.style, annotation.model) != expected:
            raise ValueError(
                f"{output}, line {n_line}: the annotation of '{annotation.id}' in the {annotation.style} style by "
                f"{annotation.model} is none of these texts in the {style} style by {model}. Write to another file."
            )
        done[annotation.id] = annotation
    return done
