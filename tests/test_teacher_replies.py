"""Replies in every known shape, the place of each mention, and what is lost."""

from __future__ import annotations

import json
import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_uniner.passages import Mention
from spacy_uniner.teacher.replies import Item, ParsedReply, parse_open_reply, parse_reply, place_items, place_open_items

LABELS = ("PER", "ORG", "LOC", "MISC")
TEXT = "On Wednesday John Smith of Acme, Inc. met Mary in Paris, Texas."
ALL = [("John Smith", "PER"), ("Mary", "PER"), ("Acme, Inc.", "ORG"), ("Paris, Texas", "LOC")]


def accepted(parsed: ParsedReply) -> list[tuple[str, str]]:
    return [(item.mention, item.label) for item in parsed.items if item.accepted]


JSON_REPLY = '{"PER": ["John Smith", "Mary"], "ORG": ["Acme, Inc."], "LOC": ["Paris, Texas"], "MISC": []}'
ITEMS = [{"mention": mention, "label": label} for mention, label in ALL]


@pytest.mark.parametrize(
    "reply",
    [
        JSON_REPLY,
        json.dumps(json.loads(JSON_REPLY), indent=2),
        f"```json\n{JSON_REPLY}\n```",
        f"Sure! Here are the entities:\n\n{JSON_REPLY}\n\nLet me know if you need more [1].",
        f'<think>PER: Bob? No, {{"PER": ["Bob"]}} is wrong.</think>\n{JSON_REPLY}',
        f"Bob? No.</think>{JSON_REPLY}",
        f'First thought: {{"PER": ["Bob"]}}. Final answer: {JSON_REPLY}',
        f"The sentence ['Bob'] and [Mary] and {{x}} aside: {JSON_REPLY}",
        JSON_REPLY.replace('"', "'"),
        JSON_REPLY.replace("]", ",]").replace("],}", "]}"),
        JSON_REPLY.replace("PER", "per").replace("LOC", "Loc"),
        '{"PER": ["John Smith"], "PER": ["Mary"], "ORG": ["Acme, Inc."], "LOC": ["Paris, Texas"]}',
        '{"PER": ["John Smith", "Mary"]}\n{"ORG": ["Acme, Inc."]}\n{"LOC": ["Paris, Texas"]}',
        '{"PER": "John Smith, Mary", "ORG": "Acme, Inc.", "LOC": "Paris, Texas", "MISC": null}',
        '{"PER": {"John Smith": "a man", "Mary": "a woman"}, "ORG": [["Acme, Inc.", "a firm"]], '
        '"LOC": [{"text": "Paris, Texas"}]}',
        '{"text": "John Smith ...", "reasoning": "Two people.", "entities": ' + JSON_REPLY + "}",
        json.dumps(ITEMS),
        json.dumps({"entities": ITEMS}),
        json.dumps([{"text": mention, "type": label} for mention, label in ALL]),
        json.dumps([{"word": mention, "entity": label} for mention, label in ALL]),
        json.dumps([{"entity": mention, "label": label} for mention, label in ALL]),
        json.dumps([{"entity": mention, "type": label, "start": 3} for mention, label in ALL]),
        "\n".join(json.dumps(item) for item in ITEMS),
        json.dumps([list(pair) for pair in ALL]),
        json.dumps([[label, mention] for mention, label in ALL]),
        json.dumps(dict(ALL)),
        '[{"label": "PER", "mentions": ["John Smith", "Mary"]}, {"label": "ORG", "mentions": ["Acme, Inc."]}, '
        '{"label": "LOC", "mentions": ["Paris, Texas"]}]',
        "[{'mention': 'John Smith', 'label': 'PER',}, {'mention': 'Mary', 'label': 'PER'}, "
        "{'mention': 'Acme, Inc.', 'label': 'ORG'}, {'mention': 'Paris, Texas', 'label': 'LOC'}]",
        "PER: John Smith, Mary\nORG: Acme, Inc.\nLOC: Paris, Texas\nMISC:",
        "PER: John Smith, Mary\nORG: Acme, Inc.\nLOC: Paris, Texas\nMISC: none",
        "```\nPER: John Smith; Mary\nORG: Acme, Inc.\nLOC: Paris, Texas\nMISC: ==NONE==\n```",
        "Here you are:\n\n- **PER**: John Smith, Mary\n- **ORG:** Acme, Inc.\n- `LOC`: Paris, Texas\n",
        'PER: "John Smith", "Mary"\nORG: "Acme, Inc."\nLOC: ["Paris, Texas"]\nMISC: []',
        "PER (people): John Smith, Mary.\nORG (organizations): Acme, Inc.\nLOC - Paris, Texas",
        "PER:\n- John Smith\n- Mary: a woman\n\nORG:\n* Acme, Inc.\n\n"
        "### LOC\n1. Paris, Texas (a town)\n\nMISC:\n- None",
        "PER:\nJohn Smith\nMary\nORG:\nAcme, Inc.\nLOC:\nParis, Texas",
        "1. John Smith (PER)\n2. Mary [PER]\n3. Acme, Inc. (ORG)\n4. Paris, Texas (**LOC**)",
        "John Smith (PER), Mary (PER), Acme, Inc. (ORG), Paris, Texas (LOC).",
        '- John Smith: PER\n- "Mary" - PER\n- Acme, Inc. → ORG\n- Paris, Texas: LOC.',
        "1. John Smith | True | PER | a man\n2. Mary | True | PER | a woman\n3. Acme, Inc. | True | ORG | a firm\n"
        "4. Paris, Texas | True | LOC | a town",
        "John Smith | PER\nMary | PER\nAcme, Inc. | ORG\nParis, Texas | LOC",
        "| mention | label |\n| --- | --- |\n| John Smith | PER |\n| Mary | PER |\n"
        "| Acme, Inc. | ORG |\n| Paris, Texas | LOC |",
    ],
)
def test_mentions_are_read_in_every_known_shape(reply):
    parsed = parse_reply(reply, LABELS, TEXT)
    assert (sorted(accepted(parsed)), parsed.losses) == (sorted(ALL), Counter())
    assert parsed.is_usable


