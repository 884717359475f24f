"""Gold annotation in the forms in which it is published: one reader a form, all of them giving sentences in words.

Nothing is lost silently: what had to be repaired or left out is counted in a `Losses`. Over 300 lines, since seven
forms each bring their own ways to be broken.
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
from spacy.tokens import Span as TokenSpan

from ..spans import locate

Span = tuple[int, int, str]

BLANKS = re.compile(r"[ \t]+")
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
    """Read the lines of a text, numbered from 1, without their ends and without a byte order mark.

    RAISES: ValueError with file and line if a line is no UTF-8.
    """
    with path.open("rb") as file:
        for n_line, line in enumerate(file, start=1):
            try:
                yield n_line, line.decode("utf-8-sig" if n_line == 1 else "utf8").rstrip("\r\n")
            except UnicodeDecodeError as err:
                raise ValueError(f"{path}, line {n_line}: not UTF-8 ({err}). Convert the file.") from err


def read_columns(path: Path, options: Mapping[str, Any], losses: Losses) -> Iterator[Sentence]:
    """Read one word a line with its tag; sentences are apart by empty lines.

    Tags are BIO, IOB1, BIOES (IOBES) or BILOU; with the option scheme "io" they are bare labels. A broken sequence is
    repaired as conlleval reads it: an I-, E- or L- tag that continues no mention of its label begins one. That is
    counted as "repaired", unless the whole file is IOB1 (option scheme "iob1"), where it is the rule. Lines whose word
    is empty or white space are left out and counted as "empty words".

    options: word, tag: their columns, from 0, or from the end if negative (0 and -1); separator: between columns
        (blanks and tabs; other white space is part of a word); comment: beginning of lines to pass over; word_prefix:
        to take off words; label_prefix_only: take of a label only what stands before its first "-"; scheme: see
        above ("bio").
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
            separator = options.get("separator")
            columns = line.split(separator) if separator else BLANKS.split(line.strip(" \t"))
            try:
                word, tag = columns[options.get("word", 0)], columns[options.get("tag", -1)].strip()
            except IndexError as err:
                raise ValueError(f"{path}, line {n_line}: {len(columns)} columns are too few: '{line:.60}'.") from err
            if len(columns) < 2:
                raise ValueError(f"{path}, line {n_line}: one column where word and tag should be: '{line:.60}'.")
            if scheme != "io" and tag != "O" and not re.match(r"[BIESLU]-.", tag):
                raise ValueError(f"{path}, line {n_line}: '{tag}' is no tag. Expected O, or B-, I-, E-, S-, L- or U-.")
            word = word.removeprefix(options.get("word_prefix", ""))
            if not word.strip():
                losses.count("empty words")
                continue
            first = first or n_line
            words.append(word)
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

    RAISES: ValueError with file and line if a line is of another form, a word is empty, or a span is out of bounds.
    """
    for n, where, record in read_json_records(path):
        try:
            if not isinstance(record["tokens"], list):  # the characters of a string would pass for its words
                raise TypeError(f"the tokens {record['tokens']!r:.60} are no list")
            words = tuple(to_text(word) for word in record["tokens"])
            spans = tuple((to_offset(start), to_offset(end), to_text(label)) for start, end, label in record["spans"])
        except (KeyError, TypeError, ValueError) as err:
            raise ValueError(f'{where}: expected "tokens" and "spans" ({type(err).__name__}: {err}).') from err
        if not all(word.strip() for word in words):
            raise ValueError(f"{where}: a word is empty. Take it out and move the spans behind it.")
        check_bounds(spans, len(words), where, "words")
        yield Sentence(str(record.get("id", f"{path.name}:{n}")), words, spans)


def read_json_records(path: Path) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Read JSON objects, one a line, or a list of them that is the whole file.

    RETURNS: of each the number of its line, or its place in the list from 1; the file with that number, for errors;
        and the object.
    RAISES: ValueError with file and place if there are none.
    """
    lines = list(read_lines(path))
    is_list = next((line.lstrip().startswith("[") for _, line in lines if line.strip()), False)
    unit = "record" if is_list else "line"
    records: Iterable[tuple[int, Any]]
    if is_list:
        records = enumerate(parse_json("\n".join(line for _, line in lines), path, 1), start=1)
    else:
        records = ((n_line, parse_json(line, path, n_line)) for n_line, line in lines if line.strip())
    for n, record in records:
        if not isinstance(record, dict):
            raise ValueError(f"{path}, {unit} {n}: a JSON {type(record).__name__}, expected an object.")
        yield n, f"{path}, {unit} {n}", record


