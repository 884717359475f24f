"""Gold annotation in the forms in which it is published: one reader a form, all of them giving sentences in words.

Nothing is lost silently: what had to be repaired or left out is counted in a `Losses`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import spacy
from spacy.language import Language
from spacy.tokens import Doc, DocBin

from ..spans import find_surface

Span = tuple[int, int, str]

QUERY = re.compile(r"What describes (?P<type>.+) in the text\?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence with its gold spans.

    id: where it stands in its source.
    words: the text of each word.
    spans: start, end (words, end exclusive) and label of the source.
    """

    id: str
    words: tuple[str, ...]
    spans: tuple[Span, ...]


@dataclass
class Losses:
    """What a reader repaired or left out, by reason; see the readers."""

    counts: Counter[str] = field(default_factory=Counter)

    def count(self, reason: str, n: int = 1) -> None:
        """Count it."""
        self.counts[reason] += n


Reader = Callable[[Path, Mapping[str, Any], Losses], Iterator[Sentence]]


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Read the lines of a text, numbered from 1, without their ends.

    RAISES: ValueError with file and line if a line is no UTF-8.
    """
    with path.open("rb") as file:
        for n_line, line in enumerate(file, start=1):
            try:
                yield n_line, line.decode("utf8").rstrip("\r\n")
            except UnicodeDecodeError as err:
                raise ValueError(f"{path}, line {n_line}: not UTF-8 ({err}). Convert the file.") from err


def read_columns(path: Path, options: Mapping[str, Any], losses: Losses) -> Iterator[Sentence]:
    """Read one word a line with its tag; sentences are apart by empty lines.

    Tags are BIO, IOB1, BIOES (IOBES) or BILOU; with the option scheme "io" they are bare labels. A broken sequence is
    repaired as conlleval reads it: an I-, E- or L- tag that continues no mention of its label begins one. That is
    counted as "repaired", unless the whole file is IOB1 (option scheme "iob1"), where it is the rule.

    options: word, tag: their columns, from 0, or from the end if negative (0 and -1); separator: between columns (any
        white space); comment: beginning of lines to pass over; word_prefix: to take off words; label_prefix_only:
        take of a label only what stands before its first "-"; scheme: see above ("bio").
    RAISES: ValueError with file and line if a line has too few columns or a tag is none.
    """
    words: list[str] = []
    tags: list[str] = []
    scheme = options.get("scheme", "bio")
    n_line = first = 0
    for n_line, line in [*read_lines(path), (0, "")]:
        comment = options.get("comment")
        if comment and line.startswith(comment):
            continue
        if line.strip():
            columns = line.split(options.get("separator"))
            try:
                word, tag = columns[options.get("word", 0)], columns[options.get("tag", -1)].strip()
            except IndexError as err:
                raise ValueError(f"{path}, line {n_line}: {len(columns)} columns are too few: '{line:.60}'.") from err
            if len(columns) < 2:
                raise ValueError(f"{path}, line {n_line}: one column where word and tag should be: '{line:.60}'.")
            if scheme != "io" and tag != "O" and not re.match(r"[BIESLU]-.", tag):
                raise ValueError(f"{path}, line {n_line}: '{tag}' is no tag. Expected O, or B-, I-, E-, S-, L- or U-.")
            first = first or n_line
            words.append(word.removeprefix(options.get("word_prefix", "")))
            tags.append(tag)
        elif words:
            spans, n_repaired = spans_of_tags(tags, scheme)
            losses.count("repaired", n_repaired if scheme == "bio" else 0)
            if options.get("label_prefix_only"):
                spans = [(start, end, label.split("-")[0]) for start, end, label in spans]
            yield Sentence(f"{path.name}:{first}", tuple(words), tuple(spans))
            words, tags, first = [], [], 0


def spans_of_tags(tags: Sequence[str], scheme: str = "bio") -> tuple[list[Span], int]:
    """Read tags as spans; see `read_columns` for what is repaired.

    RETURNS: the spans, and the number of tags that were repaired.
    """
    spans: list[Span] = []
    n_repaired = 0
    is_open = False  # whether the next word may continue the last span
    for place, tag in enumerate(tags):
        if scheme == "io":
            kind, label = ("O", "") if tag == "O" else ("I", tag)
        else:
            kind, _, label = tag.partition("-")
        if kind == "O":
            is_open = False
            continue
        continues = is_open and kind in "IEL" and spans[-1][2] == label
        if continues:
            spans[-1] = (spans[-1][0], place + 1, label)
        else:
            n_repaired += kind in "IEL"
            spans.append((place, place + 1, label))
        is_open = kind in "BI"
    return spans, n_repaired


def read_jsonl_tokens(path: Path, options: Mapping[str, Any], losses: Losses) -> Iterator[Sentence]:
    """Read lines of {"tokens": […], "spans": [[start, end, label], …]}.

    RAISES: ValueError with file and line if a line is of another form, or a span is out of bounds.
    """
    for n_line, record in read_json_lines(path):
        try:
            words = tuple(str(word) for word in record["tokens"])
            spans = tuple((int(start), int(end), str(label)) for start, end, label in record["spans"])
        except (KeyError, TypeError, ValueError) as err:
            raise ValueError(
                f'{path}, line {n_line}: expected "tokens" and "spans" ({type(err).__name__}: {err}).'
            ) from err
        check_bounds(spans, len(words), f"{path}, line {n_line}", "words")
        yield Sentence(str(record.get("id", f"{path.name}:{n_line}")), words, spans)


def read_json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read JSON objects, one a line, or a list of them that is the whole file.

    RAISES: ValueError with file and line if there are none.
    """
    numbered = [(n_line, line) for n_line, line in read_lines(path) if line.strip()]
    try:
        if numbered and numbered[0][1].lstrip().startswith("["):
            records = list(enumerate(json.loads("\n".join(line for _, line in numbered)), start=1))
        else:
            records = []
            for n_line, line in numbered:
                records.append((n_line, json.loads(line)))
    except ValueError as err:
        raise ValueError(f"{path}, line {n_line}: not JSON: {err}. Is the file cut?") from err
    for n_line, record in records:
        if not isinstance(record, dict):
            raise ValueError(f"{path}, line {n_line}: a JSON {type(record).__name__}, expected an object.")
        yield n_line, record


