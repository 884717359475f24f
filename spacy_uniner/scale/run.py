"""A run over inputs: what is still to do, done by an engine."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from .inputs import find_sources, keep_stream
from .on_ray import run_on_ray
from .outputs import WRITERS, check_columns
from .parts import Job
from .processes import WorkersFail, run_in_processes
from .rows import load_pipeline, take_fingerprint
from .shards import Done, Part, Plan, Settings, choose_shard, collect, make_plan, read_done

Engine = Callable[[Job, Sequence[Part], int, Callable[[int], None]], Generator[Done | str, None, None]]

ENGINES: dict[str, Engine] = {"processes": run_in_processes, "ray": run_on_ray}

STDIN = "-"


@dataclass(frozen=True)
class Run:
    """A run that is ready to begin.

    job: what is the same for all parts.
    parts: those of this shard.
    left: those of them that are not done.
    """

    plan: Plan
    job: Job
    parts: tuple[Part, ...]
    left: tuple[Part, ...]

    @property
    def n_left(self) -> int:
        """The number of records to read, blank lines included."""
        return sum(part.n_records for part in self.left)


@dataclass(frozen=True)
class Report:
    """What came of a run.

    new: the notes of the parts done in it.
    done: those of all parts of the shard that are done.
    failed: why parts were given up.
    """

    new: tuple[Done, ...]
    done: tuple[Done, ...]
    failed: tuple[str, ...]


def prepare(
    inputs: Sequence[str],
    output: Path,
    settings: Settings,
    *,
    model: str = "",
    types: Sequence[str] = (),
    threshold: float | None = None,
    lines: bool = False,
    shard: str = "",
) -> Run:
    """Find out what there is to do.

    inputs: files, folders and patterns; "-" for the standard input.
    output: the folder that is written to; of a run before it says what is done.
    model, types, threshold: see `FindEntities`.
    lines: whether plain text is a text a line; else it is a text a file, and the standard input is JSONL.
    shard: such as "2/8", for the second of eight runs that share the work and the folder; "" for all of it.
    RAISES: ValueError if something given is wrong, or the folder was begun with something else.
    """
    if settings.format not in WRITERS:
        raise ValueError(f"The format is '{settings.format}', expected one of: {', '.join(WRITERS)}.")
    taken = ("id", "entities", "extra") if settings.format == "parquet" else ("id", "entities")
    if settings.text_key in taken:
        raise ValueError(f"The text cannot be under '{settings.text_key}', which the output needs. Rename that key.")
    if settings.part_size < 1:
        raise ValueError(f"The size of a part is {settings.part_size}, expected 1 record or more.")
    output, model = output.resolve(), str(Path(model).resolve()) if model and Path(model).exists() else model
    nlp = load_pipeline(model, types, threshold)
    files = [one for one in inputs if one != STDIN]
    sources = find_sources(files, output, lines)
    if STDIN in inputs:
        sources = sorted([*sources, keep_stream(sys.stdin.buffer, output, lines)], key=lambda source: source.name)
    if settings.format == "parquet":
        check_columns(sources)
    plan = make_plan(output, sources, settings, take_fingerprint(nlp))
    parts, done = choose_shard(plan.cut_parts(), shard), read_done(plan)
    job = Job(output, settings, plan.digest, model, tuple(types), threshold)
    return Run(plan, job, tuple(parts), tuple(part for part in parts if part.name not in done))


def run(ready: Run, engine: str, n_workers: int, progress: Callable[[int], None]) -> Report:
    """Do what is left to do.

    engine: "processes" or "ray".
    progress: called with the number of records that are read; with a negative one if they were in vain.
    RAISES: WorkersFail if no worker can go on; then, as when it is interrupted, what is done stays done.
    """
    new: list[Done] = []
    failed: list[str] = []
    n_parts = len(ready.plan.cut_parts())
    try:
        if ready.left:
            with closing(ENGINES[engine](ready.job, ready.left, n_workers, progress)) as results:
                for result in results:
                    if isinstance(result, Done):
                        new.append(result)
                    else:
                        failed.append(result)
    except (WorkersFail, KeyboardInterrupt):
        with suppress(OSError):  # the disk may be what is full
            collect(ready.plan, n_parts)
        raise
    done = collect(ready.plan, n_parts)
    names = [part.name for part in ready.parts]
    return Report(tuple(new), tuple(done[name] for name in names if name in done), tuple(failed))
