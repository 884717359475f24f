"""Parts in processes of this machine, one thread each; what a process leaves undone when it dies is done again."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from .parts import Failure, Job, PartWorker
from .shards import Done, Part

MAX_DEATHS = 2  # of workers over one part, or of workers one after another while they load the pipeline
SECONDS_TO_STOP = 10.0
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


class WorkersFail(RuntimeError):
    """No worker can go on."""


class Deaths:
    """Keeps count of workers that died, and decides whether their part is done again."""

    def __init__(self) -> None:
        self._by_part = Counter[str]()
        self._n_loading = 0

    def count(self, part: Part, was_ready: bool, how: str) -> str:
        """Count a death.

        was_ready: whether the worker had loaded the pipeline; if not, it is not the part's fault.
        how: the worker died.
        RETURNS: why the part is given up; an empty string if it is to be done again.
        RAISES: WorkersFail if several in a row could not load the pipeline.
        """
        if was_ready:
            self._n_loading = 0
            self._by_part[part.name] += 1
            if self._by_part[part.name] < MAX_DEATHS:
                return ""
            piece = part.pieces[0]
            return (
                f"{part.name}, which begins at record {piece.start + 1} of '{piece.source.name}', is given up: "
                f"{MAX_DEATHS} workers died over it, the last {how}"
            )
        self._n_loading += 1
        if self._n_loading >= MAX_DEATHS:
            raise WorkersFail(
                f"{MAX_DEATHS} workers in a row died while they loaded the pipeline, the last {how}. What they wrote "
                "stands above; if they wrote nothing, the memory may not be enough: use fewer workers."
            )
        return ""


@dataclass
class Worker:
    """A process, the pipe to it, and the part it does.

    n_records: how many records of the part are behind it.
    is_ready: whether it has loaded the pipeline.
    """

    process: BaseProcess
    pipe: Connection[object, object]
    part: Part
    n_records: int = 0
    is_ready: bool = False


def run_in_processes(
    job: Job, parts: Sequence[Part], n_workers: int, progress: Callable[[int], None]
) -> Generator[Done | str, None, None]:
    """Do parts in processes.

    progress: called with the number of records that are read; with a negative one if they were in vain.
    RETURNS: of each part its note, as they come; or why it is given up.
    RAISES: WorkersFail if a worker says that it cannot go on, such as when the disk is full.
    """
    waiting, deaths, workers = deque(parts), Deaths(), list[Worker]()
    try:
        while waiting or workers:
            while waiting and len(workers) < n_workers:
                workers.append(_start(job, waiting.popleft()))
            ready = wait([worker.pipe for worker in workers])
            for worker in [worker for worker in workers if worker.pipe in ready]:
                message = _receive(worker)
                if isinstance(message, int):
                    worker.is_ready = True
                    worker.n_records += message
                    progress(message)
                elif isinstance(message, Failure):
                    raise WorkersFail(message.reason)
                elif isinstance(message, Done):
                    if waiting:
                        _give(worker, waiting.popleft())
                    else:
                        workers.remove(worker)
                        _stop([worker])
                    yield message
                else:
                    workers.remove(worker)
                    _stop([worker])
                    progress(-worker.n_records)
                    reason = deaths.count(worker.part, worker.is_ready, f"with exit code {worker.process.exitcode}")
                    if reason:
                        yield reason
                    else:
                        waiting.appendleft(worker.part)
    finally:
        _stop(workers)


def _start(job: Job, part: Part) -> Worker:
    context = multiprocessing.get_context("spawn")  # a fork of a process in which torch has run threads hangs
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(theirs, job), daemon=True)
    with _environment(ONE_THREAD):
        process.start()
    theirs.close()  # so that ours ends when the process does
    worker = Worker(process, ours, part)
    _give(worker, part)
    return worker


def _give(worker: Worker, part: Part) -> None:
    worker.part, worker.n_records = part, 0
    with suppress(OSError):  # a worker that died is noticed when it is heard
        worker.pipe.send(part)


def _receive(worker: Worker) -> object:
    """Hear a worker; None if it died."""
    try:
        return worker.pipe.recv()
    except (EOFError, OSError):
        return None


def _stop(workers: Sequence[Worker]) -> None:
    for worker in workers:
        worker.process.terminate()
    for worker in workers:
        worker.process.join(SECONDS_TO_STOP)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        worker.pipe.close()


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Set environment variables, which a process that is started meanwhile inherits."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def work(pipe: Connection[object, object], job: Job) -> None:
    """Do the parts that come through a pipe, until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent decides
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # tidies up
    worker = PartWorker(job)
    with suppress(EOFError, OSError):  # the parent is gone
        pipe.send(0)
        while isinstance(part := pipe.recv(), Part):
            pipe.send(worker.do(part, pipe.send))
