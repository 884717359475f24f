"""Dynamic batching: what several requests ask at about the same time is answered at once, by one thread."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")


class QueueFullError(Exception):
    """There is no room for so many questions now."""


class StoppingError(Exception):
    """No more questions are taken."""


@dataclass(frozen=True)
class BatchSize:
    """When a batch is full, and how long it waits to be.

    max_questions: the most it may hold.
    max_size: the most that its questions' sizes may add up to; a larger question is a batch by itself.
    wait_seconds: how long the first question waits for others.
    """

    max_questions: int
    max_size: int
    wait_seconds: float


@dataclass(eq=False)
class _Waiting(Generic[Q, A]):
    """A question in the queue; its answer goes into `answer`, which is done before if nobody waits any more."""

    question: Q
    size: int
    answer: asyncio.Future[A]
    since: float = field(default_factory=time.monotonic)


class Batcher(Generic[Q, A]):
    """Collects questions and lets one thread answer them in batches, first come, first served.

    While a batch is answered the next one collects. If answering a batch fails, its questions are asked one by one, so
    that only those that fail get the error. To be used within one event loop, between `start` and `stop`.

    answer: gives the answers to a batch, in order; runs in a thread of its own, which is always the same.
    size_of: the size of a question, for `BatchSize.max_size`.
    batch: when a batch is full.
    max_queue: how many questions may wait.
    report: is told of each batch: how many questions, how many seconds.
    SOURCE: our choice; the same idea as dynamic batching in NVIDIA's Triton server.
    """

    def __init__(
        self,
        answer: Callable[[list[Q]], Sequence[A]],
        size_of: Callable[[Q], int],
        batch: BatchSize,
        max_queue: int,
        report: Callable[[int, float], None],
    ) -> None:
        self._answer = answer
        self._size_of = size_of
        self._batch = batch
        self._max_queue = max_queue
        self._report = report
        self._queue: deque[_Waiting[Q, A]] = deque()
        self._changed = asyncio.Event()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="pipeline")
        self._worker: asyncio.Task[None] | None = None
        self._busy_since = 0.0
        self.is_stopping = False

    @property
    def n_waiting(self) -> int:
        """How many questions wait, those being answered not counted."""
        return len(self._queue)

    @property
    def seconds_busy(self) -> float:
        """How long the batch that is being answered has taken so far; 0 if there is none."""
        return time.monotonic() - self._busy_since if self._busy_since else 0.0

    def start(self) -> None:
        """Begin to answer."""
        self._worker = asyncio.get_running_loop().create_task(self._work())

    async def stop(self) -> None:
        """Take no more questions, answer those that wait, and end the thread."""
        self.is_stopping = True
        self._changed.set()
        if self._worker:
            await self._worker
        self._thread.shutdown()

    async def ask(self, questions: Sequence[Q], timeout: float) -> list[A]:
        """Ask several questions at once: all find room in the queue, or none.

        timeout: in seconds; those questions that nobody has begun to answer by then are dropped.
        RETURNS: the answers, in order.
        RAISES: QueueFullError, StoppingError, asyncio.TimeoutError, or what answering raised.
        """
        if self.is_stopping:
            raise StoppingError("The service is stopping and takes no more texts.")
        if len(self._queue) + len(questions) > self._max_queue:
            raise QueueFullError(
                f"{len(self._queue)} texts are waiting and {len(questions)} more came, "
                f"but no more than {self._max_queue} may wait. Try again later."
            )
        loop = asyncio.get_running_loop()
        asked = [_Waiting[Q, A](question, self._size_of(question), loop.create_future()) for question in questions]
        self._queue.extend(asked)
        self._changed.set()
        try:
            return await asyncio.wait_for(asyncio.gather(*(waiting.answer for waiting in asked)), timeout)
        finally:
            self._drop(asked)

    def _drop(self, asked: list[_Waiting[Q, A]]) -> None:
        """Let others have the room of questions that nobody waits for any more."""
        for waiting in asked:
            waiting.answer.cancel()
        self._queue = deque(waiting for waiting in self._queue if not waiting.answer.done())

    async def _work(self) -> None:
        while self._queue or not self.is_stopping:
            if not self._queue:
                self._changed.clear()
                await self._changed.wait()
                continue
            await self._collect()
            if batch := self._take():
                await self._run(batch)

    async def _collect(self) -> None:
        """Wait until a batch is full, or its first question has waited long enough."""
        deadline = self._queue[0].since + self._batch.wait_seconds
        while self._queue and not self._is_full() and not self.is_stopping:
            seconds = deadline - time.monotonic()
            if seconds <= 0.0:
                return
            self._changed.clear()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._changed.wait(), seconds)

    def _is_full(self) -> bool:
        n_questions, size = len(self._queue), sum(waiting.size for waiting in self._queue)
        return n_questions >= self._batch.max_questions or size >= self._batch.max_size

    def _take(self) -> list[_Waiting[Q, A]]:
        batch: list[_Waiting[Q, A]] = []
        size = 0
        while self._queue and len(batch) < self._batch.max_questions:
            size += self._queue[0].size
            if batch and size > self._batch.max_size:
                break
            batch.append(self._queue.popleft())
        return batch

    async def _run(self, batch: list[_Waiting[Q, A]]) -> None:
        loop = asyncio.get_running_loop()
        self._busy_since = started = time.monotonic()
        answers = loop.run_in_executor(self._thread, self._answer, [waiting.question for waiting in batch])
        await asyncio.wait([answers])
        self._busy_since = 0.0
        self._report(len(batch), time.monotonic() - started)
        error = answers.exception()
        if error is None:
            for waiting, answer in zip(batch, answers.result(), strict=True):
                if not waiting.answer.done():
                    waiting.answer.set_result(answer)
        elif len(batch) > 1:
            for waiting in batch:
                if not waiting.answer.done():
                    await self._run([waiting])
        elif not batch[0].answer.done():
            batch[0].answer.set_exception(error)
