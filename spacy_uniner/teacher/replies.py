"""Replies of a teacher become mentions, or a counted reason why not. A pure function of the reply and the text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ..passages import Mention
from ..spans import locate, resolve_overlaps
from .entries import NO_LABEL, Asked, Entry
from .json_replies import JsonReader, read_pairs
from .line_replies import LineReader

Loss = Literal[
    "empty reply",
    "not parseable",
    "cut off",
    "broken entry",
    "no mention",
    "no label",
    "unknown label",
    "not in the text",
    "inside a word",
    "second label",
    "overlapping",
]
UNUSABLE: tuple[Loss, ...] = ("empty reply", "not parseable", "cut off")

_THOUGHT = re.compile(r"\A.*</think(?:ing)?>|<think(?:ing)?>.*\Z", re.DOTALL)
_NO_LABELS = frozenset({NO_LABEL.casefold(), "null", "n/a", "o", "no", "not an entity", "no entity", "no label"})
_NOTHING = re.compile(
    r"\[\s*\]|\{\s*\}|\A\W*(?:none|n/a)\W*\Z|\bno\b(?:\s+\w+){0,2}\s+(?:entit|mention)", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Item:
    """One mention that a reply names.

    mention: the surface form.
    label: one of the labels asked; "" where the reply says that it is no entity.
    accepted: whether the reply says that it is an entity.
    reason: why; "" if the reply does not say.
    """

    mention: str
    label: str
    accepted: bool = True
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ParsedReply:
    """What was read from a reply.

    items: the mentions named, in the order of the reply.
    losses: what was lost, by reason: mentions, or the whole reply.
    """

    items: tuple[Item, ...]
    losses: Counter[str] = field(default_factory=Counter)

    @property
    def is_usable(self) -> bool:
        """Whether the reply is about the whole text, so that what it does not name is no entity."""
        return not any(self.losses[reason] for reason in UNUSABLE)


def parse_reply(reply: str, labels: Sequence[str], text: str) -> ParsedReply:
    """Read the mentions that a reply names, in every known shape; see docs/annotation.md. Nothing is executed.

    reply: the teacher's raw string, of the standard or the reasoned style.
    labels: the labels asked; in replies, case does not matter.
    text: the text that was annotated; it tells which commas belong to mentions.
    """
    answer = _THOUGHT.sub("", reply.strip()).strip()
    if not answer:
        return ParsedReply((), Counter({"cut off" if reply.strip() else "empty reply": 1}))
    asked = Asked(labels, text)
    found = JsonReader(asked).read(answer) or LineReader(asked).read(answer)
    if found is None:
        return ParsedReply((), Counter() if _NOTHING.search(answer) else Counter({"not parseable": 1}))
    names = {label.casefold(): label for label in labels}
    items: list[Item] = []
    losses: Counter[str] = Counter({"cut off": int(found.is_cut), "broken entry": found.n_broken})
    for entry in found.entries:
        item = _judge(entry, names)
        if isinstance(item, Item):
            items.append(item)
        else:
            losses[item] += 1
    return ParsedReply(tuple(items), +losses)


def place_items(items: Iterable[Item], words: Sequence[str]) -> tuple[tuple[Mention, ...], Counter[str]]:
    """Find the accepted mentions in the words of the text: every place of each, none inside of a word.

    A place has one label, the first that it was given. Mentions do not overlap: the longer ones stay.

    RETURNS: the mentions, sorted, with labels as types; and what was lost, by reason. A mention of which one place is
        left is no loss.
    """
    losses: Counter[str] = Counter()
    labels_by_run: dict[tuple[int, int], str] = {}
    placed = []
    for mention, label in dict.fromkeys((item.mention, item.label) for item in items if item.accepted):
        places = locate([mention], words).runs
        runs = {run for run in places if labels_by_run.setdefault(run, label) == label}
        if runs:
            placed.append(runs)
        elif places:
            losses["second label"] += 1
        else:
            losses[_explain(mention, words)] += 1
    flat = resolve_overlaps([Mention(*run, label) for run, label in labels_by_run.items()], "flat")
    kept = {(mention.start, mention.end) for mention in flat}
    losses["overlapping"] += sum(kept.isdisjoint(runs) for runs in placed)
    return flat, +losses


def parse_open_reply(reply: str) -> ParsedReply:
    """Read the entities of any type from a reply to UniversalNER's prompts: `[("entity", "type"), ...]`, in round or
    square brackets, or as objects; the labels of the items are the types, as written.
    """
    answer = _THOUGHT.sub("", reply.strip()).strip()
    if not answer:
        return ParsedReply((), Counter({"cut off" if reply.strip() else "empty reply": 1}))
    pairs = read_pairs(answer)
    if pairs is None:
        return ParsedReply((), Counter() if _NOTHING.search(answer) else Counter({"not parseable": 1}))
    losses: Counter[str] = Counter({"cut off": int(pairs.is_cut)})
    items = []
    for entry in pairs.entries:
        mention, label = entry.mention.strip(), " ".join(entry.label.split())
        losses["no mention" if not mention else "no label"] += not (mention and label)
        if mention and label:
            items.append(Item(mention, label))
    return ParsedReply(tuple(items), +losses)


def place_open_items(items: Iterable[Item], words: Sequence[str]) -> tuple[tuple[Mention, ...], Counter[str]]:
    """Find mentions of any type in the words of the text: every place of each. They may overlap, and have many types.

    RETURNS: the mentions, sorted; and what was lost, by reason.
    """
    losses: Counter[str] = Counter()
    mentions: set[Mention] = set()
    for item in dict.fromkeys(items):
        places = locate([item.mention], words).runs
        mentions.update(Mention(*run, item.label) for run in places)
        if not places:
            losses[_explain(item.mention, words)] += 1
    return resolve_overlaps(sorted(mentions, key=lambda m: m.type), "any"), losses


def _explain(mention: str, words: Sequence[str]) -> Loss:
    """Say why a mention has no place."""
    text = "".join("".join(words).split()).casefold()
    return "inside a word" if "".join(mention.split()).casefold() in text else "not in the text"


def _judge(entry: Entry, names: dict[str, str]) -> Item | Loss:
    """Make an item of an entry, or say why it is lost."""
    mention = entry.mention.strip()
    label = entry.label.strip(" =*\"'`.")
    if not mention:
        return "no mention"
    if entry.accepted is False:
        return Item(mention, "", accepted=False, reason=entry.reason)
    if label.casefold() in names:
        return Item(mention, names[label.casefold()], reason=entry.reason)
    if label.casefold() in _NO_LABELS and not entry.accepted:
        return Item(mention, "", accepted=False, reason=entry.reason)
    return "no label" if not label or label.casefold() in _NO_LABELS else "unknown label"
