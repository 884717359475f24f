"""Texts and files for tests of `scale`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

NAMES = {"Paris": "city", "Rome": "city", "Sally": "person", "Alan": "person", "São Tomé": "island"}


def make_texts(n: int) -> list[dict[str, Any]]:
    """Make records, each with a text of its own and something that came with it."""
    names = list(NAMES)
    return [{"id": f"t{i}", "text": f"{names[i % 5]} met {names[i % 3]} on day {i}.", "topic": i % 7} for i in range(n)]


def write_jsonl(path: Path, records: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf8")
    return path


def read_jsonl(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf8").splitlines()]


def read_rows(output: Path) -> list[Any]:
    """Read the rows of all parts, in order."""
    return [row for path in sorted(output.glob("part-*.jsonl")) for row in read_jsonl(path)]
