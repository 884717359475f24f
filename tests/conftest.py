"""The tiny world that tests share: a tokenizer of some hundred pieces, and an encoder student of width 8 that has
learned four passages by heart; a corpus of two dozen sentences."""

from __future__ import annotations

import json
import string
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import spacy
import torch
from spacy.language import Language
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from spacy_uniner.distill import split_held_out
from spacy_uniner.passages import Mention, Passage
from spacy_uniner.students.bert import BertSize, Pieces
from spacy_uniner.students.encoder import EncoderStudent
from spacy_uniner.students.sizes import EncoderSize
from spacy_uniner.students.weights import write_student

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
WHOLE_WORDS = (
    "alan",
    "bean",
    "city",
    "crew",
    "flew",
    "from",
    "in",
    "it",
    "landed",
    "lives",
    "met",
    "mission",
    "moon",
    "near",
    "of",
    "on",
    "paris",
    "person",
    "rome",
    "sally",
    "ride",
    "the",
    "to",
    "was",
    "with",
    "space",
    "company",
    "astronaut",
    "place",
)


def make_tokenizer_json() -> str:
    """Make the tokenizer of a tiny BERT: some whole words, and all letters, digits and signs as pieces."""
    signs = string.ascii_lowercase + string.digits + string.punctuation
    names = [*SPECIAL, *WHOLE_WORDS, *signs, *(f"##{sign}" for sign in signs)]
    vocabulary = {name: n for n, name in enumerate(dict.fromkeys(names))}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    return str(tokenizer.to_str())


