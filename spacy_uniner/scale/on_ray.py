"""Parts on the workers of a Ray cluster; what a worker leaves undone when it dies is done again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from typing import Any

from .parts import Failure, Job, PartWorker
from .processes import Deaths, WorkersFail
from .shards import Done, Part


def run_on_ray(
    job: Job, parts: Sequence[Part], n_workers: int, progress: Callable[[int], None]
) -> Generator[Done | str, None, None]:
    """Do parts in actors of one CPU each, on the cluster that Ray finds, else on this machine.

    Inputs, output and pipeline must have the same paths on all nodes.

    progress: called with the number of records of each part that is done.
    RETURNS: of each part its note, as they come; or why it is given up.
    RAISES: WorkersFail if a worker says that it cannot go on, ImportError without Ray.
    """
    ray = import_ray()
    if not ray.is_initialized():
        ray.init()
    make = ray.remote(num_cpus=1, max_restarts=0)(PartWorker).remote
    waiting, deaths, busy = deque(parts), Deaths(), dict[Any, tuple[Any, Any, Part]]()
    idle: list[tuple[Any, Any]] = []  # workers, each with what tells whether it has loaded the pipeline
    try:
        while waiting or busy:
            while waiting and len(busy) < n_workers:
                if not idle:
                    worker = make(job)
                    idle.append((worker, worker.__ray_ready__.remote()))
                worker, is_ready = idle.pop()
                part = waiting.popleft()
                busy[worker.do.remote(part)] = (worker, is_ready, part)
            (reference,), _ = ray.wait(list(busy), num_returns=1)
            worker, is_ready, part = busy.pop(reference)
            try:
                message = ray.get(reference)
            except ray.exceptions.RayActorError as err:
                reason = deaths.count(part, _was_ready(ray, is_ready), f"as Ray says: {err}")
                if reason:
                    yield reason
                else:
                    waiting.appendleft(part)
                continue
            if isinstance(message, Failure):
                raise WorkersFail(message.reason)
            idle.append((worker, is_ready))
            progress(part.n_records)
            yield message
    finally:
        for worker, *_ in (*idle, *busy.values()):
            ray.kill(worker)


def import_ray() -> Any:
    """Import Ray when it is needed.

    RAISES: ImportError if it is not installed.
    """
    try:
        import ray
    except ImportError as err:
        raise ImportError("Ray is not installed. Run: pip install 'spacy-uniner[ray]'") from err
    return ray


def _was_ready(ray: Any, is_ready: Any) -> bool:
    try:
        ray.get(is_ready)
    except ray.exceptions.RayActorError:
        return False
    return True