def parse_json(text: str, path: Path, first_line: int) -> Any:
    """Parse JSON that begins on a line of a file.

    RAISES: ValueError with file and line if it is none.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as err:
        line = first_line + err.lineno - 1
        raise ValueError(f"{path}, line {line}: not JSON: {err}. Is the file cut?") from err


def to_text(value: Any) -> str:
    """Give a string as it is.

    RAISES: TypeError if it is none: `str` would make words of null and of numbers.
    """
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def to_offset(value: Any) -> int:
    """Give an offset as it is.

    RAISES: TypeError if it is no integer: `int` would cut a fraction off.
    """
    if type(value) is not int:
        raise TypeError(f"{value!r} is no offset")
    return value


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

    White space is no word; sentences of nothing else are passed over. Spans that begin or end inside a word, or hold
    none, are counted as "misaligned", those that go beyond a sentence as "crossing a sentence"; both are left out.
    """
    doc = nlp(text)
    aligned = align(doc, spans, losses)
    n_placed = 0
    for n, sentence in enumerate(doc.sents, start=1):
        inside = [span for span in aligned if sentence.start <= span.start and span.end <= sentence.end]
        n_placed += len(inside)
        if not all(token.is_space for token in sentence):
            yield take_words(sentence, f"{id}.{n}", inside)
    losses.count("crossing a sentence", len(aligned) - n_placed)


def align(doc: Doc, spans: Sequence[Span], losses: Losses) -> list[TokenSpan]:
    """Find spans in characters among the tokens; see `cut_text` for what is left out."""
    aligned = []
    for start, end, label in spans:
        span = doc.char_span(start, end, label=label)
        if span is None or all(token.is_space for token in span):
            losses.count("misaligned")
        else:
            aligned.append(span)
    return aligned


def take_words(sentence: Doc | TokenSpan, id: str, spans: Sequence[TokenSpan]) -> Sentence:
    """Number the words of a sentence, which white space is not, and give its spans by them."""
    words = [token for token in sentence if not token.is_space]
    number = {token.i: n for n, token in enumerate(words)}
    runs = []
    for span in spans:
        inside = [number[token.i] for token in span if token.i in number]
        runs.append((inside[0], inside[-1] + 1, span.label_))
    return Sentence(id, tuple(token.text for token in words), tuple(runs))


def is_text_of(span: Span, text: str, annotated: str, losses: Losses) -> bool:
    """Tell whether a span has the text that the annotator saw, white space aside; count it if not.

    Offsets are off where line ends or characters were converted after the annotation.
    """
    is_same = text[span[0] : span[1]].split() == annotated.split()
    losses.count("other text than annotated", not is_same)
    return is_same