@pytest.mark.parametrize(
    "reply",
    [
        '{"candidates": [{"mention": "Wednesday", "reason": "a date", "label": "NONE"}, '
        '{"mention": "Mary", "reason": "a woman, met", "label": "PER"}]}',
        '[{"mention": "Wednesday", "is_entity": false, "label": "==NONE==", "reason": "a date"}, '
        '{"mention": "Mary", "is_entity": true, "label": "PER", "reason": "a woman, met"}]',
        '[{"mention": "Wednesday", "label": null, "reason": "a date"}, '
        '{"mention": "Mary", "label": "PER", "explanation": "a woman, met"}]',
        "1. Wednesday | False | ==NONE== | a date\n2. Mary | True | PER | a woman, met",
        "* Wednesday | false | | a date\n* Mary | yes | PER | a woman, met",
        "Wednesday | NONE | a date\nMary | PER | a woman, met",
        "| Wednesday | False | None | a date |\n| Mary | PER | True | a woman, met |",
    ],
)
def test_reasons_and_rejected_candidates_are_read(reply):
    parsed = parse_reply(reply, LABELS, TEXT)
    assert parsed.items == (Item("Wednesday", "", False, "a date"), Item("Mary", "PER", True, "a woman, met"))
    assert not parsed.losses


def test_reason_may_be_missing_in_lines():
    parsed = parse_reply("1. Mary | True | PER\n2. Wednesday | False", LABELS, TEXT)
    assert parsed == ParsedReply((Item("Mary", "PER"), Item("Wednesday", "", accepted=False)))


def test_reason_keeps_its_own_bars_and_colons():
    (item,) = parse_reply("1. Mary | True | PER | said: yes | no", LABELS, TEXT).items
    assert item.reason == "said: yes | no"


@pytest.mark.parametrize(
    "text, listed, mentions",
    [
        ("He moved to Paris, Texas.", "Paris, Texas", ["Paris, Texas"]),
        ("He saw Paris, London and Rome.", "Paris, London, Rome", ["Paris", "London", "Rome"]),
        ("He saw Paris, London, and Rome.", "Paris, London, Rome", ["Paris", "London", "Rome"]),
        ("Paris , Texas is hot .", "Paris, Texas", ["Paris, Texas"]),  # as words joined by blanks
        ("Rome is far from Paris.", "Rome, Paris", ["Rome", "Paris"]),
        ("He read Hot, Flat, and Crowded again.", "Hot, Flat, and Crowded", ["Hot, Flat, and Crowded"]),
        ("The 1,000 Guineas was run.", "1,000 Guineas", ["1,000 Guineas"]),
        ("Crosby,Nash met at U.S. Steel.", "Crosby,Nash, U.S. Steel.", ["Crosby,Nash", "U.S. Steel"]),
        ("He left the U.S.", "U.S.", ["U.S."]),
    ],
)
def test_text_tells_which_commas_belong_to_mentions(text, listed, mentions):
    parsed = parse_reply(f"LOC: {listed}", LABELS, text)
    assert accepted(parsed) == [(mention, "LOC") for mention in mentions]