def check_bounds(spans: Iterable[Span], n_units: int, where: str, unit: str) -> None:
    """Check that spans lie in their text.

    RAISES: ValueError if one does not.
    """
    for start, end, label in spans:
        if not 0 <= start < end <= n_units:
            raise ValueError(f"{where}: span '{label}' [{start}, {end}) is out of bounds; there are {n_units} {unit}.")


def make_sentencizer() -> Language:
    """Make a pipeline that cuts text into words and sentences by rule."""
    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    nlp.max_length = 100_000_000  # a rule needs no memory for it
    return nlp


def cut_text(nlp: Language, id: str, text: str, spans: Sequence[Span], losses: Losses) -> Iterator[Sentence]:
    """Cut a text with spans in characters into sentences with spans in words.

    Spans that begin or end inside a word are counted as "misaligned", those that go beyond a sentence as "crossing a
    sentence"; both are left out. Sentences of white space alone are passed over.
    """
    doc = nlp(text)
    aligned = []
    for start, end, label in spans:
        span = doc.char_span(start, end, label=label)
        losses.count("misaligned", span is None)
        if span is not None:
            aligned.append(span)
    n_placed = 0
    for n, sentence in enumerate(doc.sents, start=1):
        places = [token.i for token in sentence if not token.is_space]
        number = {place: n_word for n_word, place in enumerate(places)}
        inside = [s for s in aligned if s.start >= sentence.start and s.end <= sentence.end and s.start in number]
        n_placed += len(inside)
        if places:
            runs = tuple((number[s.start], number[max(p for p in places if p < s.end)] + 1, s.label_) for s in inside)
            yield Sentence(f"{id}.{n}", tuple(doc[place].text for place in places), runs)
    losses.count("crossing a sentence", len(aligned) - n_placed)


