"""The shapes of replies: what a teacher says of mentions, in JSON or in lines, before anybody judges it.

Longer than other modules by the number of shapes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ..conversation import parse_reply as parse_list
from ..conversation import parse_reply_to_all as parse_lists


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

_MENTION_KEYS = ("mention", "text", "surface", "span", "word", "name", "entity")
_LABEL_KEYS = ("label", "type", "entity_type", "category", "tag", "entity")
_ACCEPTED_KEYS = ("is_entity", "accepted")
_REASON_KEYS = ("reason", "explanation", "justification")
_PROSE_KEYS = frozenset({*_REASON_KEYS, "text", "context", "analysis", "note", "notes", "reasoning", "steps"})
_TRUTH = {"true": True, "yes": True, "false": False, "no": False}
_NOTHING = frozenset({"", "none", "none found", "n/a", "null", "-", "no entities", "no mentions", "nothing"})
_MARKS = "\"'“”‘’`*_ \t"

_MAX_COMMAS = 4  # inside of one mention

_FENCE = re.compile(r"^[ \t]*```.*$", re.MULTILINE)
_OPENED = re.compile(r"[\[{]")
_LIKE_JSON = re.compile(r"[\[{]\s*[\"'“‘\[{(]")
_OBJECT = re.compile(r"\{[^{}]*(?:\}|\Z)")
_FIELD = re.compile(
    r"[\"'](\w+)[\"']\s*:\s*"
    r"(?:\"((?:\\.|[^\"\\]|\"(?!\s*[,}]))*)\"|'((?:\\.|[^'\\]|'(?!\s*[,}]))*)'|([\w=/-]+))(?=\s*[,}])",
    re.DOTALL,
)
_PAIR = re.compile(
    r"[(\[]\s*([\"'])((?:\\.|(?!\1\s*,\s*[\"']).){0,500})\1\s*,\s*"
    r"([\"'])((?:\\.|(?!\3\s*,?\s*[)\]]).){0,500})\3\s*,?\s*[)\]]",
    re.DOTALL,
)
_BULLET = re.compile(r"^(?:[-*•–]|#{1,6}|\(?\d{1,4}[.):])\s+")
_COLON = re.compile(r"\s*[:：→]\s*|\s+(?:[-–—=]>?)\s+")
_RULE = re.compile(r"[\s|:=-]*\Z")
_ASIDE = re.compile(r"\s*\([^()]*\)\Z")
_COMMA = re.compile(r"\s*[;；]\s*|\s*,\s+|\s*,(?!\d)")
_GOES_ON = re.compile(r"\s*(?:,\s*(?:(?:and|or|&)\s+)?|\s(?:and|or|&)\s+)[\"“‘']?[^\W\d_a-z]")


class ShapeReader:
    """Reads what replies say of the mentions in a text.

    labels: the labels asked.
    text: the text that was annotated; it tells which commas belong to mentions.
    """

    def __init__(self, labels: Sequence[str], text: str) -> None:
        self._labels = tuple(labels)
        self._names = {label.casefold() for label in labels}
        self._text = text
        names = "|".join(re.escape(label) for label in sorted(labels, key=len, reverse=True))
        self._mark = re.compile(rf"\s*[(\[]\s*[*`]*({names})[*`]*\s*[)\]][*.,;\s]*", re.IGNORECASE)

    def read_json(self, reply: str) -> Found | None:
        """Read JSON, whatever stands around it: an object from label to mentions; objects or pairs, one for each
        mention; broken JSON as far as it goes.

        Of several JSON values the last that says something counts; those with nothing between are one.

        RETURNS: None if there is no JSON, or it says nothing of mentions or labels, such as "[]".
        """
        for value in reversed(_scan_json(_FENCE.sub("", reply).strip())):
            if isinstance(value, str):
                found = self._mend_json(value)
            else:
                entries = self._read_value(value)
                found = None if entries is None else Found(entries)
            if found is not None:
                return found
        return None

    def read_lines(self, reply: str) -> Found | None:
        """Read lines: `PER: a, b`; a label with its mentions below; `a | True | PER | reason`; `a (PER)`; `a: PER`.
        They may be numbered, or have bullets.

        RETURNS: None if no line is of such a shape.
        """
        entries: list[Entry] = []
        heading = ""  # the label of the lines below it
        is_known = False
        for line in filter(None, map(str.strip, _FENCE.sub("", reply).splitlines())):
            bare = _BULLET.sub("", line)
            label, rest = self._split_label(bare)
            if label:
                heading = "" if rest else label
                entries.extend(Entry(mention, label) for mention in self._split_list(rest))
                is_known = True
            elif "|" in bare:
                entries.extend(self._read_row(bare))
            elif marked := self._read_marked(bare):
                entries.extend(marked)
            elif bare != line or (heading and stands_in(bare, self._text)):
                entries.extend(self._read_item(bare, heading))
            else:
                entries.extend(self._read_unknown(bare))
                heading = ""
        return Found(entries) if is_known or entries else None

    # JSON

    def _read_value(self, value: Any) -> list[Entry] | None:
        """Read a JSON value; None if it says nothing of mentions."""
        if isinstance(value, dict):
            return self._read_object(value)
        if not isinstance(value, list):
            return None
        if value and all(map(_is_pair, value)) and any(self._names & set(map(str.casefold, pair)) for pair in value):
            return [self._order(*pair) for pair in value]
        return _join(map(self._read_value, value))

    def _read_object(self, value: dict[str, Any]) -> list[Entry] | None:
        if (entry := _read_entry(value)) is not None:
            return [entry]
        has_label = any(key.casefold() in self._names for key in value)
        if value and all(isinstance(inside, str) and inside.casefold() in self._names for inside in value.values()):
            return [Entry(mention, label) for mention, label in value.items()]
        lists = [inside for inside in value.values() if isinstance(inside, list)]
        if not has_label and len(lists) == 1 and isinstance(label := _pick(value, _LABEL_KEYS), str):
            return self._read_mentions(lists[0], label)
        found: list[list[Entry] | None] = []
        for key, inside in value.items():
            is_label = key.casefold() in self._names
            is_prose = key.casefold() in _PROSE_KEYS
            is_list = isinstance(inside, list) and any(isinstance(item, str) for item in inside)
            if is_label or (not is_prose and (has_label or is_list)):
                found.append(self._read_mentions(inside, key))
            elif not is_prose:
                found.append(self._read_value(inside))
        return _join(found)

    def _read_mentions(self, value: Any, label: str) -> list[Entry]:
        """Read what stands behind a label."""
        if isinstance(value, str):
            return [Entry(mention, label) for mention in self._split_list(value)]
        if isinstance(value, dict):
            value = [value] if _pick(value, _MENTION_KEYS) else list(value)
        entries = []
        for item in value if isinstance(value, list) else []:
            if isinstance(item, dict):
                entries.append(_read_entry({"label": label, **item}) or Entry("", label))
            elif isinstance(item, list):
                entries.append(Entry(str(item[0]) if item else "", label))
            elif item is not None:
                entries.append(Entry(str(item), label))
        return entries

    def _mend_json(self, body: str) -> Found | None:
        """Read broken JSON: its objects one by one, else the lists behind the labels."""
        is_cut = body.count("{") > body.count("}") or body.count("[") > body.count("]")
        chunks = [match[0] for match in _OBJECT.finditer(body)]
        chunks = [chunk for chunk in chunks if any(f'"{key}"' in chunk.replace("'", '"') for key in _MENTION_KEYS)]
        if chunks:
            entries = [entry for entry in map(_mend_entry, chunks) if entry]
            n_whole = sum(chunk.endswith("}") for chunk in chunks)
            return Found(entries, is_cut, n_whole - len(entries))
        replies = parse_lists(body, self._labels)
        if all(reply.problem in ("no list", "empty") for reply in replies):
            return None
        entries = [Entry(mention, label) for label, r in zip(self._labels, replies) for mention in r.surfaces]
        return Found(entries, is_cut, sum(reply.problem == "not strings" for reply in replies))

    # Lines

    def _split_label(self, line: str) -> tuple[str, str]:
        """Split a line into its label, "" if it does not begin with one that was asked, and what follows."""
        match = _COLON.search(line)
        head = line[: match.start()] if match else line
        head = _ASIDE.sub("", head.strip(_MARKS)).strip(_MARKS)
        rest = line[match.end() :].lstrip("*_ \t") if match else ""
        return (head, rest) if head.casefold() in self._names else ("", line)

    def _read_row(self, line: str) -> list[Entry]:
        """Read `mention | True | LABEL | reason`, where all but the mention and the label may be missing."""
        mention, *fields = (field.strip(_MARKS) for field in line.strip("| \t").split("|"))
        if _RULE.match(line) or not fields or mention.casefold() in _MENTION_KEYS:  # a rule or the head of a table
            return []
        place = next((n for n, field in enumerate(fields[:2]) if field.casefold() in _TRUTH), None)
        accepted = None if place is None else _TRUTH[fields.pop(place).casefold()]
        entry = self._order(mention, fields[0] if fields else "")
        return [entry._replace(accepted=accepted, reason=" | ".join(fields[1:]))]

    def _read_marked(self, line: str) -> list[Entry]:
        """Read `mention (LABEL)`, perhaps several of them, or `mention: LABEL`; no entry if no known label stands."""
        if marks := list(self._mark.finditer(line)):
            starts = [0, *(mark.end() for mark in marks)]
            return [Entry(line[start : mark.start()].strip(_MARKS), mark[1]) for start, mark in zip(starts, marks)]
        *_, last = (None, *_COLON.finditer(line))
        if last is None or line[last.end() :].strip(_MARKS + ".,").casefold() not in self._names:
            return []
        return [Entry(line[: last.start()].strip(_MARKS), line[last.end() :].strip(_MARKS + ".,"))]

    def _read_item(self, line: str, heading: str) -> list[Entry]:
        """Read a line that is a mention, perhaps with an explanation behind it; its label stands above, or nowhere."""
        head = _ASIDE.sub("", _COLON.split(line, maxsplit=1)[0])
        mentions = self._split_list(line if stands_in(line, self._text) or not stands_in(head, self._text) else head)
        return [Entry(mention, heading) for mention in mentions if heading or stands_in(mention, self._text)]

    def _read_unknown(self, line: str) -> list[Entry]:
        """Read `LABEL: a, b` of a label that was not asked; what is not in the text is taken for prose."""
        head, *tail = _COLON.split(line, maxsplit=1)
        head = head.strip(_MARKS)
        if not tail or head.casefold() in _PROSE_KEYS or len(head.split()) > 3:
            return []
        return [Entry(mention, head) for mention in self._split_list(tail[0]) if stands_in(mention, self._text)]

    def _split_list(self, value: str) -> list[str]:
        """Split at commas, but not at those inside of mentions.

        Parts are joined if the text has them as one and does not go on as an enumeration would: "Paris, Texas." is one,
        "Paris, London and Rome" are three.

        SOURCE: our choice; no rule can always be right, so that our prompts ask for JSON.
        """
        value = value.strip("* \t")
        if value[:1] in ("[", '"', "“"):
            return list(parse_list(value if value[0] == "[" else f"[{value}]").surfaces)
        value = value if stands_in(value, self._text) else value.rstrip(".")
        commas = [match.span() for match in _COMMA.finditer(value)]
        starts, ends = [0, *(end for _, end in commas)], [*(start for start, _ in commas), len(value)]
        mentions = []
        at = 0
        while at < len(starts):
            farthest = min(at + _MAX_COMMAS, len(ends) - 1)
            joined = (n for n in range(farthest, at, -1) if self._is_one(value[starts[at] : ends[n]]))
            last = next(joined, at)
            mentions.append(value[starts[at] : ends[last]].strip(_MARKS))
            at = last + 1
        return [mention for mention in mentions if mention.strip("=.()[]<>").casefold() not in _NOTHING]

    def _is_one(self, mention: str) -> bool:
        match = _pattern_of(mention).search(self._text)
        return match is not None and not _GOES_ON.match(self._text, match.end())

    def _order(self, first: str, second: str) -> Entry:
        """Make an entry of a mention and a label, whichever comes first."""
        is_swapped = first.casefold() in self._names and second.casefold() not in self._names
        return Entry(second, first) if is_swapped else Entry(first, second)


def read_pairs(reply: str) -> Found | None:
    """Read `[("entity", "type"), ...]`; the brackets and quotes may be others, and objects may stand for pairs.

    RETURNS: None if there is no pair.
    """
    body = _FENCE.sub("", reply).strip()
    found = ShapeReader((), "").read_json(body)
    if found is not None:
        return found
    entries = [Entry(_unescape(one), _unescape(two)) for _, one, _, two in _PAIR.findall(body)]
    return Found(entries, is_cut=body.count("[") > body.count("]")) if entries else None


def stands_in(mention: str, text: str) -> bool:
    """Tell whether a surface form stands in a text, between the bounds of words; white space and case may differ."""
    return bool(mention) and _pattern_of(mention).search(text) is not None


def _pattern_of(mention: str) -> re.Pattern[str]:
    pieces = r"\s*".join(re.escape(piece) for piece in re.findall(r"\w+|[^\w\s]", mention))
    return re.compile(rf"(?<!\w){pieces}(?!\w)", re.IGNORECASE)


def _scan_json(body: str) -> list[list[Any] | str]:
    """Find JSON in a text: lists of values that have nothing but white space or a comma between them, and, as they are
    written, pieces that are meant as JSON and broken."""
    decoder = json.JSONDecoder(
        object_pairs_hook=_merge_keys, parse_int=str, parse_float=str, parse_constant=str, strict=False
    )
    found: list[list[Any] | str] = []
    at = 0
    while match := _OPENED.search(body, at):
        is_next = bool(found) and not body[at : match.start()].strip(", \t\r\n")
        try:
            value, at = decoder.raw_decode(body, match.start())
        except (ValueError, RecursionError):
            at = match.end()
            if _LIKE_JSON.match(body, match.start()):
                at = _find_end(body, match.start())
                found.append(body[match.start() : at])
            continue
        if is_next and isinstance(found[-1], list):
            found[-1].append(value)
        else:
            found.append([value])
    return found


def _find_end(body: str, start: int) -> int:
    """Find the end of broken JSON: where as many brackets are closed as were opened, else the end of the text."""
    depth = 0
    for match in re.finditer(r"[\[\]{}]", body[start:]):
        depth += 1 if match[0] in "[{" else -1
        if depth == 0:
            return start + match.end()
    return len(body)


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(item, str) for item in value)


def _merge_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object; of a key that stands twice with lists, both lists count."""
    merged: dict[str, Any] = {}
    for key, value in pairs:
        if isinstance(merged.get(key), list) and isinstance(value, list):
            value = merged[key] + value
        merged[key] = value
    return merged


