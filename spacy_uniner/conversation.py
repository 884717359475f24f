"""The UniversalNER conversation: a passage becomes a prompt or turns to learn from, a reply becomes surface forms.

Both directions stand here, because they must agree; the scanner of broken replies makes it longer than other modules.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from .passages import Passage

System = Literal["text", "paragraph"]  # the last word of the system prompt: asked by, tuned with
Speaker = Literal["human", "gpt"]
Problem = Literal["empty", "no list", "not strings", "cut off", "malformed", "lines", "fenced", "preamble", "trailing"]

STOP = "</s>"
ROLES: dict[Speaker, str] = {"human": "USER", "gpt": "ASSISTANT"}

_LIST = re.compile(r"\[\s*(?:[\"'“‘\]]|\Z)")
_LINE = re.compile(r"^[ \t]*(?:[-*•–]|\d{1,4}[.)])[ \t]+(\S.*)$", re.MULTILINE)
_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’"}
_ESCAPE = re.compile(r"\\u[0-9a-fA-F]{4}|\\.|\"|[\x00-\x1f]", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side says; `speaker` is named as in the released data."""

    speaker: Speaker
    text: str


@dataclass(frozen=True, slots=True)
class Reply:
    """What was read from a reply.

    surfaces: the surface forms, each once, in the order given.
    problem: why the reply is not the JSON list of strings that was asked for; None if it is. "empty", "no list" and
        "not strings" lose surfaces, and so may "cut off", the last one; the others were repaired. "malformed" are
        quotes, commas and escapes that JSON does not know. Of several problems the first in the order of `Problem`.
    """

    surfaces: tuple[str, ...]
    problem: Problem | None = None


# From a passage to a prompt


def prefix_of(passage: Passage, system: System = "text", dataset: str = "") -> str:
    """Write the part of a passage's prompts that does not depend on the types asked: up to the first query.

    system: "text" for prompts as in the released inference code, "paragraph" as in its training code.
    dataset: the name of a supervised dataset; "" for none, as in zero-shot use.
    SOURCE: universal-ner@844e0e1, src/conversation.py (`ie_as_qa`); the dataset as in Zhou et al. 2023, figure 3.
    """
    return write_turns(_read_turns(passage, dataset), system)


def query_of(type_: str) -> str:
    """Write the query for a type, up to where the model answers; it goes behind `prefix_of`, or behind an answer."""
    return _write_query(_ask(type_))


def query_of_all(types: Sequence[str]) -> str:
    """Write one query for all types, up to where the model answers.

    RAISES: ValueError if there are no types.
    SOURCE: the paper names such a template and does not state it; the wording and the answer, a JSON object from type
        to list, are our choice: the same question, and the same lists.
    """
    return _write_query(_ask_all(types))


def prompt_of(passage: Passage, type_: str, system: System = "text", dataset: str = "") -> str:
    """Write the whole prompt for a type, up to where the model answers."""
    return prefix_of(passage, system, dataset) + query_of(type_)


def prompt_of_all(passage: Passage, system: System = "text", dataset: str = "") -> str:
    """Write the whole prompt for all types of a passage in one query, up to where the model answers."""
    return prefix_of(passage, system, dataset) + query_of_all(passage.types)


# From a passage to what is learned


def make_turns(passage: Passage, dataset: str = "", all_in_one: bool = False) -> tuple[Turn, ...]:
    """Make the whole conversation about a passage, with the answers.

    A type of which the annotation cannot tell all mentions (`Passage.unknown`) is not asked. Mentions stand in the
    order of the text, and a surface form as often as it is mentioned, as in the released data.

    dataset: see `prefix_of`.
    all_in_one: one query for all types, in place of one for each.
    RETURNS: an even number of turns; two if nothing can be asked.
    """
    unknown = {mention.type for mention in passage.unknown}
    types = [type_ for type_ in passage.types if type_ not in unknown]
    surfaces: dict[str, list[str]] = {type_: [] for type_ in types}
    for mention in sorted(passage.mentions, key=lambda m: (m.start, m.end)):
        if mention.type in surfaces:
            surfaces[mention.type].append(" ".join(passage.words[mention.start : mention.end]))
    if all_in_one:
        pairs = [(_ask_all(types), json.dumps(surfaces))] if types else []
    else:
        pairs = [(_ask(type_), json.dumps(found)) for type_, found in surfaces.items()]
    asked = (turn for query, answer in pairs for turn in (Turn("human", query), Turn("gpt", answer)))
    return (*_read_turns(passage, dataset), *asked)