def make_encoder_student(seed: int = 0, *, max_window_pieces: int = 62) -> EncoderStudent:
    """Make an encoder student of width 8 without dropout that has learned nothing yet.

    seed: of its weights.
    """
    pieces = Pieces(make_tokenizer_json())
    size = EncoderSize(
        BertSize(
            vocab_size=256,
            hidden_size=8,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=256,
            hidden_dropout_prob=0.0,
        ),
        max_span_words=4,
        n_hidden=16,
        n_implication=4,
        max_window_pieces=max_window_pieces,
        window_overlap_words=16,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return EncoderStudent(size, pieces, "float32").eval()


def make_lessons() -> list[Passage]:
    """Make the passages that the tiny student learns; the types asked are "city", "person" and the narrower
    "astronaut"."""
    asked = ("city", "person", "astronaut")
    lessons = [
        ("Alan Bean flew from Paris to the moon .", [(0, 2, "person"), (0, 2, "astronaut"), (4, 5, "city")]),
        ("Sally met Alan in Rome .", [(0, 1, "person"), (2, 3, "person"), (4, 5, "city")]),
        ("The crew of Sally Ride landed near Rome", [(3, 5, "person"), (3, 5, "astronaut"), (7, 8, "city")]),
        ("It was the mission to the moon .", []),
    ]
    return [
        Passage(tuple(text.split()), asked, tuple(Mention(*mention) for mention in mentions), source=text)
        for text, mentions in lessons
    ]


def teach(student: EncoderStudent, lessons: list[Passage], n_steps: int, rate: float = 0.005) -> list[float]:
    """Let a student learn passages by heart.

    RETURNS: the loss of each step, in nats.
    """
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so little work is only slowed down by a second one
    optimizer = torch.optim.Adam([p for p in student.parameters() if p.requires_grad], lr=rate)
    losses = []
    student.train()
    for _ in range(n_steps):
        optimizer.zero_grad()
        loss = student.losses(lessons).mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    student.eval()
    torch.set_num_threads(n_threads)
    return losses


@pytest.fixture(scope="session")
def lessons() -> list[Passage]:
    """Four passages; see `make_lessons`."""
    return make_lessons()


@pytest.fixture(scope="session")
def tiny_student(lessons: list[Passage]) -> EncoderStudent:
    """A student that knows the lessons by heart, with scores near 0 and 1. Shared: do not train it."""
    student = make_encoder_student()
    teach(student, lessons, n_steps=200)
    return student


@pytest.fixture(scope="session")
def tiny_folder(tiny_student: EncoderStudent, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny student, for `config={"model": {"name": str(tiny_folder), "precision": "float32"}}`."""
    folder = tmp_path_factory.mktemp("tiny_student")
    write_student(tiny_student, folder, {"name": "tiny"})
    return folder


@pytest.fixture
def tiny_nlp(tiny_folder: Path) -> Language:
    """A blank English pipeline with the tiny student, asked for "city" and "person"."""
    nlp = spacy.blank("en")
    model = {"name": str(tiny_folder), "precision": "float32"}
    nlp.add_pipe("universal_ner", config={"model": model, "labels": ["city", "person"], "threshold": 0.3})
    return nlp


def mark(source: str, text: str, mentions: list[tuple[str, str, str]], absent: list[str]) -> dict[str, Any]:
    """Make a line of a corpus as a teacher marks it.

    mentions: surface, specific type and broad type.
    """
    starts = [text.index(surface) for surface, _, _ in mentions]
    marked = [
        {"start": start, "end": start + len(surface), "type": type_, "broad": broad}
        for start, (surface, type_, broad) in zip(starts, mentions)
    ]
    return {"id": source, "text": text, "mentions": marked, "absent": absent}


# Texts to train on, and texts that are held out: nobody but the latter mentions a comet or a pilot.
TRAIN_TEXTS = (
    (
        "Alan flew from Paris to the moon.",
        [("Alan", "Astronaut", "Person"), ("Paris", "City", "Location")],
        ["comet", "river"],
    ),
    (
        "Sally met Alan in Rome.",
        [("Sally", "engineer", "person"), ("Alan", "astronaut", "person"), ("Rome", "city", "location")],
        ["crater"],
    ),
    (
        "Apollo 11 landed near Tycho.",
        [("Apollo 11", "space mission", "event"), ("Tycho", "crater", "location")],
        ["pilot"],
    ),
    ("It was the mission to the moon.", [], ["city", "astronaut"]),
)
HELD_OUT_TEXTS = (
    (
        "Halley was seen from Rome.",
        [("Halley", "comet", "location"), ("Rome", "city", "location")],
        ["crater", "probe"],
    ),
    ("Judy flew to Paris.", [("Judy", "pilot", "person"), ("Paris", "city", "location")], ["comet"]),
)
NAMES = """type\tsame\twider
city\ttown; municipality\tsettlement; place
astronaut\tspacefarer\ttraveller
engineer\ttechnician; pilot\ttraveller
crater\timpact crater\tlandform; place
space mission\t\tcomet; mission
comet\t\tcelestial body
pilot\taviator\ttraveller
"""


@dataclass(frozen=True)
class TinyCorpus:
    """The files of a corpus as `Distilled` reads it; the types that only its held-out passages mention."""

    passages: Path
    names: Path
    unseen: frozenset[str] = frozenset({"comet", "pilot"})


@pytest.fixture(scope="session")
def tiny_corpus(tmp_path_factory: pytest.TempPathFactory) -> TinyCorpus:
    """Twenty-four passages to train on and two that are held out."""
    folder = tmp_path_factory.mktemp("tiny_corpus")
    train, held_out, _ = split_held_out([Passage((), source=f"p{n}") for n in range(200)], 20)
    lines = [mark(passage.source, *TRAIN_TEXTS[n % len(TRAIN_TEXTS)]) for n, passage in enumerate(train[:24])]
    lines += [mark(passage.source, *text) for passage, text in zip(held_out, HELD_OUT_TEXTS)]
    content = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "passages.jsonl").write_text(content, encoding="utf8")
    (folder / "types.tsv").write_text(NAMES, encoding="utf8")
    return TinyCorpus(folder / "passages.jsonl", folder / "types.tsv")
