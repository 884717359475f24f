"""A reference derived from the marks of a corpus, for texts that have no gold of their own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import srsly
from spacy.language import Language

from ..corpus import read_marked
from ..passages import Mention, Passage
from .ledger import Step, open_step, surface_of
from .quality import squeeze, text_of

NONE = "none"


@dataclass(frozen=True, slots=True)
class LabelMap:
    """Which types of a marked corpus are which label.

    specific, broad: from type to label, or to "none"; a specific type goes before the broad one.
    titles: words left out at the beginning of a mention of PER.
    """

    specific: Mapping[str, str]
    broad: Mapping[str, str]
    titles: frozenset[str]

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, sorted."""
        return tuple(sorted({*self.specific.values(), *self.broad.values()} - {NONE}))


def read_label_map(path: Path) -> LabelMap:
    """Read a map as assets/teacher/news_gold.yml.

    RAISES: ValueError if it has another form, or a type is in two lists.
    """
    record: Any = srsly.read_yaml(path)
    try:
        by_type = [invert(path, record[level]) for level in ("specific", "broad")]
        return LabelMap(by_type[0], by_type[1], frozenset(record["titles"]))
    except (KeyError, TypeError, AttributeError) as err:
        raise ValueError(
            f"{path} is no label map ({type(err).__name__}: {err}). Expected broad and specific (for each label, and "
            "for none, a list of types) and titles (a list of words)."
        ) from err


def invert(path: Path, types_by_label: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """Give the label of each type.

    RAISES: ValueError if a type is in two lists.
    """
    label_of: dict[str, str] = {}
    for label, types in types_by_label.items():
        for type_ in types:
            if type_ in label_of:
                raise ValueError(f"{path}: '{type_}' is {label_of[type_]} and {label}. Leave it in one of the lists.")
            label_of[type_] = label
    return label_of


def derive_gold(
    marked: Path, label_map: LabelMap, texts: Mapping[str, str], nlp: Language
) -> tuple[list[Passage], Step]:
    """Make gold for texts out of a corpus's marks.

    marked: marked passages, as assets/corpus/passages.jsonl.
    texts: by id, the texts that were annotated.
    RETURNS: the passages, sorted by source; and what was lost. Mentions are counted from those that the marks have.
    RAISES: ValueError if no text is in the corpus, or a broad type is not in the map.
    """
    passages = [gather_marks(passage) for passage in read_marked(marked, nlp) if passage.source in texts]
    if not passages:
        raise ValueError(f"None of the {len(texts):,} texts is in {marked}. Give texts whose ids are of that corpus.")
    step = open_step("gold from marks", passages)
    gold = []
    for passage in sorted(passages, key=lambda passage: passage.source):
        if squeeze(texts[passage.source]) != text_of(passage):
            step.lose_text("the corpus has another text of that id", passage)
        elif not shows_names(texts[passage.source]):
            step.lose_text("upper and lower case say nothing", passage)
        else:
            gold.append(to_gold(passage, label_map, step))
    step.close(gold)
    return gold, step


def gather_marks(passage: Passage) -> Passage:
    """Make one mention of the specific and the broad type that a mark has; "type / broad"."""
    marks = []
    for _, group in groupby(passage.mentions, key=lambda mention: (mention.start, mention.end)):
        types = [mention.type for mention in group]
        marks.append((types[0], types[-1]))
    places = dict.fromkeys((mention.start, mention.end) for mention in passage.mentions)
    mentions = [Mention(*place, " / ".join(types)) for place, types in zip(places, marks, strict=True)]
    return Passage(
        passage.words, tuple(dict.fromkeys(m.type for m in mentions)), tuple(mentions), source=passage.source
    )


def shows_names(text: str) -> bool:
    """Tell whether case tells names from other words: there are small letters, and capitals behind the first letter."""
    letters = [character for character in text if character.isalpha()]
    return any(letter.islower() for letter in letters) and any(letter.isupper() for letter in letters[1:])


def to_gold(passage: Passage, label_map: LabelMap, step: Step) -> Passage:
    """Give the marks of a passage their labels.

    RAISES: ValueError if a broad type is not in the map.
    """
    mentions = []
    for mark in passage.mentions:
        specific, broad = mark.type.split(" / ")
        if broad not in label_map.broad:
            raise ValueError(
                f"Broad type '{broad}' of text '{passage.source}' is in no list of the label map. Add it to a label, "
                "or to none."
            )
        label = label_map.specific.get(specific, label_map.broad[broad])
        if label == NONE:
            step.lose_mention("of no label", passage, mark)
        elif not any(character.isupper() for character in surface_of(passage, mark)):
            step.lose_mention("no name: without a capital", passage, mark)
        else:
            start = mark.start
            while label == "PER" and start < mark.end - 1 and passage.words[start] in label_map.titles:
                start += 1
            mentions.append(Mention(start, mark.end, label))
    return replace(passage, types=label_map.labels, mentions=tuple(mentions))


def split_gold(gold: Iterable[Passage], n_train: int, n_dev: int) -> tuple[list[Passage], list[Passage]]:
    """Draw gold to train on and gold to measure by; the choice depends on the sources alone.

    RETURNS: both, each sorted by source.
    RAISES: ValueError if there is not so much gold.
    """
    order = sorted(gold, key=lambda passage: hashlib.sha256(passage.source.encode("utf8")).digest())
    if min(n_train, n_dev) < 0 or n_train + n_dev > len(order):
        raise ValueError(f"Asked for {n_train} texts to train on and {n_dev} for dev, but {len(order)} have gold.")
    train, dev = order[n_dev : n_dev + n_train], order[:n_dev]
    return sorted(train, key=lambda passage: passage.source), sorted(dev, key=lambda passage: passage.source)
