"""The UniversalNER conversation, byte by byte, and what is read from replies of every shape."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from spacy_uniner.conversation import (
    STOP,
    Problem,
    Reply,
    Turn,
    conversation_to_dict,
    make_turns,
    parse_reply,
    parse_reply_to_all,
    prefix_of,
    prompt_of,
    prompt_of_all,
    query_of,
    query_of_all,
    write_turns,
)
from spacy_uniner.passages import Mention, Passage

GOLDEN = Path(__file__).parent / "golden"
PLAY = Passage(
    words=("Karel", "Čapek", "wrote", "R.U.R.", "in", "Prague", "."),
    types=("writer", "play", "song"),
    mentions=(Mention(3, 4, "play"), Mention(0, 2, "writer")),
)
# Signs that mean something to the parser come often.
surfaces_lists = st.lists(st.text(st.sampled_from("ab \"'[]{},:\\\n“”-1.İ") | st.characters(codec="utf-8")), max_size=6)


def read_golden(name: str) -> str:
    return (GOLDEN / name).read_bytes().decode("utf8")


# Prompts and turns


def test_prompt_is_the_released_one():
    assert prompt_of(PLAY, "writer") == read_golden("prompt.txt")


def test_prompt_of_a_supervised_dataset_names_it_before_the_text():
    assert prompt_of(PLAY, "writer", dataset="CrossNER_literature") == read_golden("prompt_dataset.txt")


def test_conversation_is_the_released_one():
    assert write_turns(make_turns(PLAY), system="paragraph") == read_golden("conversation.txt")


def test_conversation_in_one_query_answers_by_type():
    assert write_turns(make_turns(PLAY, all_in_one=True)) == read_golden("conversation_all_in_one.txt")


def test_record_has_the_released_schema():
    record = conversation_to_dict("CrossNER_literature_27", make_turns(PLAY))
    assert json.dumps(record) == read_golden("conversation.json").strip()


@pytest.mark.parametrize("system", ["text", "paragraph"])
@pytest.mark.parametrize("dataset", ["", "ACE05"])
def test_prefix_is_the_same_for_every_type(system, dataset):
    prefix = prefix_of(PLAY, system, dataset)
    for type_ in PLAY.types:
        assert prefix + query_of(type_) == prompt_of(PLAY, type_, system, dataset)
    assert prefix + query_of_all(PLAY.types) == prompt_of_all(PLAY, system, dataset)
    assert prefix == write_turns(make_turns(PLAY, dataset)[:2], system)


@pytest.mark.parametrize("all_in_one", [False, True])
def test_conversation_goes_on_where_the_prompt_ends(all_in_one):
    prompt = prompt_of_all(PLAY) if all_in_one else prompt_of(PLAY, "writer")
    answer = make_turns(PLAY, all_in_one=all_in_one)[3].text
    assert write_turns(make_turns(PLAY, all_in_one=all_in_one)).startswith(f"{prompt} {answer}{STOP}")


def test_answer_tells_mentions_in_the_order_of_the_text_each_time():
    passage = Passage(("la", "mi", "la"), ("note",), tuple(Mention(n, n + 1, "note") for n in (2, 1, 0)))
    assert make_turns(passage)[-1] == Turn("gpt", '["la", "mi", "la"]')


@pytest.mark.parametrize("all_in_one", [False, True])
def test_type_of_which_the_answer_is_unknown_is_not_asked(all_in_one):
    passage = Passage(("la", "mi"), ("note", "song"), (Mention(0, 1, "note"),), unknown=(Mention(1, 2, "note"),))
    turns = make_turns(passage, all_in_one=all_in_one)
    assert [turn.text for turn in turns[2:]] == [
        "What describes song in the text?",
        '{"song": []}' if all_in_one else "[]",
    ]


@pytest.mark.parametrize("all_in_one", [False, True])
def test_passage_with_nothing_to_ask_is_only_read(all_in_one):
    assert len(make_turns(Passage(("la",)), all_in_one=all_in_one)) == 2


def test_query_for_all_types_needs_types():
    with pytest.raises(ValueError, match="needs types, and there are none"):
        query_of_all(())


# Replies


@pytest.mark.parametrize(
    "reply, surfaces, problem",
    [
        # As asked for
        ('["Apollo 11", "Gemini 4"]', ["Apollo 11", "Gemini 4"], None),
        ("[]", [], None),  # no such type here
        (' ["Apollo 11"]\n', ["Apollo 11"], None),
        ('["Apollo 11"]</s>', ["Apollo 11"], None),
        ('["Washington, D.C."]', ["Washington, D.C."], None),
        ('["Array[int]", "x]"]', ["Array[int]", "x]"], None),
        ('["Karel \\u010capek", "\\ud83d\\ude80"]', ["Karel Čapek", "🚀"], None),
        ('["Apollo 11", "Gemini 4", "Apollo 11"]', ["Apollo 11", "Gemini 4"], None),  # named at each mention
        ('[1969, "May", 1e5]', ["1969", "May", "1e5"], None),
        # Nothing to be had
        ("", [], "empty"),
        (" \n", [], "empty"),
        ("</s>", [], "empty"),
        ("There are none.", [], "no list"),
        ('"Apollo 11"', [], "no list"),
        ("11", [], "no list"),
        ("null", [], "no list"),
        ("{}", [], "no list"),
        ("[null]", [], "not strings"),
        ("[None, 'Apollo 11']", ["Apollo 11"], "not strings"),
        ('["Apollo 11", ["Gemini 4"]]', ["Apollo 11"], "not strings"),
        ('[{"name": "Apollo 11"}]', [], "not strings"),
        # Cut off
        ("[", [], "cut off"),
        ('["Apollo 1', [], "cut off"),
        ('["Apollo 11"', ["Apollo 11"], "cut off"),
        ('["Apollo 11",', ["Apollo 11"], "cut off"),
        ('["Apollo 11", "Gemi', ["Apollo 11"], "cut off"),
        ('["Apollo 11", "a \\"', ["Apollo 11"], "cut off"),
        ('["Apollo 11", "Apollo 11", "Apollo 1', ["Apollo 11"], "cut off"),
        ("['Apollo 11', 'Gemi", ["Apollo 11"], "cut off"),
        ("[Apollo 11, Gemi", ["Apollo 11"], "cut off"),
        # Quotes, commas, escapes
        ("['Apollo 11', 'Gemini 4']", ["Apollo 11", "Gemini 4"], "malformed"),
        ("['O'Neill', 'the dogs' home']", ["O'Neill", "the dogs' home"], "malformed"),
        ("['O\\'Neill']", ["O'Neill"], "malformed"),
        ("[\"Apollo 11\", 'Gemini 4']", ["Apollo 11", "Gemini 4"], "malformed"),
        ("[“Apollo 11”, “Gemini 4”]", ["Apollo 11", "Gemini 4"], "malformed"),
        ("['Washington, D.C.', 'x]y']", ["Washington, D.C.", "x]y"], "malformed"),
        ("[Apollo 11, Gemini 4]", ["Apollo 11", "Gemini 4"], "malformed"),
        ("[Array[int], f(a, b)]", ["Array[int]", "f(a, b)"], "malformed"),
        ("[smile :(, Gemini 4]", ["smile :(", "Gemini 4"], "malformed"),
        ('["the "big" one", "x"]', ['the "big" one', "x"], "malformed"),
        ('["Array["int"]", "x"]', ['Array["int"]', "x"], "malformed"),
        ('["x", "Array["int"]"]', ["x", 'Array["int"]'], "malformed"),
        ('["Apollo 11" "Gemini 4"]', ["Apollo 11", "Gemini 4"], "malformed"),
        ('["Apollo 11",]', ["Apollo 11"], "malformed"),
        ('["Apollo\n11"]', ["Apollo\n11"], "malformed"),
        ('["C:\\data"]', ["C:\\data"], "malformed"),
        # Other shapes
        ("1. Apollo 11\n2. Gemini 4", ["Apollo 11", "Gemini 4"], "lines"),
        ('Here:\n- "Apollo 11",\n- Gemini 4', ["Apollo 11", "Gemini 4"], "lines"),
        ("* Array[int]\n* Gemini 4", ["Array[int]", "Gemini 4"], "lines"),
        ("```\n1) Apollo 11\n```", ["Apollo 11"], "lines"),
        ('```json\n["Apollo 11"]\n```', ["Apollo 11"], "fenced"),
        ('Sure: ["Apollo 11"]', ["Apollo 11"], "preamble"),
        ('The missions [in space] are ["Apollo 11"], I think.', ["Apollo 11"], "preamble"),
        ('{"missions": ["Apollo 11"]}', ["Apollo 11"], "preamble"),
        ('["Apollo 11"] are missions.', ["Apollo 11"], "trailing"),
        ('["Apollo 11"]</s>USER: What describes city in the text? ASSISTANT: ["Rome"]', ["Apollo 11"], "trailing"),
        ('["Apollo 11"]"', ["Apollo 11"], "trailing"),
        ('"["Apollo 11"]"', ["Apollo 11"], "preamble"),
        # Never executed, never too deep
        ('__import__("os").getcwd()', [], "no list"),
        ("[" * 100_000, [], "cut off"),
        ('["Apollo 11"]' + "]" * 100_000, ["Apollo 11"], "trailing"),
    ],
)
def test_reply_of_every_shape_is_read(reply, surfaces, problem):
    assert parse_reply(reply) == Reply(tuple(surfaces), problem)


@given(surfaces_lists, st.booleans())
def test_any_json_list_of_strings_is_read_as_it_is(surfaces, ensure_ascii):
    reply = json.dumps(surfaces, ensure_ascii=ensure_ascii)
    assert parse_reply(reply) == Reply(tuple(dict.fromkeys(surfaces)))


@given(surfaces_lists, st.booleans(), st.data())
@example(["</s>"], True, None)
@example(["🚀", "\\", '"'], True, None)
def test_cut_reply_keeps_whole_surfaces_and_invents_none(surfaces, ensure_ascii, data):
    reply = json.dumps(surfaces, ensure_ascii=ensure_ascii)
    for cut in range(len(reply)) if data is None else [data.draw(st.integers(0, len(reply) - 1))]:
        whole = [n for n in range(len(surfaces) + 1) if cut >= len(write_whole(surfaces[:n], ensure_ascii))]
        expected = tuple(dict.fromkeys(surfaces[: whole[-1]])) if whole else ()
        assert parse_reply(reply[:cut]) == Reply(expected, "cut off" if cut else "empty")


def write_whole(surfaces: list[str], ensure_ascii: bool) -> str:
    """Write a list up to the quote that closes its last string."""
    return json.dumps(surfaces, ensure_ascii=ensure_ascii)[:-1]


@given(st.text(st.sampled_from("ab \"'[]{},:\\\n“”-1.`") | st.characters()))
def test_any_reply_is_read_with_a_known_problem(reply):
    found = parse_reply(reply)
    assert found.problem in (None, *get_args(Problem))
    assert len(set(found.surfaces)) == len(found.surfaces)
    assert parse_reply_to_all(reply, ["a", "b"])


@pytest.mark.parametrize("part", ['"a", b ', "(, ", "'a ", "\n", '["', "[ ", "1. ", "\\", "{a:", "```"])
def test_long_reply_is_read_in_time(part):
    parse_reply("[" + part * 20_000)
    parse_reply(part * 20_000)
    parse_reply_to_all(part * 20_000, ["a", "b"])


@pytest.mark.parametrize(
    "reply, replies",
    [
        ('{"person": ["Ann"], "city": []}', [Reply(("Ann",)), Reply(())]),
        ('{"city": ["Rome"]}', [Reply((), "no list"), Reply(("Rome",))]),
        ('{"person": "Ann", "city": [null]}', [Reply((), "no list"), Reply((), "not strings")]),
        ('{"person": ["Ann"], "city": ["Rome", "Par', [Reply(("Ann",)), Reply(("Rome",), "cut off")]),
        ('{"person": ["Ann"], "city":', [Reply(("Ann",)), Reply((), "cut off")]),
        ("{'person': ['Ann'], 'city': []}", [Reply(("Ann",), "malformed"), Reply(())]),
        ('Sure:\n```\n{"person": ["Ann"], "city": []}\n```', [Reply(("Ann",)), Reply(())]),
        ('person: ["Ann"]\ncity: ["Rome"]', [Reply(("Ann",)), Reply(("Rome",))]),
        ('{"sales person": ["Bob"], "city": ["Rome"', [Reply((), "no list"), Reply(("Rome",), "cut off")]),
        ('["Ann"]', [Reply((), "no list")] * 2),
        ("", [Reply((), "empty")] * 2),
    ],
)
def test_reply_to_all_types_is_read_by_type(reply, replies):
    assert parse_reply_to_all(reply, ["person", "city"]) == tuple(replies)


def test_answer_for_all_types_is_read_back():
    answer = make_turns(PLAY, all_in_one=True)[-1].text
    assert parse_reply_to_all(answer, PLAY.types) == (Reply(("Karel Čapek",)), Reply(("R.U.R.",)), Reply(()))
