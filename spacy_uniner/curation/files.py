"""What curation writes: the corpus as .spacy, labels and report as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import spacy
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Example
from spacy.util import get_words_and_spaces
from spacy.vocab import Vocab

from ..passages import Passage


def write_docs(passages: Sequence[Passage], path: Path, texts: Mapping[str, str] | None = None) -> None:
    """Write passages as a .spacy file of entities, in their order; each Doc has its source in `user_data`.

    texts: by source, as they were written, which tells where words have no space between; else each is followed by one.
    """
    vocab = Vocab()
    path.parent.mkdir(parents=True, exist_ok=True)
    docs = (make_doc(passage, vocab, (texts or {}).get(passage.source)) for passage in passages)
    DocBin(attrs=["ENT_IOB", "ENT_TYPE"], docs=docs, store_user_data=True).to_disk(path)


def make_doc(passage: Passage, vocab: Vocab, text: str | None = None) -> Doc:
    """Make a Doc whose entities are the mentions, which must not overlap; all other words are outside of entities.

    RAISES: ValueError if the text has other words.
    """
    words, spaces = list(passage.words), None
    if text is not None:
        try:
            found, spaces = get_words_and_spaces(words, text)
        except ValueError:
            found = []
        if found != words:
            raise ValueError(
                f"Text '{passage.source}' is {text!r:.80}, but its words are {' '.join(words)!r:.80}. Give the text "
                "that was cut into these words."
            )
    doc = Doc(vocab, words=words, spaces=spaces, user_data={"source": passage.source})
    doc.set_ents([Span(doc, m.start, m.end, label=m.type) for m in passage.mentions], default="outside")
    return doc


def write_labels(passages: Sequence[Passage], labels: Sequence[str], folder: Path) -> None:
    """Write the labels as `spacy init labels` does, for `[initialize.components.NAME.labels]` to read by
    `spacy.read_labels.v1`: of spaCy's ner, and of universal_ner.

    passages: what is trained on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    nlp = spacy.blank("xx")
    ner: Any = nlp.add_pipe("ner")
    docs = [make_doc(passage, nlp.vocab) for passage in passages]
    ner.moves.initialize_actions(
        ner.moves.get_actions(examples=[Example(Doc(d.vocab, words=[t.text for t in d]), d) for d in docs])
    )
    write_json(folder / "ner.json", ner.label_data)
    write_json(folder / "universal_ner.json", sorted(labels))


def write_json(path: Path, content: Any) -> None:
    """Write JSON that people can read."""
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf8")