def _join(found: Iterable[list[Entry] | None]) -> list[Entry] | None:
    """Join entries; None if nothing says anything."""
    known = [entries for entries in found if entries is not None]
    return [entry for entries in known for entry in entries] if known else None


def _pick(value: dict[str, Any], keys: Sequence[str]) -> Any:
    return next((value[key] for key in keys if key in value), None)


def _read_entry(value: dict[str, Any]) -> Entry | None:
    """Read an object that is about one mention; None if it is not."""
    key = next((key for key in _MENTION_KEYS if key in value), "")
    rest = {name: inside for name, inside in value.items() if name != key}
    mention = value.get(key)
    label_key = next((name for name in _LABEL_KEYS if name in rest), "")
    label, accepted, reason = rest.get(label_key), _pick(rest, _ACCEPTED_KEYS), _pick(rest, _REASON_KEYS)
    if not isinstance(mention, str) or not (label_key or accepted is not None):
        return None
    if isinstance(accepted, str):
        accepted = _TRUTH.get(accepted.casefold())
    no_label = NO_LABEL if label_key and accepted is None else ""
    return Entry(
        mention,
        label if isinstance(label, str) else no_label,
        accepted if isinstance(accepted, bool) else None,
        reason if isinstance(reason, str) else "",
    )


def _unescape(quoted: str) -> str:
    return quoted.replace("\\'", "'").replace('\\"', '"')


def _mend_entry(chunk: str) -> Entry | None:
    """Read an object about one mention whose JSON may be broken."""
    fields: dict[str, Any] = {}
    for key, double, single, bare in _FIELD.findall(chunk):
        (quoted,) = parse_list(f'["{double}"]').surfaces or ("",)
        fields[key] = quoted or single.replace("\\'", "'") or (None if bare in ("null", "None") else bare)
    return _read_entry(fields)
