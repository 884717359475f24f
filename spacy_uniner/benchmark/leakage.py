"""Whether a benchmark's sentences are in a distillation corpus, judged by common runs of words."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..passages import Passage

WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Leakage:
    """What a dataset has in common with a corpus.

    name: of the dataset.
    n_sentences: its sentences that have at least one run of so many words.
    n_shared: those of them that share a run with the corpus.
    examples: runs that are shared, the first of each of up to five sentences.
    """

    name: str
    n_sentences: int
    n_shared: int
    examples: tuple[str, ...]


def runs_of_words(text: str, n: int) -> Iterator[str]:
    """Give all runs of `n` words, in lower case and without punctuation."""
    words = WORD.findall(text.lower())
    for start in range(len(words) - n + 1):
        yield " ".join(words[start : start + n])


def read_corpus_runs(path: Path, n: int) -> set[str]:
    """Read the runs of `n` words of a corpus in JSONL with a field "text".

    RAISES: ValueError with file and line if a line is not of that form.
    """
    runs: set[str] = set()
    with path.open("rb") as file:
        for n_line, line in enumerate(file, start=1):
            try:
                runs.update(runs_of_words(json.loads(line.decode("utf8"))["text"], n))
            except (ValueError, KeyError, TypeError, AttributeError) as err:
                raise ValueError(
                    f'{path}, line {n_line}: expected JSON with a field "text" ({type(err).__name__}: {err}).'
                ) from err
    return runs


def find_leakage(name: str, passages: Iterable[Passage], corpus_runs: set[str], n: int) -> Leakage:
    """Look for runs of `n` words that sentences share with a corpus."""
    n_sentences = 0
    shared: list[Sequence[str]] = []
    for passage in passages:
        runs = list(runs_of_words(" ".join(passage.words), n))
        n_sentences += bool(runs)
        common = [run for run in runs if run in corpus_runs]
        if common:
            shared.append(common)
    return Leakage(name, n_sentences, len(shared), tuple(common[0] for common in shared[:5]))