def read_brat(path: Path, options: Mapping[str, Any], losses: Losses) -> Iterator[Sentence]:
    """Read a folder of brat documents: .txt with the text, .ann with its annotation.

    Texts without an .ann are not known to be free of mentions; they are counted as "texts without annotation" and left
    out. So are "discontinuous" mentions, and those with "other text than annotated"; and see `cut_text`.

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
        annotation = file.with_suffix(".ann")
        if not annotation.exists():
            losses.count("texts without annotation")
            continue
        spans = read_brat_spans(annotation, text, losses)
        yield from cut_text(nlp, file.relative_to(path).with_suffix("").as_posix(), text, spans, losses)


def read_brat_spans(path: Path, text: str, losses: Losses) -> list[Span]:
    """Read the mentions of a brat document; see `read_brat` for what is left out.

    RAISES: ValueError with file and line if one is out of bounds or of another form.
    """
    spans = []
    for n_line, line in read_lines(path):
        if not line.startswith("T"):
            continue
        _, mention, annotated = (*line.split("\t"), "", "")[:3]
        label, *fragments = mention.replace(";", " ").split(" ")
        try:
            bounds = [int(bound) for bound in fragments]
        except ValueError as err:
            raise ValueError(f"{path}, line {n_line}: no brat mention ({err}).") from err
        if not bounds or len(bounds) % 2:
            raise ValueError(f"{path}, line {n_line}: no brat mention (bounds come in pairs): '{line:.60}'.")
        parts = [(start, end, label) for start, end in zip(bounds[::2], bounds[1::2])]
        check_bounds(parts, len(text), f"{path}, line {n_line}", "characters")
        if len(parts) > 1:
            losses.count("discontinuous")
        elif not annotated or is_text_of(parts[0], text, annotated, losses):
            spans.append(parts[0])
    return spans


def read_pubtator(path: Path, options: Mapping[str, Any], losses: Losses) -> Iterator[Sentence]:
    """Read PubTator: id|t|title, id|a|abstract, then one mention a line, with or without the number of a concept.

    Documents begin with their title. Relations are passed over. Mentions whose text is another than the annotator
    saw are counted as "other text than annotated" and left out; see `cut_text` for what else is.

    RAISES: ValueError with file and line if a mention is out of bounds, or a line of another form.
    """
    nlp = make_sentencizer()
    parts: list[str] = []
    spans: list[Span] = []
    name = ""
    for n_line, line in read_lines(path):
        text = re.match(r"([^|\t]+)\|([ta])\|(.*)", line)
        if text:
            if text.group(2) == "t" and parts:
                yield from cut_text(nlp, name, " ".join(parts), spans, losses)
                parts, spans = [], []
            name = text.group(1)
            parts.append(text.group(3))
        elif line.strip():
            columns = line.split("\t")
            if len(columns) in (4, 5) and not columns[1].isdecimal():
                continue  # a relation
            try:
                span = (int(columns[1]), int(columns[2]), columns[4])
            except (IndexError, ValueError) as err:
                raise ValueError(f"{path}, line {n_line}: no PubTator mention ({err}): '{line:.60}'.") from err
            whole = " ".join(parts)
            check_bounds([span], len(whole), f"{path}, line {n_line}", "characters")
            if is_text_of(span, whole, columns[3], losses):
                spans.append(span)
    if parts:
        yield from cut_text(nlp, name, " ".join(parts), spans, losses)


def read_json_spans(path: Path, options: Mapping[str, Any], losses: Losses) -> Iterator[Sentence]:
    """Read texts with spans in characters, one JSON object each.

    See `cut_text` for what is left out.

    options: text, spans, start, end, label: the names of the fields (the same words); is_sentence: whether a text is
        one sentence already.
    RAISES: ValueError with file and line if a record is of another form, or a span is out of bounds.
    """
    nlp = spacy.blank("en") if options.get("is_sentence") else make_sentencizer()
    name = {key: options.get(key, key) for key in ("text", "spans", "start", "end", "label")}
    for n, where, record in read_json_records(path):
        try:
            text = to_text(record[name["text"]])
            spans = [
                (to_offset(span[name["start"]]), to_offset(span[name["end"]]), to_text(span[name["label"]]))
                for span in record[name["spans"]]
            ]
        except (KeyError, TypeError) as err:
            raise ValueError(
                f"{where}: expected the fields {', '.join(name.values())} ({type(err).__name__}: {err})."
            ) from err
        check_bounds(spans, len(text), where, "characters")
        id = str(record.get("id", f"{path.name}:{n}"))
        if options.get("is_sentence"):
            doc = nlp.make_doc(text)
            yield take_words(doc, id, align(doc, spans, losses))
        else:
            yield from cut_text(nlp, id, text, spans, losses)


def read_conversations(path: Path, options: Mapping[str, Any], losses: Losses) -> Iterator[Sentence]:
    """Read UniversalNER's released test files: one query a record, whose answer is a JSON list of surface forms.

    Queries of one text are brought together. Answers have no offsets: a surface form is marked wherever the text has
    it, word by word; one that it does not have is counted as "not in the text", and an answer that is no JSON list as
    "unreadable answers".

    RAISES: ValueError with file and line if a record is no such conversation, or asks nothing.
    """
    nlp = spacy.blank("en")
    texts: dict[str, dict[str, list[str]]] = {}
    for _, where, record in read_json_records(path):
        try:
            turns = [to_text(turn["value"]) for turn in record["conversations"]]
            text = next(turn.removeprefix("Text: ") for turn in turns if turn.startswith("Text: "))
            queries = [(QUERY.fullmatch(ask.strip()), answer) for ask, answer in pairwise(turns)]
            answers = [(query.group("type"), answer) for query, answer in queries if query]
        except (KeyError, TypeError, StopIteration) as err:
            raise ValueError(f"{where}: no conversation with a text ({type(err).__name__}: {err}).") from err
        if not answers:
            raise ValueError(f"{where}: no turn asks 'What describes TYPE in the text?' and is answered.")
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
            located = locate(map(str, surfaces), words)
            losses.count("not in the text", len(located.lost))
            spans.update((start, end, type_) for start, end in located.runs)
        yield Sentence(f"{path.name}:{n}", words, tuple(sorted(spans)))


def read_docbin(path: Path, options: Mapping[str, Any], losses: Losses) -> Iterator[Sentence]:
    """Read a .spacy file: the entities of its Docs, or a span group.

    options: spans_key: the group to read in place of the entities.
    RAISES: ValueError if the file is none, or no Doc has that group.
    """
    vocab = spacy.blank("en").vocab
    try:
        docs = list(DocBin().from_disk(path).get_docs(vocab))
    except (ValueError, TypeError, OSError, EOFError, KeyError) as err:
        raise ValueError(f"{path} is no .spacy file ({type(err).__name__}: {err}). Is it cut?") from err
    key = options.get("spans_key")
    if key is not None and docs and not any(key in doc.spans for doc in docs):
        found = ", ".join(sorted({name for doc in docs for name in doc.spans})) or "none"
        raise ValueError(f"{path}: no Doc has the span group '{key}'. Groups: {found}. Correct the option spans_key.")
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