def write_turns(turns: Sequence[Turn], system: System = "text") -> str:
    """Write turns as one string: a space behind the user's, `</s>` behind the assistant's."""
    ends: dict[Speaker, str] = {"human": " ", "gpt": STOP}
    said = (f"{ROLES[turn.speaker]}: {turn.text}{ends[turn.speaker]}" for turn in turns)
    return f"A virtual assistant answers questions from a user based on the provided {system}. {''.join(said)}"


def conversation_to_dict(id: str, turns: Sequence[Turn]) -> dict[str, Any]:
    """Turn a conversation into a record of the released schema."""
    return {"id": id, "conversations": [{"from": turn.speaker, "value": turn.text} for turn in turns]}


# From a reply to surface forms


def parse_reply(text: str) -> Reply:
    """Read the surface forms from the reply to the query for one type. Nothing is executed.

    First as the JSON list of strings that was asked for, then by repair: of a list that is cut off, the strings that
    were closed; quotes of other kinds, none, or unescaped ones inside a string; text or a code fence around the list;
    numbered or dashed lines. Numbers are taken as written. Of lines, nobody can tell whether the last one is whole.

    SOURCE: our choice; the released parser takes the shortest `[…]` from the first character on, or nothing.
    """
    text = text.strip().removesuffix(STOP).rstrip()
    if not text:
        return Reply((), "empty")
    value = _read_json(text)
    if isinstance(value, list):
        return _judge(value)
    found = _LIST.search(text)
    if found is None and (lines := _LINE.findall(text)):
        return Reply(tuple(dict.fromkeys(map(_unquote, lines))), "lines")
    start = found.start() if found else text.find("[")
    if start < 0:
        return Reply((), "no list")
    reply, end = _scan_list(text, start)
    if reply.problem is not None:
        return reply
    before, after = text[:start], text[end:]
    if "```" in before:
        return Reply(reply.surfaces, "fenced")
    if before:
        return Reply(reply.surfaces, "preamble")
    return Reply(reply.surfaces, "trailing" if after else "malformed")


def parse_reply_to_all(text: str, types: Sequence[str]) -> tuple[Reply, ...]:
    """Read the surface forms of each type from the reply to the one query for all types.

    RETURNS: a reply for each type, in their order, with the problem of its own list; "no list" where it has none.
    """
    text = text.strip().removesuffix(STOP).rstrip()
    if not text:
        return tuple(Reply((), "empty") for _ in types)
    value = _read_json(text)
    if isinstance(value, dict):
        lists = [value.get(type_) for type_ in types]
        return tuple(_judge(found) if isinstance(found, list) else Reply((), "no list") for found in lists)
    return tuple(_parse_part(text, type_) for type_ in types)


def _read_turns(passage: Passage, dataset: str) -> tuple[Turn, Turn]:
    name = f"Dataset: {dataset} \n " if dataset else ""
    return Turn("human", f"{name}Text: {' '.join(passage.words)}"), Turn("gpt", "I've read this text.")


def _ask(type_: str) -> str:
    return f"What describes {type_} in the text?"


def _ask_all(types: Sequence[str]) -> str:
    if not types:
        raise ValueError("A query for all types needs types, and there are none. Give the passage types to ask.")
    return _ask(", ".join(types))


def _write_query(query: str) -> str:
    return f"{ROLES['human']}: {query} {ROLES['gpt']}:"


def _read_json(text: str) -> Any:
    """Read JSON; None if it is none. Numbers stay as they are written."""
    try:
        return json.loads(text, parse_int=str, parse_float=str, parse_constant=str)
    except (ValueError, RecursionError):
        return None


def _judge(values: list[Any]) -> Reply:
    surfaces = [value for value in values if isinstance(value, str)]
    return Reply(tuple(dict.fromkeys(surfaces)), None if len(surfaces) == len(values) else "not strings")


