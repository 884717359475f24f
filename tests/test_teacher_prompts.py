"""What a teacher is asked, word by word, and what is refused as an example."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spacy_uniner.teacher.prompts import (
    OPEN_SYSTEM,
    Shot,
    read_items,
    read_shot,
    write_open_prompt,
    write_prompt,
    write_reply,
)
from spacy_uniner.teacher.replies import Item, parse_reply

GOLDEN = Path(__file__).parent / "golden"
EXAMPLES = Path(__file__).parent.parent / "assets" / "teacher" / "examples.jsonl"
DEFINITIONS = {"PER": 'people, without titles ("Mr")', "LOC": ""}
LABELS = list(DEFINITIONS)
SHOT = Shot(
    "Mr Bean saw “Łódź” {today}.",
    (Item("Bean", "PER", True, "a name"), Item("today", "", False, "a date"), Item("Łódź", "LOC", True, "a city")),
)


@pytest.mark.parametrize("style", ["standard", "reasoned"])
def test_prompt_is_worded_as_written_down(style):
    prompt = write_prompt("Mary met John.", DEFINITIONS, style, [SHOT])
    assert prompt == (GOLDEN / f"teacher_{style}.txt").read_text(encoding="utf8")


@pytest.mark.parametrize("style", ["type", "definition"])
def test_open_prompt_is_worded_as_written_down(style):
    assert write_open_prompt("Mary met John.", style) == (GOLDEN / f"teacher_open_{style}.txt").read_text(
        encoding="utf8"
    )


def test_open_prompts_are_those_of_the_paper_and_the_card():
    assert write_open_prompt("X", "type") == (
        "Given a passage, your task is to extract all entities and identify their entity types. The output should be "
        'in a list of tuples of the following format: [("entity 1", "type of entity 1"), ... ].\nPassage: X'
    )
    assert OPEN_SYSTEM == "You are a helpful information extraction system."


def test_prompt_without_examples_has_the_text_only():
    prompt = write_prompt("Mary met John.", DEFINITIONS, "standard")
    assert prompt.count("Text:") == 1
    assert prompt.endswith("\nText: Mary met John.\nAnswer:")


@pytest.mark.parametrize("style", ["standard", "reasoned"])
def test_reply_of_an_example_is_read_as_what_was_written(style):
    parsed = parse_reply(write_reply(SHOT.items, LABELS, style), LABELS, SHOT.text)
    assert not parsed.losses
    expected = SHOT.items if style == "reasoned" else (Item("Bean", "PER"), Item("Łódź", "LOC"))
    assert parsed.items == expected


def test_standard_reply_has_each_mention_once_and_every_label():
    items = [Item("Bean", "PER"), Item("Bean", "PER")]
    assert write_reply(items, LABELS, "standard") == '{"PER": ["Bean"], "LOC": []}'


def test_examples_of_the_package_fit_both_styles():
    records = [json.loads(line) for line in EXAMPLES.read_text(encoding="utf8").splitlines()]
    labels = ["PER", "ORG", "LOC", "MISC"]
    for style in ("standard", "reasoned"):
        shots = [read_shot(record, labels, style) for record in records]
        assert {item.label for shot in shots for item in shot.items} == {*labels, ""}
    assert any(not any(item.accepted for item in shot.items) for shot in shots), "One example has nothing to find."


def test_entities_by_label_do_for_the_standard_style():
    assert read_items({"entities": {"PER": ["Bean"], "LOC": []}}, LABELS, "standard") == (Item("Bean", "PER"),)


def test_items_of_a_recording_tell_entities_from_others():
    items = [
        {"mention": "Bean", "is_entity": True, "label": "PER", "reason": "a name"},
        {"mention": "today", "is_entity": False, "label": "==NONE==", "reason": "a date"},
        {"mention": "Mr", "label": None, "reason": "a title"},
    ]
    assert [item.accepted for item in read_items({"items": items}, LABELS, "reasoned")] == [True, False, False]


@pytest.mark.parametrize(
    "record, style, message",
    [
        ({}, "standard", "has the fields none, and the standard style needs 'items' or 'entities'"),
        ({"entities": {"PER": ["Bean"]}}, "reasoned", "the reasoned style needs 'items'"),
        ({"entities": ["Bean"]}, "standard", "needs 'items' or 'entities'"),
        ({"entities": {"PER": "Bean"}}, "standard", "Expected an object from label to a list"),
        ({"items": "Bean"}, "standard", "'items' are 'Bean'"),
        ({"items": ["Bean"]}, "standard", "It has the item 'Bean'"),
        ({"items": [{"mention": 3, "label": "PER"}]}, "standard", "mention 3. Expected a string"),
        (
            {"items": [{"mention": "Bean", "label": "ORG"}]},
            "standard",
            "Label 'ORG' of 'Bean' was not asked. Asked: PER, LOC",
        ),
        ({"items": [{"mention": "Bean", "label": "PER"}]}, "reasoned", "'Bean' has no reason"),
        ({"items": [{"mention": "Bean", "label": 3}]}, "standard", "label of 'Bean' is 3"),
    ],
)
def test_record_of_another_form_is_refused(record, style, message):
    with pytest.raises(ValueError, match=message):
        read_items(record, LABELS, style)


@pytest.mark.parametrize(
    "record, message",
    [
        ({"items": []}, "'text' is None"),
        ({"text": " ", "items": []}, "'text' is ' '"),
        ({"text": "Mr Bean", "items": [{"mention": "bean", "label": "PER"}]}, "'bean' does not stand in its text"),
    ],
)
def test_example_of_another_form_is_refused(record, message):
    with pytest.raises(ValueError, match=message):
        read_shot(record, LABELS, "standard")
