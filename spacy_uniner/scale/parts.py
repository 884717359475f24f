"""A part from its files to its file: what a worker does, wherever it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .outputs import WRITERS, Row
from .records import Bad, Record, read_records
from .rows import BATCH_SIZE, FindEntities, PipelineFails
from .shards import Done, Part, Settings, note_done, replace


@dataclass(frozen=True)
class Job:
    """What is the same for all parts.

    digest: checksum of the plan.
    model, types, threshold: see `FindEntities`.
    """

    output: Path
    settings: Settings
    digest: str
    model: str = ""
    types: tuple[str, ...] = ()
    threshold: float | None = None


@dataclass(frozen=True)
class Failure:
    """Why a worker cannot go on, and no other could."""

    reason: str


class PartWorker:
    """Does parts, one after another, with a pipeline loaded once."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._find = FindEntities(job.model, job.types, threshold=job.threshold)

    def do(self, part: Part, progress: Callable[[int], None] = lambda n: None) -> Done | Failure:
        """Do a part: its file is there when it is all written, and after that the note that it is done.

        progress: called with the number of records since the last call.
        """
        try:
            with self._find.nlp.memory_zone():
                done = self._write(part, progress)
            note_done(self._job.output, done)
        except (OSError, ValueError, TypeError, OverflowError, PipelineFails) as err:  # also what no format can hold
            return Failure(f"{part.name} is not written: {err}")
        return done

    def _write(self, part: Part, progress: Callable[[int], None]) -> Done:
        settings = self._job.settings
        bad: list[Bad] = []
        n_entities: list[int] = []  # of each text

        def count() -> Iterator[Row]:
            for result in self._read(part, progress):
                if isinstance(result, Bad):
                    bad.append(result)
                else:
                    n_entities.append(len(result.entities))
                    yield result

        path = self._job.output / f"{part.name}.{settings.format}"
        with replace(path, self._job.output) as file:
            WRITERS[settings.format](count(), file, settings.text_key, part.pieces[0].source)
            n_bytes = file.tell()
        return Done(
            part.name,
            self._job.digest,
            len(n_entities),
            sum(n_entities),
            n_bytes,
            tuple(sorted(bad, key=lambda one: (one.file, one.line))),
        )

    def _read(self, part: Part, progress: Callable[[int], None]) -> Iterator[Row | Bad]:
        """Read the records of a part and run the pipeline on them, batch by batch; what is bad comes with its batch."""
        nlp, batch = self._find.nlp, []
        for piece in part.pieces:
            for record in read_records(piece, self._job.settings.text_key, nlp.vocab, nlp.max_length):
                batch.append(record)
                if len(batch) == BATCH_SIZE:
                    yield from self._run(batch)
                    progress(len(batch))
                    batch = []
        yield from self._run(batch)
        progress(len(batch))

    def _run(self, batch: list[Record | Bad]) -> Iterator[Row | Bad]:
        records = [one for one in batch if isinstance(one, Record)]
        found = self._find.read([record.doc if record.doc is not None else record.text for record in records])
        for record, result in zip(records, found):
            if isinstance(result, str):
                yield Bad(record.file, record.line, result)
            else:
                yield Row(record, result, self._find.entities_of(result))
        yield from (one for one in batch if isinstance(one, Bad))
