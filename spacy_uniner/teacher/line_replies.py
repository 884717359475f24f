"""Replies in lines: by label, or one for each mention; numbered, with bullets, in tables, or plain."""

from __future__ import annotations

import re

from .entries import MARKS, MENTION_KEYS, PROSE_KEYS, TRUTH, Asked, Entry, Found, strip_fences

_BULLET = re.compile(r"^(?:[-*•–]|#{1,6}|\(?\d{1,4}[.):])\s+")
_COLON = re.compile(r"\s*[:：→]\s*|\s+(?:[-–—=]>?)\s+")
_RULE = re.compile(r"[\s|:=-]*\Z")
_ASIDE = re.compile(r"\s*\([^()]*\)\Z")


class LineReader:
    """Reads the lines of a reply."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        names = "|".join(re.escape(label) for label in sorted(asked.labels, key=len, reverse=True))
        self._mark = re.compile(rf"\s*[(\[]\s*[*`]*({names})[*`]*\s*[)\]][*.,;\s]*", re.IGNORECASE)

    def read(self, reply: str) -> Found | None:
        """Read lines: `PER: a, b`; a label with its mentions below; `a | True | PER | reason`; `a (PER)`; `a: PER`.
        They may be numbered, or have bullets.

        RETURNS: None if no line is of such a shape.
        """
        entries: list[Entry] = []
        heading = ""  # the label of the lines below it
        is_known = False
        for line in filter(None, map(str.strip, strip_fences(reply).splitlines())):
            bare = _BULLET.sub("", line)
            label, rest = self._split_label(bare)
            if label:
                heading = "" if rest else label
                entries.extend(Entry(mention, label) for mention in self._asked.split_list(rest))
                is_known = True
            elif "|" in bare:
                entries.extend(self._read_row(bare))
            elif marked := self._read_marked(bare):
                entries.extend(marked)
            elif bare != line or (heading and self._asked.stands(bare)):
                entries.extend(self._read_item(bare, heading))
            else:
                entries.extend(self._read_unknown(bare))
                heading = ""
        return Found(entries) if is_known or entries else None

    def _split_label(self, line: str) -> tuple[str, str]:
        """Split a line into its label, "" if it does not begin with one that was asked, and what follows."""
        match = _COLON.search(line)
        head = line[: match.start()] if match else line
        head = _ASIDE.sub("", head.strip(MARKS)).strip(MARKS)
        rest = line[match.end() :].lstrip("*_ \t") if match else ""
        return (head, rest) if self._asked.knows(head) else ("", line)

    def _read_row(self, line: str) -> list[Entry]:
        """Read `mention | True | LABEL | reason`, where all but the mention and the label may be missing."""
        mention, *fields = (field.strip(MARKS) for field in line.strip("| \t").split("|"))
        if _RULE.match(line) or not fields or mention.casefold() in MENTION_KEYS:  # a rule or the head of a table
            return []
        place = next((n for n, field in enumerate(fields[:2]) if field.casefold() in TRUTH), None)
        accepted = None if place is None else TRUTH[fields.pop(place).casefold()]
        entry = self._asked.order(mention, fields[0] if fields else "")
        return [entry._replace(accepted=accepted, reason=" | ".join(fields[1:]))]

    def _read_marked(self, line: str) -> list[Entry]:
        """Read `mention (LABEL)`, perhaps several of them, or `mention: LABEL`; no entry if no known label stands."""
        if marks := list(self._mark.finditer(line)):
            starts = [0, *(mark.end() for mark in marks)]
            return [Entry(line[start : mark.start()].strip(MARKS), mark[1]) for start, mark in zip(starts, marks)]
        *_, last = (None, *_COLON.finditer(line))
        if last is None or line[last.end() :].strip(MARKS + ".,").casefold() not in self._asked.names:
            return []
        return [Entry(line[: last.start()].strip(MARKS), line[last.end() :].strip(MARKS + ".,"))]

    def _read_item(self, line: str, heading: str) -> list[Entry]:
        """Read a line that is a mention, perhaps with an explanation behind it; its label stands above, or nowhere."""
        head = _ASIDE.sub("", _COLON.split(line, maxsplit=1)[0])
        mentions = self._asked.split_list(line if self._asked.stands(line) or not self._asked.stands(head) else head)
        return [Entry(mention, heading) for mention in mentions if heading or self._asked.stands(mention)]

    def _read_unknown(self, line: str) -> list[Entry]:
        """Read `LABEL: a, b` of a label that was not asked; what is not in the text is taken for prose."""
        head, *tail = _COLON.split(line, maxsplit=1)
        head = head.strip(MARKS)
        if not tail or head.casefold() in PROSE_KEYS or len(head.split()) > 3:
            return []
        return [Entry(mention, head) for mention in self._asked.split_list(tail[0]) if self._asked.stands(mention)]
