"""Texts for a teacher: cut to passages, and sampled by where they come from."""

from __future__ import annotations

import json
import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import spacy
from spacy.tokens import Doc

CountUnits = Callable[[Sequence[str]], list[int]]

_WORD = re.compile(r"\S+\s*")
_SENTENCE_END = re.compile(r"[.!?…][\"'”’)\]]*\s*$|\n\s*$")


@dataclass(frozen=True, slots=True)
class Text:
    """A text without marks.

    id: its name, unlike all others.
    text: its characters.
    source: the collection it comes from; samples are balanced by it.
    RAISES: ValueError if the id or the text is blank.
    """

    id: str
    text: str
    source: str = ""

    def __post_init__(self) -> None:
        if not self.id.strip() or not self.text.strip():
            raise ValueError(f"A text needs an id and characters, got id {self.id!r} and text {self.text[:40]!r}.")


def read_texts(path: Path) -> Iterator[Text]:
    """Read texts from JSONL with "text", and perhaps "id" and "source"; without an id, it is that of the
    file and the line.

    RAISES: ValueError with the file's name and line if a line has another form.
    """
    with path.open("rb") as file:
        for n_line, line in enumerate(file, start=1):
            if line.strip():
                try:
                    record = json.loads(line.decode("utf8"))
                    id_ = record.get("id")
                    id_ = f"{path.stem}:{n_line}" if id_ is None else str(id_)
                    yield Text(id_, record["text"], str(record.get("source", "")))
                except (KeyError, TypeError, ValueError, AttributeError) as err:
                    raise ValueError(
                        f'{path}, line {n_line}: not a text ({type(err).__name__}: {err}). Expected JSON with "text", '
                        'and perhaps "id" and "source".'
                    ) from err


def write_texts(texts: Iterable[Text], path: Path) -> int:
    """Write texts as JSONL, one a line.

    RETURNS: the number of texts written.
    """
    n_texts = 0
    with path.open("w", encoding="utf8") as file:
        for text in texts:
            file.write(json.dumps(asdict(text), ensure_ascii=False) + "\n")
            n_texts += 1
    return n_texts


def count_tokens(words: Sequence[str]) -> list[int]:
    """Count the tokens of each word as spaCy's English tokenizer cuts it."""
    tokenizer = _read_tokenizer()
    return [len(tokenizer(word.strip())) for word in words]


def make_piece_counter(path: Path) -> CountUnits:
    """Make a function that counts the pieces of each word as a model's tokenizer cuts it.

    path: the model's tokenizer.json.
    RAISES: FileNotFoundError if there is none.
    """
    from tokenizers import Tokenizer as Pieces

    if not path.is_file():
        raise FileNotFoundError(f"No tokenizer at {path}. Give the tokenizer.json of the model.")
    tokenizer = Pieces.from_file(str(path))

    def count_pieces(words: Sequence[str]) -> list[int]:
        cut = tokenizer.encode_batch([f" {word.strip()}" for word in words], add_special_tokens=False)
        return [max(1, len(encoding.ids)) for encoding in cut]

    return count_pieces


def cut_text(text: Text, max_units: int, count_units: CountUnits = count_tokens) -> list[Text]:
    """Cut a text into passages that take at most `max_units`, at the ends of sentences where there are such.

    A passage ends behind the last sentence that fits, if that fills half of it; else behind the last word that fits. A
    single word of more units is a passage by itself.

    max_units: the most that a passage may take, in units of `count_units`.
    RETURNS: the passages, with their number behind the id if there are several; together they have all words.
    RAISES: ValueError if a passage could hold nothing.
    SOURCE: at most 256 tokens, Zhou et al. 2023, section 3.1; where to cut is our choice.
    """
    if max_units < 1:
        raise ValueError(f"A passage must have room for 1 token or more, got {max_units}.")
    words = _WORD.findall(text.text)
    n_units = count_units(words)
    bounds = [0]
    while bounds[-1] < len(words):
        bounds.append(_find_end(words, n_units, bounds[-1], max_units))
    parts = ["".join(words[start:end]).strip() for start, end in pairwise(bounds)]
    if len(parts) == 1:
        return [Text(text.id, parts[0], text.source)]
    return [Text(f"{text.id}.{n}", part, text.source) for n, part in enumerate(parts)]


def sample_texts(texts: Sequence[Text], n_texts: int, seed: int) -> list[Text]:
    """Sample texts at random, from each source in proportion to what it has.

    The shares are rounded by the largest remainder, of equal ones first those of the source first in the alphabet.

    RETURNS: the sample in the order of the texts; all of them if there are no more than asked.
    RAISES: ValueError if the number is negative.
    SOURCE: stratified sampling with proportional allocation; the paper samples at random.
    """
    if n_texts < 0:
        raise ValueError(f"The number of texts to sample must be 0 or more, got {n_texts}.")
    if n_texts >= len(texts):
        return list(texts)
    places: dict[str, list[int]] = defaultdict(list)
    for place, text in enumerate(texts):
        places[text.source].append(place)
    exact = {source: n_texts * len(places[source]) / len(texts) for source in sorted(places)}
    shares = {source: int(share) for source, share in exact.items()}
    by_remainder = sorted(exact, key=lambda source: (shares[source] - exact[source], source))
    for source in by_remainder[: n_texts - sum(shares.values())]:
        shares[source] += 1
    rng = random.Random(seed)
    drawn = [place for source, n_drawn in shares.items() for place in rng.sample(places[source], n_drawn)]
    return [texts[place] for place in sorted(drawn)]


@cache
def _read_tokenizer() -> Callable[[str], Doc]:
    return spacy.blank("en").tokenizer


def _find_end(words: Sequence[str], n_units: Sequence[int], start: int, max_units: int) -> int:
    end, n_taken = start + 1, n_units[start]
    while end < len(words) and n_taken + n_units[end] <= max_units:
        n_taken += n_units[end]
        end += 1
    if end == len(words):
        return end
    half = start + (end - start) // 2
    return next((n + 1 for n in range(end - 1, half - 1, -1) if _SENTENCE_END.search(words[n])), end)
