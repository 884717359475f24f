"""Replies in JSON: an object from label to mentions; objects or pairs, one for each mention; broken JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from ..conversation import parse_reply_to_all as parse_lists
from .entries import (
    MENTION_KEYS,
    NO_LABEL,
    PROSE_KEYS,
    REASON_KEYS,
    TRUTH,
    Asked,
    Entry,
    Found,
    strip_fences,
)

_LABEL_KEYS = ("label", "type", "entity_type", "category", "tag", "entity")
_ACCEPTED_KEYS = ("is_entity", "accepted")

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
_ESCAPE = re.compile(r"\\.|\"", re.DOTALL)


class JsonReader:
    """Reads the JSON of a reply, whatever stands around it."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked

    def read(self, reply: str) -> Found | None:
        """Read JSON, whatever stands around it: an object from label to mentions; objects or pairs, one for each
        mention; broken JSON as far as it goes.

        Of several JSON values the last that says something counts; those with nothing between are one.

        RETURNS: None if there is no JSON, or it says nothing of mentions or labels, such as "[]".
        """
        for value in reversed(_scan_json(strip_fences(reply))):
            if isinstance(value, str):
                found = self._mend_json(value)
            else:
                entries = self._read_value(value)
                found = None if entries is None else Found(entries)
            if found is not None:
                return found
        return None

    def _read_value(self, value: Any) -> list[Entry] | None:
        """Read a JSON value; None if it says nothing of mentions."""
        if isinstance(value, dict):
            return self._read_object(value)
        if not isinstance(value, list):
            return None
        if value and all(map(_is_pair, value)) and any(any(map(self._asked.knows, pair)) for pair in value):
            return [self._asked.order(*pair) for pair in value]
        return _join(map(self._read_value, value))

    def _read_object(self, value: dict[str, Any]) -> list[Entry] | None:
        if (entry := _read_entry(value)) is not None:
            return [entry]
        has_label = any(self._asked.knows(key) for key in value)
        if value and all(isinstance(inside, str) and self._asked.knows(inside) for inside in value.values()):
            return [Entry(mention, label) for mention, label in value.items()]
        lists = [inside for inside in value.values() if isinstance(inside, list)]
        if not has_label and len(lists) == 1 and isinstance(label := _pick(value, _LABEL_KEYS), str):
            return self._read_mentions(lists[0], label)
        found: list[list[Entry] | None] = []
        for key, inside in value.items():
            is_label = self._asked.knows(key)
            is_prose = key.casefold() in PROSE_KEYS
            is_list = isinstance(inside, list) and any(isinstance(item, str) for item in inside)
            is_prose |= isinstance(inside, str) and not self._asked.stands(inside)
            if is_label or (not is_prose and (has_label or is_list)):
                found.append(self._read_mentions(inside, key))
            elif not is_prose:
                found.append(self._read_value(inside))
        return _join(found)

    def _read_mentions(self, value: Any, label: str) -> list[Entry]:
        """Read what stands behind a label."""
        if isinstance(value, str):
            return [Entry(mention, label) for mention in self._asked.split_list(value)]
        if isinstance(value, dict):
            value = [value] if _pick(value, MENTION_KEYS) else list(value)
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
        chunks = [chunk for chunk in chunks if any(f'"{key}"' in chunk.replace("'", '"') for key in MENTION_KEYS)]
        entries = [entry for entry in map(_mend_entry, chunks) if entry]
        n_broken = sum(chunk.endswith("}") for chunk in chunks) - len(entries)
        replies = parse_lists(body, self._asked.labels)
        if entries or all(reply.problem in ("no list", "empty") for reply in replies):
            return Found(entries, is_cut, n_broken) if chunks else None
        entries = [Entry(mention, label) for label, r in zip(self._asked.labels, replies) for mention in r.surfaces]
        return Found(entries, is_cut, sum(reply.problem == "not strings" for reply in replies))


def read_pairs(reply: str) -> Found | None:
    """Read `[("entity", "type"), ...]`; the brackets and quotes may be others, and objects may stand for pairs.

    RETURNS: None if there is no pair.
    """
    body = strip_fences(reply)
    found = JsonReader(Asked((), "")).read(body)
    if found is not None:
        return found
    entries = [Entry(_unescape(one), _unescape(two)) for _, one, _, two in _PAIR.findall(body)]
    return Found(entries, is_cut=body.count("[") > body.count("]")) if entries else None


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
    key = next((key for key in MENTION_KEYS if key in value), "")
    rest = {name: inside for name, inside in value.items() if name != key}
    mention = value.get(key)
    label_key = next((name for name in _LABEL_KEYS if name in rest), "")
    label, accepted, reason = rest.get(label_key), _pick(rest, _ACCEPTED_KEYS), _pick(rest, REASON_KEYS)
    if not isinstance(mention, str) or not (label_key or accepted is not None):
        return None
    if isinstance(accepted, str):
        accepted = TRUTH.get(accepted.casefold())
    no_label = NO_LABEL if label_key and accepted is None else ""
    return Entry(
        mention,
        label if isinstance(label, str) else no_label,
        accepted if isinstance(accepted, bool) else None,
        reason if isinstance(reason, str) else "",
    )


def _unescape(quoted: str) -> str:
    """Undo escapes in the inside of a string, in which quotes may stand unescaped; what is no escape stays."""

    def mend(match: re.Match[str]) -> str:
        return {'"': '\\"', "\\'": "'"}.get(match[0], match[0])

    try:
        return str(json.loads(f'"{_ESCAPE.sub(mend, quoted)}"', strict=False))
    except ValueError:
        return quoted


def _mend_entry(chunk: str) -> Entry | None:
    """Read an object about one mention whose JSON may be broken."""
    fields: dict[str, Any] = {}
    for key, double, single, bare in _FIELD.findall(chunk):
        fields[key] = _unescape(double or single) or (None if bare in ("null", "None") else bare)
    return _read_entry(fields)
