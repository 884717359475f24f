"""Readers for `[corpora]`: distilled passages as a stream of training Examples, held-out ones, and a mix with gold."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from spacy.language import Language
from spacy.training import Example

from .distill import Negatives, Questions, ask_held_out, split_held_out
from .docs import passage_to_example
from .hierarchy import read_hierarchy
from .passages import Mention, Passage

logger = logging.getLogger(__name__)

Reader = Callable[[Language], Iterator[Example]]

HELD_OUT_ONE_IN = 20


def read_marked(path: Path, nlp: Language) -> list[Passage]:
    """Read passages that a teacher marked, in the form of assets/corpus: text, mentions by characters with a specific
    and a broad type, absent types.

    Mentions whose bounds fall inside a word of the pipeline's tokenizer are left out, counted and reported once.

    RAISES: ValueError with file and line if a line has another form.
    """
    passages = []
    n_mentions = n_misaligned = 0
    with path.open("rb") as file:
        for n_line, line in enumerate(file, start=1):
            try:
                record = json.loads(line.decode("utf8"))
                doc = nlp.make_doc(record["text"])
                mentions: list[Mention] = []
                for marked in record["mentions"]:
                    span = doc.char_span(marked["start"], marked["end"])
                    n_mentions += 1
                    n_misaligned += span is None
                    if span is not None:
                        types = dict.fromkeys((marked["type"].lower(), marked["broad"].lower()))
                        mentions.extend(Mention(span.start, span.end, type_) for type_ in types)
                absent = [type_.lower() for type_ in record["absent"]]
                types = dict.fromkeys((*(mention.type for mention in mentions), *absent))
                words = tuple(token.text for token in doc)
                passages.append(Passage(words, tuple(types), tuple(mentions), source=str(record["id"])))
            except (KeyError, TypeError, ValueError, AttributeError) as err:
                raise ValueError(
                    f"{path}, line {n_line}: not a marked passage ({type(err).__name__}: {err}). Expected id, text, "
                    "mentions (start, end, type, broad) and absent."
                ) from err
    if n_misaligned:
        logger.warning(
            "%s: %d of %d mentions do not align with the tokenizer and were left out.", path, n_misaligned, n_mentions
        )
    return passages


class DistilledPassages:
    """The marked passages of a corpus, split into those to train on and those held out, and the names of their types.

    passages: marked passages, as in assets/corpus/passages.jsonl.
    names: other names of types, as in assets/corpus/types.tsv.
    """

    def __init__(self, passages: Path, names: Path, nlp: Language) -> None:
        self.all = read_marked(passages, nlp)
        self.train, self.held_out, self.unseen = split_held_out(self.all, HELD_OUT_ONE_IN)
        self.hierarchy = read_hierarchy(names, self.train, without=self.unseen)


class Distilled:
    """Stream distilled passages as Examples, once through for each call, in a new order and with new questions.

    Held-out passages and types are never among them. Use with `max_epochs = -1`, and give the component's labels, if
    it is to have any, in `[initialize]`.

    passages: marked passages, as in assets/corpus/passages.jsonl.
    names: other names of types, as in assets/corpus/types.tsv.
    negatives: which types are asked that are not there: none, uniform, frequency, hard; see `distill.Questions`.
    n_negatives: how many types are drawn for each group.
    group_size: passages that are asked the same types; best a divisor of the batch size.
    lower_case: share of passages that are given in lower case, as people type queries.
    seed: of the order and the questions.
    limit: use only so many passages; 0 for all.
    """

    def __init__(
        self,
        passages: str | Path,
        names: str | Path,
        *,
        negatives: Negatives = "hard",
        n_negatives: int = 60,
        group_size: int = 16,
        lower_case: float = 0.2,
        seed: int = 0,
        limit: int = 0,
    ) -> None:
        if group_size < 1 or n_negatives < 0 or not 0.0 <= lower_case <= 1.0:
            raise ValueError(
                "Distilled passages need group_size >= 1, n_negatives >= 0 and lower_case in [0, 1], got "
                f"{group_size}, {n_negatives} and {lower_case}."
            )
        self.passages = Path(passages)
        self.names = Path(names)
        self.negatives = negatives
        self.n_negatives = n_negatives
        self.group_size = group_size
        self.lower_case = lower_case
        self.limit = limit
        self.seed = seed
        self._corpus: DistilledPassages | None = None
        self._n_calls = 0

    def __call__(self, nlp: Language) -> Iterator[Example]:
        """Read the corpus on the first call; yield one Example a passage."""
        if self._corpus is None:
            self._corpus = DistilledPassages(self.passages, self.names, nlp)
        train = self._corpus.train[: self.limit or None]
        rng = random.Random(f"{self.seed} {self._n_calls}")
        questions = Questions(
            train,
            self._corpus.hierarchy,
            negatives=self.negatives,
            n_negatives=self.n_negatives,
            seed=rng.randrange(2**32),
        )
        self._n_calls += 1
        order = rng.sample(train, len(train))
        for first in range(0, len(order), self.group_size):
            for passage in questions.ask(order[first : first + self.group_size]):
                if rng.random() < self.lower_case:
                    passage = replace(passage, words=tuple(word.lower() for word in passage.words))
                yield passage_to_example(passage, nlp.vocab)


class HeldOut:
    """Give the held-out passages as Examples, asked for types that no training passage mentions; always the same ones.

    passages, names: as in `Distilled`.
    n_negatives: how many types of other held-out passages are asked of each.
    limit: use only so many passages; 0 for all.
    """

    def __init__(self, passages: str | Path, names: str | Path, *, n_negatives: int = 8, limit: int = 0) -> None:
        self.passages = Path(passages)
        self.names = Path(names)
        self.n_negatives = n_negatives
        self.limit = limit
        self._questions: list[Passage] | None = None

    def __call__(self, nlp: Language) -> Iterator[Example]:
        """Read the corpus on the first call; yield one Example a passage."""
        if self._questions is None:
            corpus = DistilledPassages(self.passages, self.names, nlp)
            self._questions = ask_held_out(
                corpus.held_out, corpus.unseen, corpus.hierarchy, n_negatives=self.n_negatives, seed=0
            )
        for passage in self._questions[: self.limit or None]:
            yield passage_to_example(passage, nlp.vocab)


class Mixed:
    """Stream gold Examples with distilled ones among them, so that what is learned anew does not displace the rest.

    One call goes once through the gold; the distilled stream goes on from call to call.

    gold: a reader of gold Examples, such as `spacy.Corpus.v1`.
    distilled: a reader of distilled ones.
    share: how many of all Examples are distilled, in [0, 1).
    seed: of the order.
    """

    def __init__(self, gold: Reader, distilled: Reader, *, share: float = 0.5, seed: int = 0) -> None:
        if not 0.0 <= share < 1.0:
            raise ValueError(f"The share of distilled Examples must be in [0, 1), got {share}.")
        self.gold = gold
        self.distilled = distilled
        self.share = share
        self.seed = seed
        self._n_calls = 0
        self._stream: Iterator[Example] | None = None

    def __call__(self, nlp: Language) -> Iterator[Example]:
        """Yield all gold Examples in a new order, and distilled ones in between."""
        if self._stream is None:
            self._stream = self._read_distilled(nlp)
        rng = random.Random(f"{self.seed} {self._n_calls}")
        self._n_calls += 1
        gold = list(self.gold(nlp))
        rng.shuffle(gold)
        for example in gold:
            while rng.random() < self.share:
                yield next(self._stream)
            yield example

    def _read_distilled(self, nlp: Language) -> Iterator[Example]:
        """Read the distilled Examples again and again."""
        while True:
            is_empty = True
            for example in self.distilled(nlp):
                is_empty = False
                yield example
            if is_empty:
                raise ValueError("The distilled reader gives no Examples. Check its files, or mix with a share of 0.")
