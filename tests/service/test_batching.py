"""The batcher by itself: questions are numbers, answers their squares."""

from __future__ import annotations

import asyncio
import threading

import pytest

from spacy_uniner.service.batching import Batcher, BatchSize, QueueFullError, StoppingError


class Squares:
    """Answers with squares, keeps the batches it was asked, and waits for the gate; 13 fails, and its batch with it."""

    def __init__(self):
        self.batches = []
        self.threads = set()
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, batch):
        self.batches.append(batch)
        self.threads.add(threading.get_ident())
        if not self.gate.wait(timeout=30):
            raise TimeoutError
        if 13 in batch:
            raise ValueError("13 brings bad luck")
        return [question**2 for question in batch]


def make_batcher(squares, *, max_questions=4, max_size=1000, wait_seconds=0.0, max_queue=100, reports=None):
    size = BatchSize(max_questions, max_size, wait_seconds)
    report = (lambda *_: None) if reports is None else (lambda *what: reports.append(what))
    return Batcher(squares, lambda question: question, size, max_queue, report)


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, timeout=30))


async def until(is_so):
    while not is_so():
        await asyncio.sleep(0.001)


def test_answers_come_back_in_order_whoever_asked():
    async def main():
        batcher = make_batcher(Squares())
        batcher.start()
        answers = await asyncio.gather(*(batcher.ask([n, n + 1], 10) for n in range(20, 60)))
        await batcher.stop()
        return answers

    assert run(main()) == [[n**2, (n + 1) ** 2] for n in range(20, 60)]


def test_what_comes_within_the_wait_shares_a_batch():
    squares = Squares()
    reports = []

    async def main():
        batcher = make_batcher(squares, wait_seconds=5.0, max_questions=3, reports=reports)
        batcher.start()
        first = asyncio.ensure_future(batcher.ask([1], 10))
        await asyncio.sleep(0.02)
        await asyncio.gather(first, batcher.ask([2, 3], 10))  # full: nobody waits five seconds
        await batcher.stop()

    run(main())
    assert squares.batches == [[1, 2, 3]]
    assert [n for n, _ in reports] == [3]
    assert 0.0 <= reports[0][1] < 5.0


def test_a_batch_that_does_not_fill_goes_when_its_wait_is_over():
    squares = Squares()

    async def main():
        batcher = make_batcher(squares, wait_seconds=0.05)
        batcher.start()
        answers = await batcher.ask([5], 10)
        await batcher.stop()
        return answers

    assert run(main()) == [25]


def test_questions_collect_while_a_batch_is_answered_by_one_thread():
    squares = Squares()
    squares.gate.clear()

    async def main():
        batcher = make_batcher(squares, max_questions=4)
        batcher.start()
        first = asyncio.ensure_future(batcher.ask([1], 10))
        await until(lambda: squares.batches)
        assert batcher.seconds_busy > 0.0
        others = [asyncio.ensure_future(batcher.ask([n], 10)) for n in range(2, 8)]
        await until(lambda: batcher.n_waiting == 6)
        squares.gate.set()
        await asyncio.gather(first, *others)
        assert batcher.seconds_busy == 0.0
        await batcher.stop()

    run(main())
    assert squares.batches == [[1], [2, 3, 4, 5], [6, 7]]
    assert len(squares.threads) == 1
    assert threading.get_ident() not in squares.threads


def test_a_batch_is_bounded_by_size_and_a_large_question_goes_alone():
    squares = Squares()
    squares.gate.clear()

    async def main():
        batcher = make_batcher(squares, max_questions=10, max_size=10)
        batcher.start()
        first = asyncio.ensure_future(batcher.ask([1], 10))
        await until(lambda: squares.batches)
        others = asyncio.ensure_future(batcher.ask([4, 6, 1, 50, 2, 3], 10))
        await until(lambda: batcher.n_waiting == 6)
        squares.gate.set()
        await asyncio.gather(first, others)
        await batcher.stop()

    run(main())
    assert squares.batches == [[1], [4, 6], [1], [50], [2, 3]]


def test_a_full_queue_takes_all_of_a_request_or_nothing():
    squares = Squares()
    squares.gate.clear()

    async def main():
        batcher = make_batcher(squares, max_questions=1, max_queue=3)
        batcher.start()
        taken = [asyncio.ensure_future(batcher.ask([1], 10))]
        await until(lambda: squares.batches)
        taken.append(asyncio.ensure_future(batcher.ask([2, 3], 10)))
        await until(lambda: batcher.n_waiting == 2)
        with pytest.raises(QueueFullError, match="2 texts are waiting and 2 more came, but no more than 3 may wait"):
            await batcher.ask([4, 5], 10)
        taken.append(asyncio.ensure_future(batcher.ask([6], 10)))
        await until(lambda: batcher.n_waiting == 3)
        squares.gate.set()
        answers = await asyncio.gather(*taken)
        await batcher.stop()
        return answers

    assert run(main()) == [[1], [4, 9], [36]]


def test_who_waits_too_long_makes_room_and_is_not_answered_for_nothing():
    squares = Squares()
    squares.gate.clear()

    async def main():
        batcher = make_batcher(squares, max_questions=1, max_queue=2)
        batcher.start()
        first = asyncio.ensure_future(batcher.ask([1], 10))
        await until(lambda: squares.batches)
        with pytest.raises(asyncio.TimeoutError):
            await batcher.ask([2, 3], 0.02)
        assert batcher.n_waiting == 0
        last = asyncio.ensure_future(batcher.ask([4, 5], 10))
        await asyncio.sleep(0)
        squares.gate.set()
        answers = await asyncio.gather(first, last)
        await batcher.stop()
        return answers

    assert run(main()) == [[1], [16, 25]]
    assert squares.batches == [[1], [4], [5]]


def test_only_those_who_ask_what_fails_get_the_error():
    squares = Squares()
    squares.gate.clear()

    async def main():
        batcher = make_batcher(squares)
        batcher.start()
        asked = [asyncio.ensure_future(batcher.ask([n], 10)) for n in (1, 2, 13, 4, 5)]
        await until(lambda: batcher.n_waiting == 1)
        squares.gate.set()
        answers = await asyncio.gather(*asked, return_exceptions=True)
        again = await batcher.ask([6], 10)  # the thread has outlived it
        await batcher.stop()
        return answers, again

    answers, again = run(main())
    assert isinstance(answers[2], ValueError)
    assert answers[:2] + answers[3:] == [[1], [4], [16], [25]]
    assert again == [36]


def test_stopping_answers_those_who_wait_and_turns_others_away():
    squares = Squares()
    squares.gate.clear()

    async def main():
        batcher = make_batcher(squares, max_questions=2, wait_seconds=20.0)
        batcher.start()
        asked = asyncio.ensure_future(batcher.ask([1, 2, 3], 10))
        await until(lambda: squares.batches)
        stopped = asyncio.ensure_future(batcher.stop())
        await until(lambda: batcher.is_stopping)
        with pytest.raises(StoppingError, match="stopping and takes no more"):
            await batcher.ask([4], 10)
        assert not stopped.done()
        squares.gate.set()
        await stopped
        return await asked

    assert run(main()) == [1, 4, 9]
    assert squares.batches == [[1, 2], [3]]


def test_a_batcher_that_nobody_asked_stops():
    async def main():
        batcher = make_batcher(Squares())
        batcher.start()
        await batcher.stop()
        never_started = make_batcher(Squares())
        await never_started.stop()

    run(main())
