"""What curation reads and writes: gold and corpus as .spacy, labels as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import spacy
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Example
from spacy.vocab import Vocab

from ..passages import Mention, Passage


def write_docs(passages: Sequence[Passage], path: Path) -> None:
    """Write passages as a .spacy file of entities, in their order; each Doc has its source in `user_data`.

    A space follows each word, since passages do not know where the text had none.
    """
    vocab = Vocab()
    path.parent.mkdir(parents=True, exist_ok=True)
    docs = (make_doc(passage, vocab) for passage in passages)
    DocBin(attrs=["ENT_IOB", "ENT_TYPE"], docs=docs, store_user_data=True).to_disk(path)


def make_doc(passage: Passage, vocab: Vocab) -> Doc:
    """Make a Doc whose entities are the mentions, which must not overlap; all other words are outside of entities."""
    doc = Doc(vocab, words=list(passage.words), user_data={"source": passage.source})
    doc.set_ents([Span(doc, m.start, m.end, label=m.type) for m in passage.mentions], default="outside")
    return doc


def read_docs(path: Path, labels: Sequence[str]) -> list[Passage]:
    """Read gold from the entities of a .spacy file.

    RAISES: ValueError if it is no such file, holds no Doc, or has entities of other labels or none of these.
    """
    try:
        docs = list(DocBin().from_disk(path).get_docs(Vocab()))
    except (ValueError, KeyError, TypeError, OSError) as err:
        raise ValueError(
            f"{path} is no .spacy file ({type(err).__name__}: {err}). Write one by 'spacy convert'."
        ) from err
    passages = []
    for n, doc in enumerate(docs):
        mentions = tuple(Mention(ent.start, ent.end, ent.label_) for ent in doc.ents)
        types = tuple(dict.fromkeys((*labels, *(mention.type for mention in mentions))))
        source = str(doc.user_data.get("source", n))
        passages.append(Passage(tuple(token.text for token in doc), types, mentions, source=source))
    check_labels(path, passages, labels)
    return [Passage(p.words, tuple(labels), p.mentions, source=p.source) for p in passages]


def check_labels(path: Path, passages: Sequence[Passage], labels: Sequence[str]) -> None:
    """Check that gold is of these labels.

    RAISES: ValueError if there are no texts, or mentions of other labels or none of these.
    """
    if not passages:
        raise ValueError(f"{path} holds no text. Give a file with gold, or leave it out.")
    found = {mention.type for passage in passages for mention in passage.mentions}
    if not found:
        raise ValueError(
            f"{path} has no entity in its {len(passages):,} texts. Give a file with gold, or leave it out."
        )
    if found - set(labels):
        raise ValueError(
            f"{path} has entities of {', '.join(sorted(found - set(labels)))}, but the labels are "
            f"{', '.join(sorted(labels))}. Give gold of the same labels, or name these labels, too."
        )


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
