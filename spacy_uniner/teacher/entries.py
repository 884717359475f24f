"""What replies say of mentions, before anybody judges it, and what the readers of replies share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from ..conversation import parse_reply as parse_list


class Entry(NamedTuple):
    """What a reply says of one mention, as it says it.

    mention: the surface form.
    label: the label as written; "" if there is none.
    accepted: whether the reply says that it is an entity; None if it does not say.
    reason: why; "" if it does not say.
    """

    mention: str
    label: str
    accepted: bool | None = None
    reason: str = ""


class Found(NamedTuple):
    """What a reply says in one shape.

    entries: in the order of the reply.
    is_cut: whether the reply ends before it is complete.
    n_broken: entries that could not be read.
    """

    entries: list[Entry]
    is_cut: bool = False
    n_broken: int = 0


NO_LABEL = "NONE"

MENTION_KEYS = ("mention", "text", "surface", "span", "word", "name", "entity")
REASON_KEYS = ("reason", "explanation", "justification")
PROSE_KEYS = frozenset({*REASON_KEYS, "text", "context", "analysis", "note", "notes", "reasoning", "steps"})
TRUTH = {"true": True, "yes": True, "false": False, "no": False}
MARKS = "\"'“”‘’`*_ \t"

_NOTHING = frozenset({"", "none", "none found", "n/a", "null", "-", "no entities", "no mentions", "nothing"})
_MAX_COMMAS = 4  # inside of one mention
_FENCE = re.compile(r"^[ \t]*```.*$", re.MULTILINE)
_COMMA = re.compile(r"\s*[;；]\s*|\s*,\s+|\s*,(?!\d)")
_GOES_ON = re.compile(r"\s*(?:,\s*(?:(?:and|or|&)\s+)?|\s(?:and|or|&)\s+)[\"“‘']?[^\W\d_a-z]")


class Asked:
    """What a reply is about.

    labels: the labels asked.
    text: the text that was annotated; it tells which commas belong to mentions.
    names: the labels as they are compared, without regard to case.
    """

    def __init__(self, labels: Sequence[str], text: str) -> None:
        self.labels = tuple(labels)
        self.text = text
        self.names = {label.casefold() for label in labels}

    def knows(self, label: str) -> bool:
        """Tell whether a label was asked."""
        return label.casefold() in self.names

    def stands(self, mention: str) -> bool:
        """Tell whether a surface form stands in the text, in whole words; white space and case may differ."""
        return bool(mention.strip()) and _pattern_of(mention).search(self.text) is not None

    def split_list(self, value: str) -> list[str]:
        """Split at commas, but not at those inside of mentions.

        Parts are joined if the text has them as one and does not go on as an enumeration would: "Paris, Texas." is one,
        "Paris, London and Rome" are three.

        SOURCE: our choice; no rule can always be right, so that our prompts ask for JSON.
        """
        value = value.strip("* \t")
        if value[:1] in ("[", '"', "“"):
            return list(parse_list(value if value[0] == "[" else f"[{value}]").surfaces)
        value = value if self.stands(value) else value.rstrip(".")
        commas = [match.span() for match in _COMMA.finditer(value)]
        starts, ends = [0, *(end for _, end in commas)], [*(start for start, _ in commas), len(value)]
        mentions = []
        at = 0
        while at < len(starts):
            farthest = min(at + _MAX_COMMAS, len(ends) - 1)
            joined = (n for n in range(farthest, at, -1) if self._is_one(value[starts[at] : ends[n]]))
            last = next(joined, at)
            mentions.append(value[starts[at] : ends[last]].strip(MARKS))
            at = last + 1
        return [mention for mention in mentions if mention.strip("=.()[]<>").casefold() not in _NOTHING]

    def order(self, first: str, second: str) -> Entry:
        """Make an entry of a mention and a label, whichever comes first."""
        is_swapped = first.casefold() in self.names and second.casefold() not in self.names
        return Entry(second, first) if is_swapped else Entry(first, second)

    def _is_one(self, mention: str) -> bool:
        match = _pattern_of(mention).search(self.text)
        return match is not None and not _GOES_ON.match(self.text, match.end())


def strip_fences(reply: str) -> str:
    """Take the lines of code fences out of a reply."""
    return _FENCE.sub("", reply).strip()


def _pattern_of(mention: str) -> re.Pattern[str]:
    pieces = r"\s*".join(re.escape(piece) for piece in re.findall(r"\w+|[^\w\s]", mention))
    return re.compile(rf"(?<!\w){pieces}(?!\w)", re.IGNORECASE)