def test_commas_inside_of_json_strings_never_split():
    text = "Paris, London and Rome."
    assert accepted(parse_reply('{"LOC": ["Paris, London"]}', LABELS, text)) == [("Paris, London", "LOC")]


@pytest.mark.parametrize(
    "reply",
    [
        "{}",
        "[]",
        "```json\n[]\n```",
        "None",
        "==NONE==",
        "There are no named entities here.",
        '{"PER": [], "ORG": []}',
        "{'PER': [], 'ORG': []}",
        '{"candidates": []}',
        "PER:\nORG:\nLOC:\nMISC:",
        "PER: []\nORG: []",
    ],
)
def test_a_reply_may_say_that_there_is_nothing(reply):
    assert parse_reply(reply, LABELS, TEXT) == ParsedReply(())


@pytest.mark.parametrize(
    "reply, mentions, losses",
    [
        ("", [], {"empty reply": 1}),
        (" \n", [], {"empty reply": 1}),
        ("<think>John Smith is a person, so", [], {"cut off": 1}),
        ("I cannot help with that.", [], {"not parseable": 1}),
        ('{"answer": 42}', [], {"not parseable": 1}),
        ('{"PER": ["Mary", "John Sm', ["Mary"], {"cut off": 1}),
        ('{"PER": ["Mary"], "ORG": [', ["Mary"], {"cut off": 1}),
        ('[{"mention": "Mary", "label": "PER"}, {"mention": "John', ["Mary"], {"cut off": 1}),
        ('[{"mention": "Mary", "label": "PER"}, ', ["Mary"], {"cut off": 1}),
        ('[{"mention": "Mary", "label": "PER"}, {"mention": "John", label?}]', ["Mary"], {"broken entry": 1}),
        ('{"PER": ["Mary"], "PRODUCT": ["iPhone", "iPad"]}', ["Mary"], {"unknown label": 2}),
        ('[{"mention": "Mary", "label": "PERSON"}]', [], {"unknown label": 1}),
        ("PER: Mary\nPERSON: John Smith", ["Mary"], {"unknown label": 1}),
        ("1. Mary | True | PERSON | a woman", [], {"unknown label": 1}),
        ("1. Mary | True\n2. John Smith | True | ==NONE== | a man", [], {"no label": 2}),
        ("- Mary\n- John Smith", [], {"no label": 2}),
        ('[{"mention": "Mary", "is_entity": true}]', [], {"no label": 1}),
        ('{"PER": ["Mary", "", {"reason": "x"}]}', ["Mary"], {"no mention": 2}),
    ],
)
def test_every_loss_is_counted_by_its_reason(reply, mentions, losses):
    parsed = parse_reply(reply, LABELS, TEXT)
    assert ([mention for mention, _ in accepted(parsed)], parsed.losses) == (mentions, Counter(losses))
    assert parsed.is_usable == set(losses).isdisjoint({"empty reply", "not parseable", "cut off"})


def test_prose_around_lines_is_no_loss():
    reply = "Note: I read the text twice.\nText: " + TEXT + "\n\nPER: Mary\n\nI hope this helps: ask me more."
    assert parse_reply(reply, LABELS, TEXT) == ParsedReply((Item("Mary", "PER"),))


def test_labels_of_the_user_are_matched_whatever_their_case():
    parsed = parse_reply('{"Space Mission": ["Apollo 11"], "name": ["Alan"]}', ["space mission", "name"], "")
    assert accepted(parsed) == [("Apollo 11", "space mission"), ("Alan", "name")]


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="{}[]\"',:|\\\nPER:maryMary 1.-()<think>", max_size=80))
def test_any_reply_is_read_or_counted(reply):
    parsed = parse_reply(reply, LABELS, TEXT)
    assert all(item.mention and item.label in ("", *LABELS) for item in parsed.items)
    assert all(n > 0 for n in parsed.losses.values())


@pytest.mark.parametrize(
    "piece", ["[", '{"a": ', "a, ", "PER: a, ", "Mary, ", "'", "(", '{"mention": "', "a (", "|", "[[", "a: "]
)
def test_long_replies_are_read_in_time(piece):
    start = time.perf_counter()
    parse_reply("PER: " + piece * 5_000, LABELS, TEXT)
    parse_reply(piece * 5_000, LABELS, TEXT)
    assert time.perf_counter() - start < 30  # at most 3 seconds; what grows with the square takes minutes


# The place of mentions


