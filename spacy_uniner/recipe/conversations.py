"""Conversations to tune with, as JSON in the released schema: made of passages, mixed, and read back."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..conversation import Turn, conversation_to_dict, make_turns, parse_reply
from ..passages import Mention, Passage
from ..spans import locate
from .tagging import make_tagging_turns

Form = Literal["one-by-one", "all-in-one", "tagging"]

_TEXT = re.compile(r"(?:Dataset: (?P<dataset>.*?) \n )?Text: (?P<text>.*)", re.DOTALL)
_QUERY = re.compile(r"What describes (?P<type>.+) in the text\?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation about a passage.

    id: its name.
    turns: the user's and the assistant's in turn; the user begins, the assistant has the last word.
    RAISES: ValueError if the turns are not so.
    """

    id: str
    turns: tuple[Turn, ...]

    def __post_init__(self) -> None:
        speakers = [turn.speaker for turn in self.turns]
        if not speakers or len(speakers) % 2 or speakers != ["human", "gpt"] * (len(speakers) // 2):
            raise ValueError(
                f"Conversation '{self.id}' needs turns of human and gpt in turn, got {', '.join(speakers) or 'none'}."
            )


def make_conversations(passages: Iterable[Passage], form: Form = "one-by-one", dataset: str = "") -> list[Conversation]:
    """Make a conversation of each passage of which anything can be asked.

    form: a query for each type; one query for all; or a plain instruction to tag, see `make_tagging_turns`.
    dataset: the name of a supervised dataset, written before the text; "" for none.
    """
    conversations = []
    for n, passage in enumerate(passages):
        if form == "tagging":
            turns = make_tagging_turns(passage, dataset)
        else:
            turns = make_turns(passage, dataset, all_in_one=form == "all-in-one")
        if len(turns) > (0 if form == "tagging" else 2):
            name = passage.source or str(n)
            conversations.append(Conversation(f"{dataset}.{name}" if dataset else name, turns))
    return conversations


def mix_supervised(
    sets: Mapping[str, Sequence[Passage]], cap: int, seed: int, form: Form = "one-by-one"
) -> list[Conversation]:
    """Make conversations of supervised datasets, each with its name before the text.

    sets: by the dataset's name; the types asked of a passage are what is asked of it.
    cap: use at most so many passages of a dataset, drawn at random.
    seed: of the draw.
    RETURNS: those of one dataset after those of another; tuning shuffles them.
    RAISES: ValueError if the cap lets nothing in.
    SOURCE: Zhou et al. 2023, section 5.1 (at most 10,000 instances of a dataset) and figure 3.
    """
    if cap < 1:
        raise ValueError(f"The cap must let in 1 passage of a dataset or more, got {cap}.")
    mixed = []
    for name, passages in sets.items():
        rng = random.Random(f"{seed} {name}")  # so that another dataset in the mixture does not change the draw
        drawn = sorted(rng.sample(range(len(passages)), min(cap, len(passages))))
        mixed += make_conversations([passages[place] for place in drawn], form, name)
    return mixed


def write_conversations(conversations: Iterable[Conversation], path: Path) -> int:
    """Write conversations as a JSON list, one a line.

    RETURNS: the number of conversations written.
    """
    lines = [json.dumps(conversation_to_dict(c.id, c.turns), ensure_ascii=False) for c in conversations]
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf8")
    return len(lines)


def read_conversations(path: Path) -> list[Conversation]:
    """Read a JSON list of conversations, such as the released files are.

    RAISES: ValueError with the file's name and the conversation's place if something has another form.
    """
    try:
        records = json.loads(path.read_bytes().decode("utf8"))
    except ValueError as err:
        raise ValueError(f"{path} is not JSON ({err}). Expected a list of conversations.") from err
    if not isinstance(records, list):
        raise ValueError(f"{path}: a JSON {type(records).__name__}, expected a list of conversations.")
    conversations = []
    for place, record in enumerate(records):
        try:
            turns = tuple(_read_turn(turn["from"], turn["value"]) for turn in record["conversations"])
            conversations.append(Conversation(str(record["id"]), turns))
        except (KeyError, TypeError, ValueError) as err:
            raise ValueError(
                f"{path}, conversation {place}: {type(err).__name__}: {err}. Expected an id and conversations, a list "
                "of turns with from (human or gpt) and value."
            ) from err
    return conversations


def read_back(conversation: Conversation) -> tuple[Passage, tuple[tuple[str, str], ...]]:
    """Make a passage of a conversation with a query for each type.

    The words are what stands between white space. A surface form is a mention wherever it stands.

    RETURNS: the passage; and type and surface form of what stands nowhere, or not from one end of a word to another.
    RAISES: ValueError if a turn is none that `make_turns` writes, or a type is asked twice.
    """
    opening = _TEXT.fullmatch(conversation.turns[0].text)
    if opening is None:
        raise ValueError(f"Conversation '{conversation.id}' does not begin with a text: {_cut(conversation, 0)}.")
    words = tuple(opening["text"].split())
    types: list[str] = []
    mentions: list[Mention] = []
    lost: list[tuple[str, str]] = []
    for place in range(2, len(conversation.turns), 2):
        query = _QUERY.fullmatch(conversation.turns[place].text)
        reply = parse_reply(conversation.turns[place + 1].text)
        if query is None or reply.problem is not None:
            raise ValueError(
                f"Conversation '{conversation.id}' is not of queries for one type, answered by lists: "
                f"{_cut(conversation, place)}, {_cut(conversation, place + 1)}."
            )
        located = locate(reply.surfaces, words)
        types.append(query["type"])
        mentions += (Mention(start, end, query["type"]) for start, end in located.runs)
        lost += ((query["type"], surface) for surface in located.lost)
    return Passage(words, tuple(types), tuple(mentions), source=conversation.id), tuple(lost)


def _read_turn(speaker: str, text: str) -> Turn:
    if speaker not in ("human", "gpt") or not isinstance(text, str):
        raise ValueError(f"no turn: from {speaker!r}, value {text!r}")
    return Turn("human" if speaker == "human" else "gpt", text)


def _cut(conversation: Conversation, place: int) -> str:
    return repr(conversation.turns[place].text[:60])
