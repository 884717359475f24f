"""Conversations in the released schema: made, mixed, written, read, and read back into passages."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from spacy_uniner.conversation import Turn, make_turns
from spacy_uniner.passages import Mention, Passage
from spacy_uniner.recipe.conversations import (
    Conversation,
    make_conversations,
    mix_supervised,
    read_back,
    read_conversations,
    write_conversations,
)
from spacy_uniner.recipe.tagging import make_tagging_turns, parse_tagging

PLAY = Passage(
    ("Karel", "Čapek", "wrote", "R.U.R.", "in", "Prague", "."),
    ("play", "song", "writer"),
    (Mention(3, 4, "play"), Mention(0, 2, "writer")),
    source="p1",
)
# As train.json of Pile-NER-type is: a list of records, the id behind or before.
RELEASED = [
    {
        "id": "ner_1",
        "conversations": [
            {"from": "human", "value": "Text: Q:\n\nHow to sum two columns in R?"},
            {"from": "gpt", "value": "I've read this text."},
            {"from": "human", "value": "What describes programming language in the text?"},
            {"from": "gpt", "value": '["R"]'},
            {"from": "human", "value": "What describes person in the text?"},
            {"from": "gpt", "value": "[]"},
        ],
    }
]


def test_conversations_are_those_of_the_passages():
    (conversation,) = make_conversations([PLAY])
    assert conversation == Conversation("p1", make_turns(PLAY))


def test_conversations_in_one_query():
    (conversation,) = make_conversations([PLAY], "all-in-one")
    assert conversation.turns == make_turns(PLAY, all_in_one=True)


@pytest.mark.parametrize("form", ["one-by-one", "all-in-one", "tagging"])
def test_a_passage_of_which_nothing_can_be_asked_has_no_conversation(form):
    assert make_conversations([Passage(("a",)), Passage(("a",), ("x",), (), (Mention(0, 1, "x"),))], form) == []


def test_a_passage_without_a_source_is_named_by_its_place():
    passages = [PLAY, Passage(("a",), ("x",))]
    assert [conversation.id for conversation in make_conversations(passages)] == ["p1", "1"]


# Files


def test_conversations_come_back_as_they_were_written(tmp_path):
    conversations = make_conversations([PLAY, Passage(("東京",), ("city",), (Mention(0, 1, "city"),))])
    path = tmp_path / "conversations.json"
    assert write_conversations(conversations, path) == 2
    assert read_conversations(path) == conversations
    assert write_conversations([], path) == 0
    assert read_conversations(path) == []


def test_the_released_form_is_read_and_written_unchanged(tmp_path):
    (tmp_path / "train.json").write_text(json.dumps(RELEASED), encoding="utf8")
    write_conversations(read_conversations(tmp_path / "train.json"), tmp_path / "again.json")
    assert json.loads((tmp_path / "again.json").read_text(encoding="utf8")) == RELEASED


@pytest.mark.parametrize("content, reason", [("no", "is not JSON"), ('{"id": 1}', "a JSON dict, expected a list")])
def test_a_file_of_another_form_is_refused(tmp_path, content, reason):
    (tmp_path / "train.json").write_text(content, encoding="utf8")
    with pytest.raises(ValueError, match=rf"train\.json.*{reason}"):
        read_conversations(tmp_path / "train.json")


@pytest.mark.parametrize(
    "record, reason",
    [
        ({"conversations": []}, "needs turns of human and gpt in turn, got none|KeyError"),
        ({"id": "a", "conversations": []}, "needs turns of human and gpt in turn, got none"),
        ({"id": "a", "conversations": [{"from": "human", "value": "Text: x"}]}, "in turn, got human"),
        ({"id": "a", "conversations": [{"from": "system", "value": "x"}]}, "no turn: from 'system'"),
        ({"id": "a", "conversations": [{"from": "human", "value": 3}]}, "no turn: from 'human', value 3"),
        (["a"], "TypeError"),
    ],
)
def test_a_record_of_another_form_is_named(tmp_path, record, reason):
    (tmp_path / "train.json").write_text(json.dumps([*RELEASED, record]), encoding="utf8")
    with pytest.raises(ValueError, match=rf"conversation 1: .*(?:{reason})"):
        read_conversations(tmp_path / "train.json")


# Back to passages


def test_a_conversation_gives_its_passage_back():
    (conversation,) = make_conversations([PLAY], dataset="plays")
    passage, lost = read_back(conversation)
    assert (passage.words, passage.types, lost) == (PLAY.words, PLAY.types, ())
    assert set(passage.mentions) == set(PLAY.mentions)


def test_released_conversations_become_passages(tmp_path):
    (tmp_path / "train.json").write_text(json.dumps(RELEASED), encoding="utf8")
    (conversation,) = read_conversations(tmp_path / "train.json")
    passage, lost = read_back(conversation)
    assert passage.types == ("programming language", "person")
    assert lost == (("programming language", "R"),)  # "R?" is one word where only white space cuts


def converse(*texts: str) -> Conversation:
    return Conversation("c", tuple(Turn("gpt" if n % 2 else "human", text) for n, text in enumerate(texts)))


@pytest.mark.parametrize(
    "turns, reason",
    [
        (("Hello", "Hello"), r"does not begin with a text: 'Hello'"),
        (("Text: a", "I've", "What describes x in the text?", '{"x": []}'), "not of queries for one type"),
        (("Text: a", "I've", "Where is x?", "[]"), "not of queries for one type, answered by lists: 'Where is x"),
    ],
)
def test_other_conversations_are_refused(turns, reason):
    with pytest.raises(ValueError, match=reason):
        read_back(converse(*turns))


# Supervised datasets


def make_set(n_passages: int) -> list[Passage]:
    return [Passage((f"w{n}",), ("city",), source=str(n)) for n in range(n_passages)]


def test_supervised_sets_are_capped_and_named():
    mixed = mix_supervised({"news": make_set(30), "law": make_set(4)}, cap=10, seed=0)
    names = Counter(conversation.turns[0].text.split(" \n ")[0] for conversation in mixed)
    assert names == {"Dataset: news": 10, "Dataset: law": 4}
    assert len({conversation.id for conversation in mixed}) == 14


def test_another_set_in_the_mixture_does_not_change_a_draw():
    alone = mix_supervised({"news": make_set(30)}, cap=10, seed=0)
    assert mix_supervised({"law": make_set(4), "news": make_set(30)}, cap=10, seed=0)[4:] == alone
    assert mix_supervised({"news": make_set(30)}, cap=10, seed=1) != alone


def test_a_cap_that_lets_nothing_in_is_refused():
    with pytest.raises(ValueError, match=r"let in 1 passage of a dataset or more, got 0"):
        mix_supervised({"news": make_set(3)}, cap=0, seed=0)


# The plain instruction


def test_tagging_names_all_types_and_mentions_in_one_turn():
    query, answer = make_tagging_turns(PLAY, "plays")
    assert query.text == (
        "Dataset: plays \n List all entities in the text that have one of the types, as: type: entity; type: entity. "
        "Types: play, song, writer. Text: Karel Čapek wrote R.U.R. in Prague ."
    )
    assert answer == Turn("gpt", "writer: Karel Čapek; play: R.U.R.")
    assert make_tagging_turns(Passage(("a",), ("x",)))[1].text == "None"


def test_tagging_leaves_out_what_is_unknown():
    passage = Passage(("a",), ("x", "y"), (Mention(0, 1, "x"), Mention(0, 1, "y")), (Mention(0, 1, "x"),))
    assert make_tagging_turns(passage)[1].text == "y: a"


@pytest.mark.parametrize(
    "text, found",
    [
        ("writer: Karel Čapek; play: R.U.R.", {"writer": ("Karel Čapek",), "play": ("R.U.R.",), "play writer": ()}),
        (" play: A; B; play: A; play: C", {"writer": (), "play": ("A; B", "A", "C"), "play writer": ()}),
        ("play writer: K", {"writer": (), "play": (), "play writer": ("K",)}),
        ("None", {"writer": (), "play": (), "play writer": ()}),
    ],
)
def test_tagging_is_read_back(text, found):
    assert parse_tagging(text, ("writer", "play", "play writer")) == found