def read_brat(path: Path, options: Mapping[str, Any], losses: Losses) -> Iterator[Sentence]:
    """Read a folder of brat documents: .txt with the text, .ann with its annotation.

    Discontinuous mentions are counted as "discontinuous" and left out; and see `cut_text`.

    RAISES: ValueError with file and line if a mention is out of bounds or of another form, or there are no documents.
    """
    texts = sorted(path.glob("**/*.txt"))
    if not texts:
        raise ValueError(f"{path} holds no .txt of a brat document. Name the folder with .txt and .ann files.")
    nlp = make_sentencizer()
    for file in texts:
        try:
            text = file.read_bytes().decode("utf8")
        except UnicodeDecodeError as err:
            raise ValueError(f"{file}: not UTF-8 ({err}). Convert the file.") from err
        spans = []
        annotation = file.with_suffix(".ann")
        for n_line, line in read_lines(annotation) if annotation.exists() else ():
            if not line.startswith("T"):
                continue
            try:
                label, *bounds = line.split("\t")[1].replace(";", " ").split(" ")
                places = [int(bound) for bound in bounds]
                if len(places) < 2:
                    raise ValueError(f"no bounds in '{line:.60}'")
            except (IndexError, ValueError) as err:
                raise ValueError(f"{annotation}, line {n_line}: no brat mention ({err}).") from err
            check_bounds([(places[0], places[-1], label)], len(text), f"{annotation}, line {n_line}", "characters")
            if len(places) > 2:
                losses.count("discontinuous")
            else:
                spans.append((places[0], places[1], label))
        yield from cut_text(nlp, file.stem, text, spans, losses)


def read_pubtator(path: Path, options: Mapping[str, Any], losses: Losses) -> Iterator[Sentence]:
    """Read PubTator: id|t|title, id|a|abstract, then one mention a line; documents are apart by empty lines.

    See `cut_text` for what is left out.

    RAISES: ValueError with file and line if a mention is out of bounds or of another form.
    """
    nlp = make_sentencizer()
    parts: list[str] = []
    spans: list[Span] = []
    name = ""
    for n_line, line in [*read_lines(path), (0, "")]:
        text = re.match(r"([^|\t]+)\|[ta]\|(.*)", line)
        if text:
            name = text.group(1)
            parts.append(text.group(2))
        elif line.strip():
            columns = line.split("\t")
            if len(columns) < 6:
                continue  # a relation
            try:
                span = (int(columns[1]), int(columns[2]), columns[4])
            except ValueError as err:
                raise ValueError(f"{path}, line {n_line}: no PubTator mention ({err}).") from err
            check_bounds([span], len(" ".join(parts)), f"{path}, line {n_line}", "characters")
            spans.append(span)
        elif parts:
            yield from cut_text(nlp, name, " ".join(parts), spans, losses)
            parts, spans = [], []


def read_json_spans(path: Path, options: Mapping[str, Any], losses: Losses) -> Iterator[Sentence]:
    """Read texts with spans in characters, one JSON object each.

    See `cut_text` for what is left out.

    options: text, spans, start, end, label: the names of the fields (the same words); is_sentence: whether a text is
        one sentence already.
    RAISES: ValueError with file and line if a record is of another form, or a span is out of bounds.
    """
    nlp = spacy.blank("en") if options.get("is_sentence") else make_sentencizer()
    name = {key: options.get(key, key) for key in ("text", "spans", "start", "end", "label")}
    for n_line, record in read_json_lines(path):
        try:
            text = str(record[name["text"]])
            spans = [
                (int(span[name["start"]]), int(span[name["end"]]), str(span[name["label"]]))
                for span in record[name["spans"]]
            ]
        except (KeyError, TypeError, ValueError) as err:
            raise ValueError(
                f"{path}, line {n_line}: expected the fields {', '.join(name.values())} ({type(err).__name__}: {err})."
            ) from err
        check_bounds(spans, len(text), f"{path}, line {n_line}", "characters")
        id = str(record.get("id", f"{path.name}:{n_line}"))
        if options.get("is_sentence"):
            yield read_sentence(nlp.make_doc(text), id, spans, losses)
        else:
            yield from cut_text(nlp, id, text, spans, losses)