def _parse_part(text: str, type_: str) -> Reply:
    """Read the list that stands behind a type's name in a reply that is no JSON."""
    written = {re.escape(type_), re.escape(json.dumps(type_)[1:-1])}
    key = re.search(rf"(?:[\"']|(?:\A|[{{,\n])[ \t]*)(?:{'|'.join(sorted(written))})[\"']?\s*:\s*(?=\[|\Z)", text)
    if key is None:
        return Reply((), "no list")
    if key.end() == len(text):
        return Reply((), "cut off")
    return _scan_list(text, key.end())[0]


def _unquote(line: str) -> str:
    """Take a line's surface form out of its quotes, if it has any."""
    line = line.strip().removesuffix(",").rstrip()
    return line[1:-1] if len(line) > 1 and _QUOTES.get(line[0]) == line[-1] else line


def _scan_list(text: str, start: int) -> tuple[Reply, int]:
    """Read the list that begins at `start`, by the characters.

    RETURNS: the surface forms, with "not strings", "cut off", "malformed" or no problem; and the list's end.
    """
    surfaces: list[str] = []
    problems: set[Problem] = set()
    is_strict = True
    at = start + 1
    while True:
        while at < len(text) and (text[at].isspace() or text[at] == ","):
            at += 1
        if at == len(text):
            problems.add("cut off")
            break
        if text[at] == "]":
            at += 1
            break
        if text[at] in _QUOTES:
            end = _find_close(text, at, is_strict)
            if end < 0 and is_strict:
                is_strict = False  # for the rest, too: the end of the text was reached once
                end = _find_close(text, at, is_strict)
            if end < 0:
                problems.add("cut off")
                at = len(text)
                break
            surface, is_clean = _unescape(text[at + 1 : end])
            if text[at] != '"' or not is_clean:
                problems.add("malformed")
            surfaces.append(surface)
            at = end + 1
            continue
        end = _find_bare_end(text, at, is_strict)
        if end == len(text) and is_strict:
            is_strict = False
            end = _find_bare_end(text, at, is_strict)
        bare = text[at:end].strip()
        if end == len(text):
            problems.add("cut off")
        elif bare.lower() in ("null", "none", "true", "false") or bare[0] in "[{":
            problems.add("not strings")
        else:
            surfaces.append(bare)
            problems.add("malformed")
        at = end
    order: tuple[Problem, ...] = ("not strings", "cut off", "malformed")
    return Reply(tuple(dict.fromkeys(surfaces)), next((problem for problem in order if problem in problems), None)), at


def _find_close(text: str, start: int, is_strict: bool) -> int:
    """Find the quote that closes the string opened at `start`; -1 if none does.

    A quote closes if the list ends behind it, or goes on with another string; if not `is_strict`, with anything. So
    apostrophes, unescaped quotes, commas and brackets may stand inside. A bracket behind which another quote ends the
    string belongs to the string.
    """
    close = re.escape(_QUOTES[text[start]])
    ends, opens = r"\](?![\"'”’]\s*[,\]])", r"[\"'“‘]"
    behind = rf"\s*(?:\Z|{ends}|,\s*(?:\Z|\]|{opens}))|\s+{opens}" if is_strict else r"\s*(?:\Z|\]|,)"
    pattern = re.compile(rf"(?:\\.)|({close})(?={behind})", re.DOTALL)
    return next((match.start() for match in pattern.finditer(text, start + 1) if match[1]), -1)


def _unescape(raw: str) -> tuple[str, bool]:
    """Undo JSON's escapes in the inside of a string.

    RETURNS: the text, and whether JSON would have it so. What is no escape of JSON stays as it is.
    """
    is_clean = True

    def mend(match: re.Match[str]) -> str:
        nonlocal is_clean
        found = match[0]
        if len(found) == 6 or (len(found) == 2 and found[1] in '"\\/bfnrt'):
            return found
        is_clean = False
        if found == "\\'":
            return "'"
        return json.dumps(found)[1:-1]

    return str(json.loads(f'"{_ESCAPE.sub(mend, raw)}"')), is_clean


def _find_bare_end(text: str, start: int, is_strict: bool) -> int:
    """Find the end of an item without quotes: the next comma or bracket; if `is_strict`, in no brackets of its own."""
    depth = 0
    for at in range(start, len(text)):
        if depth == 0 and text[at] in ",]":
            return at
        depth += is_strict and (text[at] in "[{(") - (depth > 0 and text[at] in "]})")
    return len(text)
