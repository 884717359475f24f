"""What a teacher is asked: prompts for given labels, with or without reasons, and UniversalNER's for open types."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from .replies import Item
from .shapes import NO_LABEL

Style = Literal["standard", "reasoned"]
OpenStyle = Literal["type", "definition"]

_HEAD = """You are an expert annotator of named entities.

Find the named entities in a text. The labels:
{labels}

Rules:
- Copy each mention exactly as it stands in the text, with its case and punctuation.
- Give each different mention once, even if the text repeats it.
- Mentions do not overlap: of a name inside of a longer one, give the longer one only.
- What fits no label is no entity.
"""

_STANDARD = """
Answer with one JSON object and nothing else. Its keys are the labels. Each value is the list of the mentions with \
that label, in the order of the text; an empty list if there are none.
"""

_REASONED = """
Work in four steps:
1. Understand the context: what the text is about, and what kind of text it is.
2. Collect the candidates: each name, and whatever else might be taken for one.
3. Determine from the context and the definitions which label a candidate has; {no_label} if none fits.
4. Justify it in a few words.

Answer with one JSON object and nothing else: {{"candidates": [...]}}. The list has one object for each candidate, in \
the order of the text, with the fields "mention", "reason" and "label"; the label is one of {names}, {no_label}.
"""

# The system message of figure 1; it is not part of the prompts below, since a model has its own place for it.
OPEN_SYSTEM = "You are a helpful information extraction system."

_OPEN: dict[OpenStyle, str] = {
    "type": "Given a passage, your task is to extract all entities and identify their entity types. The output should "
    'be in a list of tuples of the following format: [("entity 1", "type of entity 1"), ... ].\nPassage: ',
    "definition": "Given a paragraph, your task is to extract all entities and concepts, and define their type using a "
    'short sentence. The output should be in the following format: [("entity", "definition of entity type in a short '
    'sentence"), ... ]\nPassage: ',
}


@dataclass(frozen=True, slots=True)
class Shot:
    """An example in a prompt: a text, and what is to be said of it."""

    text: str
    items: tuple[Item, ...]


def write_prompt(text: str, definitions: Mapping[str, str], style: Style, shots: Sequence[Shot] = ()) -> str:
    """Write the prompt that asks for given labels.

    text: the text to annotate.
    definitions: what each label means; "" for one that explains itself.
    style: "standard" asks for the mentions of each label; "reasoned" for candidates, each with a reason and a label.
    shots: examples, answered in the same style.
    SOURCE: the wording is ours. Huang et al. 2024 (2402.09282) describe theirs and do not print it: the role of an
        annotation expert, definitions of the labels, few-shot, a structured answer; the four steps of the reasoned one.
    """
    lines = [f"- {label}: {definition}" if definition else f"- {label}" for label, definition in definitions.items()]
    names = ", ".join(definitions)
    task = _STANDARD if style == "standard" else _REASONED.format(names=names, no_label=NO_LABEL)
    examples = (f"\nText: {shot.text}\nAnswer: {write_reply(shot.items, list(definitions), style)}\n" for shot in shots)
    return f"{_HEAD.format(labels=chr(10).join(lines))}{task}{''.join(examples)}\nText: {text}\nAnswer:"


def write_reply(items: Iterable[Item], labels: Sequence[str], style: Style) -> str:
    """Write items as the reply that the prompt of a style asks for."""
    if style == "standard":
        mentions: dict[str, dict[str, None]] = {label: {} for label in labels}
        for item in items:
            if item.accepted:
                mentions[item.label][item.mention] = None
        return json.dumps({label: list(found) for label, found in mentions.items()}, ensure_ascii=False)
    candidates = [
        {"mention": item.mention, "reason": item.reason, "label": item.label if item.accepted else NO_LABEL}
        for item in items
    ]
    return json.dumps({"candidates": candidates}, ensure_ascii=False)


def write_open_prompt(text: str, style: OpenStyle) -> str:
    """Write UniversalNER's prompt that asks for entities of any type.

    style: "type" asks for the name of each entity's type, "definition" for a short sentence that defines it.
    SOURCE: Zhou et al. 2023, figure 1, and the card of UniNER-7B-definition, word by word. The card's string ends with
        the format; that the passage follows as in figure 1 is our reading.
    """
    return _OPEN[style] + text


def read_items(record: Mapping[str, Any], labels: Sequence[str], style: Style) -> tuple[Item, ...]:
    """Read what is to be said of a text, from an example or a recording.

    record: `items`, a list of objects with mention, label (null or NONE for what is no entity) and reason; or, for the
        standard style, `entities`, an object from label to a list of mentions.
    RAISES: ValueError if there is neither, or a field is of another form; if a label was not asked; if a reason is
        missing where the style wants one.
    """
    if "items" in record:
        if not isinstance(record["items"], list):
            raise ValueError(f"Its 'items' are {record['items']!r}. Expected a list of objects with mention and label.")
        items = [_read_item(item) for item in record["items"]]
    elif style == "reasoned" or not isinstance(record.get("entities"), dict):
        wanted = "'items'" if style == "reasoned" else "'items' or 'entities'"
        raise ValueError(f"It has the fields {', '.join(record) or 'none'}, and the {style} style needs {wanted}.")
    elif not all(isinstance(mentions, list) for mentions in record["entities"].values()):
        raise ValueError(f"Its 'entities' are {record['entities']!r}. Expected an object from label to a list.")
    else:
        items = [Item(mention, label) for label, mentions in record["entities"].items() for mention in mentions]
    for item in items:
        if not isinstance(item.mention, str) or not item.mention.strip():
            raise ValueError(f"It has the mention {item.mention!r}. Expected a string that is not blank.")
        if item.accepted and item.label not in labels:
            raise ValueError(f"Label '{item.label}' of '{item.mention}' was not asked. Asked: {', '.join(labels)}.")
        if style == "reasoned" and not item.reason:
            raise ValueError(f"'{item.mention}' has no reason, and the reasoned style needs one. Add it.")
    return tuple(items)


def read_shot(record: Mapping[str, Any], labels: Sequence[str], style: Style) -> Shot:
    """Read an example: a record with `text`, and `items` or `entities` as in `read_items`.

    RAISES: ValueError as `read_items`, and if the text is missing or a mention does not stand in it.
    """
    text = record.get("text")
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"Its 'text' is {text!r}. Expected a string that is not blank.")
    items = read_items(record, labels, style)
    for item in items:
        if item.mention not in text:
            raise ValueError(
                f"'{item.mention}' does not stand in its text. Copy mentions from the text, letter by letter."
            )
    return Shot(text, items)


def _read_item(item: Any) -> Item:
    if not isinstance(item, dict) or "mention" not in item:
        raise ValueError(f"It has the item {item!r}. Expected an object with mention, label and perhaps reason.")
    label = item.get("label") or NO_LABEL
    if not isinstance(label, str):
        raise ValueError(f"The label of '{item['mention']}' is {label!r}. Expected a string, or null.")
    is_entity = item.get("is_entity", True) and label.strip("=") != NO_LABEL
    return Item(item["mention"], label if is_entity else "", is_entity, item.get("reason", ""))