def place(text: str, *items: Item) -> tuple[list[tuple[int, int, str]], Counter[str]]:
    mentions, losses = place_items(items, text.split())
    return [(m.start, m.end, m.type) for m in mentions], losses


def test_all_places_of_a_mention_are_found():
    assert place("Mary met Mary .", Item("Mary", "PER")) == ([(0, 1, "PER"), (2, 3, "PER")], Counter())


@pytest.mark.parametrize(
    "text, mention, reason", [("Johnathan came .", "John", "inside a word"), ("Mary came .", "Bob", "not in the text")]
)
def test_mention_that_is_no_run_of_words_is_a_counted_loss(text, mention, reason):
    assert place(text, Item(mention, "PER")) == ([], Counter({reason: 1}))


def test_offsets_are_right_behind_letters_that_grow_in_lower_case():
    assert place("İİİ and john", Item("John", "PER"))[0] == [(2, 3, "PER")]


def test_rejected_candidates_have_no_place():
    assert place("Mary came", Item("Mary", "", accepted=False)) == ([], Counter())


def test_first_label_of_a_place_stays():
    expected = ([(0, 1, "LOC")], Counter({"second label": 1}))
    assert place("Paris came", Item("Paris", "LOC"), Item("Paris", "PER")) == expected
    assert place("Paris came", Item("Paris", "LOC"), Item("PARIS", "PER")) == expected


def test_longer_mention_stays_where_two_overlap():
    text = "University of Texas is in Texas"
    both = (Item("Texas", "LOC"), Item("University of Texas", "ORG"))
    assert place(text, *both) == ([(0, 3, "ORG"), (5, 6, "LOC")], Counter())
    assert place("University of Texas", *both) == ([(0, 3, "ORG")], Counter({"overlapping": 1}))


def test_places_are_mentions_of_their_labels():
    assert place_items([Item("U.S.", "LOC")], ["U", ".", "S", "."])[0] == (Mention(0, 4, "LOC"),)


# Open types

PAIRS = [Item('John\'s "Mary"', "boat (old), wooden"), Item("Paris, Texas", "town")]


@pytest.mark.parametrize(
    "reply",
    [
        r"""[("John's \"Mary\"", "boat (old), wooden"), ("Paris, Texas", "town")]""",
        r"""[('John\'s "Mary"', 'boat (old), wooden'), ('Paris, Texas', 'town'),]""",
        """Sure: [("John's "Mary"", "boat (old), wooden"), ("Paris, Texas", "town")] as asked [1].""",
        """```python\n[\n  ("John's "Mary"", "boat (old),\n   wooden"),\n  ["Paris, Texas", "town"]\n]\n```""",
        json.dumps([[item.mention, item.label] for item in PAIRS]),
        json.dumps([{"entity": item.mention, "type": item.label} for item in PAIRS]),
        json.dumps({"entities": [{"mention": item.mention, "label": item.label} for item in PAIRS]}),
    ],
)
def test_pairs_are_read_in_every_known_shape(reply):
    assert parse_open_reply(reply) == ParsedReply(tuple(PAIRS))


@pytest.mark.parametrize(
    "reply, n_items, losses",
    [
        ("", 0, {"empty reply": 1}),
        ("<think>John is", 0, {"cut off": 1}),
        ("I cannot.", 0, {"not parseable": 1}),
        ("[]", 0, {}),
        ('[("Mary", "ship"), ("John", "per', 1, {"cut off": 1}),
        ('[("Mary", "ship"), ("", "person"), ("John", " ")]', 1, {"no mention": 1, "no label": 1}),
    ],
)
def test_every_loss_of_an_open_reply_is_counted(reply, n_items, losses):
    parsed = parse_open_reply(reply)
    assert (len(parsed.items), parsed.losses) == (n_items, Counter(losses))


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="[]()\"',\\ {}:ab", max_size=60))
def test_any_open_reply_is_read_or_counted(reply):
    parsed = parse_open_reply(reply)
    assert all(item.mention and item.label for item in parsed.items)
    assert all(n > 0 for n in parsed.losses.values())


def test_open_mentions_may_overlap_and_have_many_types():
    items = [
        Item("Mary Lee", "ship"),
        Item("Mary", "name"),
        Item("Mary Lee", "boat"),
        Item("Mar", "x"),
        Item("Bob", "x"),
    ]
    mentions, losses = place_open_items(items, ["Mary", "Lee"])
    assert mentions == (Mention(0, 1, "name"), Mention(0, 2, "boat"), Mention(0, 2, "ship"))
    assert losses == Counter({"inside a word": 1, "not in the text": 1})