def read_sentence(doc: Doc, id: str, spans: Sequence[Span], losses: Losses) -> Sentence:
    """Give a Doc that is one sentence with its spans in characters; see `cut_text` for what is left out."""
    aligned = [doc.char_span(start, end, label=label) for start, end, label in spans]
    losses.count("misaligned", sum(span is None for span in aligned))
    runs = tuple((span.start, span.end, span.label_) for span in aligned if span is not None)
    return Sentence(id, tuple(token.text for token in doc), runs)


def read_conversations(path: Path, options: Mapping[str, Any], losses: Losses) -> Iterator[Sentence]:
    """Read UniversalNER's released test files: one query a record, whose answer is a JSON list of surface forms.

    Queries of one text are brought together. Answers have no offsets: a surface form is marked wherever the text has
    it, word by word; one that it does not have is counted as "not in the text", and an answer that is no JSON list as
    "unreadable answers".

    RAISES: ValueError with file and line if a record is no such conversation.
    """
    nlp = spacy.blank("en")
    texts: dict[str, dict[str, list[str]]] = {}
    for n_line, record in read_json_lines(path):
        try:
            turns = [turn["value"] for turn in record["conversations"]]
            text = next(turn.removeprefix("Text: ") for turn in turns if turn.startswith("Text: "))
            queries = [(QUERY.fullmatch(ask.strip()), answer) for ask, answer in pairwise(turns)]
            answers = [(query.group("type"), answer) for query, answer in queries if query]
        except (KeyError, TypeError, StopIteration, AttributeError) as err:
            raise ValueError(
                f"{path}, line {n_line}: no conversation with a text ({type(err).__name__}: {err})."
            ) from err
        for type_, answer in answers:
            try:
                surfaces = json.loads(answer)
            except ValueError:
                surfaces = None
            losses.count("unreadable answers", not isinstance(surfaces, list))
            texts.setdefault(text, {}).setdefault(type_, []).extend(surfaces if isinstance(surfaces, list) else [])
    for n, (text, surfaces_by_type) in enumerate(texts.items(), start=1):
        words = tuple(token.text for token in nlp.make_doc(text) if not token.is_space)
        spans: set[Span] = set()
        for type_, surfaces in surfaces_by_type.items():
            for surface in dict.fromkeys(surfaces):
                runs = find_surface([token.text for token in nlp.make_doc(str(surface)) if not token.is_space], words)
                losses.count("not in the text", not runs)
                spans.update((start, end, type_) for start, end in runs)
        yield Sentence(f"{path.name}:{n}", words, tuple(sorted(spans)))


def read_docbin(path: Path, options: Mapping[str, Any], losses: Losses) -> Iterator[Sentence]:
    """Read a .spacy file: the entities of its Docs, or a span group.

    options: spans_key: the group to read in place of the entities.
    RAISES: ValueError if the file is none.
    """
    vocab = spacy.blank("en").vocab
    try:
        docs = list(DocBin().from_disk(path).get_docs(vocab))
    except (ValueError, OSError, EOFError, KeyError) as err:
        raise ValueError(f"{path} is no .spacy file ({type(err).__name__}: {err}). Is it cut?") from err
    key = options.get("spans_key")
    for n, doc in enumerate(docs, start=1):
        spans = doc.ents if key is None else doc.spans.get(key, ())
        runs = tuple((span.start, span.end, span.label_) for span in spans)
        yield Sentence(f"{path.name}:{n}", tuple(token.text for token in doc), runs)


READERS: dict[str, Reader] = {
    "columns": read_columns,
    "brat": read_brat,
    "pubtator": read_pubtator,
    "json-spans": read_json_spans,
    "jsonl-tokens": read_jsonl_tokens,
    "conversations": read_conversations,
    "spacy": read_docbin,
}
