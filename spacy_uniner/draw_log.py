"""The log of what a curriculum drew, which a run that was killed goes on with."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .schedules import Schedule, planned_share

N_PLANNED = 200
N_LINE = 100
DISTILLED, ORIGINAL = "d", "o"


@dataclass(frozen=True)
class Plan:
    """What a curriculum plans to draw.

    n_examples: how many it is planned for.
    seed: of the order.
    shares: of distilled Examples, at equal distances of progress from 0 to 1, rounded.
    """

    n_examples: int
    seed: int
    shares: tuple[float, ...]


@dataclass(frozen=True)
class Drawn:
    """What a log tells.

    plan: what was to be drawn.
    sources: from where each Example was drawn, a "d" for distilled and an "o" for original.
    """

    plan: Plan
    sources: str


def make_plan(schedule: Schedule, n_examples: int, seed: int) -> Plan:
    """Write down what a schedule plans."""
    shares = (planned_share(schedule, n / N_PLANNED) for n in range(N_PLANNED + 1))
    return Plan(n_examples, seed, tuple(round(share, 6) for share in shares))


def read_draw_log(path: Path) -> Drawn:
    """Read a log. A last line that a kill cut off is passed over.

    RAISES: ValueError if it is not a log of draws.
    """
    lines = path.read_text(encoding="utf8").split("\n")[:-1]
    try:
        header, *records = [json.loads(line) for line in lines]
        plan = Plan(int(header["n_examples"]), int(header["seed"]), tuple(map(float, header["shares"])))
        sources = "".join(record["drawn"] for record in records)
        is_whole = not records or records[-1]["n_examples"] == len(sources)
    except (ValueError, KeyError, TypeError) as err:
        raise ValueError(
            f"{path} is not a log of draws ({type(err).__name__}: {err}). Expected a line with n_examples, seed and "
            "shares, and behind it lines with n_examples, n_distilled and drawn."
        ) from err
    if not is_whole or set(sources) - {DISTILLED, ORIGINAL}:
        raise ValueError(f"{path} is damaged: lines are missing, or name other sources than d and o. Remove it.")
    return Drawn(plan, sources)


class DrawLog:
    """Write down what is drawn, as JSONL: the plan, then a line for every hundred Examples.

    What is drawn is a matter of plan and seed. So the log of a run that goes on is that of a run in one piece: what is
    drawn again, by initialization or after a kill, is held against what the log has, and only what is new is written.

    path: the file; it is made if it is not there.
    plan: what is to be drawn.
    RAISES: ValueError if there is a log of another plan.
    """

    def __init__(self, path: Path, plan: Plan) -> None:
        self.path = path
        self.plan = plan
        self._drawn = bytearray()
        self._written = bytearray()  # what the file has, which may be more than was drawn by now
        self._size = -1
        self._take_up()

    def add(self, is_distilled: bool) -> None:
        """Note one Example; it is written with the others of its hundred."""
        self._drawn += (DISTILLED if is_distilled else ORIGINAL).encode()
        if len(self._drawn) % N_LINE == 0:
            self.write()

    def write(self) -> None:
        """Write what is not written yet.

        RAISES: ValueError if the log has other sources for the same Examples.
        """
        if not self.path.is_file() or self.path.stat().st_size != self._size:
            self._take_up()
        n_both = min(len(self._written), len(self._drawn))
        if self._written[:n_both] != self._drawn[:n_both]:
            raise ValueError(f"{self.path} tells of other draws than this schedule makes. Remove it, or name another.")
        new = self._drawn[n_both:]
        if new:
            n_distilled = self._drawn.count(DISTILLED.encode())
            self._append(n_examples=len(self._drawn), n_distilled=n_distilled, drawn=new.decode())
            self._written += new

    def _take_up(self) -> None:
        """Begin the file, or go on with what it has by now."""
        _cut_torn_line(self.path)
        if not self.path.is_file() or not self.path.stat().st_size:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._written = bytearray()
            self._append(**asdict(self.plan))
            return
        found = read_draw_log(self.path)
        if found.plan != self.plan:
            raise ValueError(
                f"{self.path} is the log of another plan: of {found.plan.n_examples} Examples with seed "
                f"{found.plan.seed}, not of {self.plan.n_examples} with seed {self.plan.seed}, or of another schedule. "
                "Remove it, or name another log."
            )
        self._written = bytearray(found.sources.encode())
        self._size = self.path.stat().st_size

    def _append(self, **record: Any) -> None:
        with self.path.open("a", encoding="utf8", newline="\n") as file:
            file.write(json.dumps(record) + "\n")
        self._size = self.path.stat().st_size


def share_by_part(sources: str, n_part: int) -> list[float]:
    """Give the share of distilled Examples in each part of so many Examples; the last may be shorter."""
    parts = (sources[first : first + n_part] for first in range(0, len(sources), n_part))
    return [part.count(DISTILLED) / len(part) for part in parts]


def _cut_torn_line(path: Path) -> None:
    """Cut off a last line that has no end."""
    if path.is_file():
        content = path.read_bytes()
        if not content.endswith(b"\n"):
            os.truncate(path, content.rfind(b"\n") + 1)
