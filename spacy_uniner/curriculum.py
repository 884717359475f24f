"""The curriculum: a reader that mixes original and distilled Examples by a schedule, as training goes on."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from itertools import count, islice
from pathlib import Path
from weakref import WeakKeyDictionary

from spacy.language import Language
from spacy.training import Example

from .draw_log import DrawLog, make_plan
from .schedules import Schedule, plan_draws

Reader = Callable[[Language], Iterator[Example]]

# How many Examples the last stream of a pipeline has drawn, with those that runs before drew.
_N_DRAWN: WeakKeyDictionary[Language, int] = WeakKeyDictionary()


def n_examples_drawn(nlp: Language) -> int:
    """Tell how many Examples a curriculum has drawn for a pipeline in training; 0 if there is none."""
    return _N_DRAWN.get(nlp, 0)


class Curriculum:
    """Stream original and distilled Examples without end; a schedule says how many of them are distilled.

    Use it with `max_epochs = -1` and a number of `max_steps`, and give the labels in `[initialize]`, since spaCy shows
    only the first 100 Examples to the components then.

    Progress is counted in Examples drawn, here and by nobody else: a callback for each step would lag behind, since
    batchers read ahead. The schedule says from where the next Example comes, exactly, see `schedules.plan_draws`; the
    seed says which one it is. Each source is gone through once in a shuffled order, then read again and shuffled anew;
    the order is the same whatever the schedule.

    original: a reader of original Examples, such as `spacy.Corpus.v1`.
    distilled: a reader of distilled ones.
    schedule: from progress, in [0, 1], to the share of distilled Examples, in [0, 1]; see `schedules`.
    n_examples: how many Examples the schedule is planned for: steps times the batch size. Behind them, progress is 1.
    seed: of the order.
    n_examples_before: how many were drawn by a run that this one goes on with; set by `ContinueFromCheckpoint`.
    log: a file for what is really drawn, as JSONL; see `draw_log`. None for no log.
    RAISES: ValueError if a number is out of range; when it is read, if a source is empty that the schedule asks for.
    """

    def __init__(
        self,
        original: Reader,
        distilled: Reader,
        schedule: Schedule,
        *,
        n_examples: int,
        seed: int = 0,
        n_examples_before: int = 0,
        log: str | Path | None = None,
    ) -> None:
        if n_examples < 1 or n_examples_before < 0:
            raise ValueError(
                "A curriculum needs n_examples >= 1 and n_examples_before >= 0, got "
                f"{n_examples} and {n_examples_before}. Plan as many Examples as steps times the batch size."
            )
        self.original = original
        self.distilled = distilled
        self.schedule = schedule
        self.n_examples = n_examples
        self.seed = seed
        self.n_examples_before = n_examples_before
        self.log = Path(log) if log else None
        self._plan = make_plan(schedule, n_examples, seed)

    def __call__(self, nlp: Language) -> Iterator[Example]:
        """Draw Examples; each call begins anew, behind those that were drawn before."""
        if (max_epochs := nlp.config.interpolate()["training"]["max_epochs"]) != -1:
            raise ValueError(
                f"A curriculum streams without end, but [training] max_epochs is {max_epochs}, and spaCy would read it "
                "into memory as a whole. Set it to -1, and say by max_steps when to stop."
            )
        self._check_sources(nlp)
        draws = plan_draws(self.schedule, self.n_examples)
        before = list(islice(draws, self.n_examples_before))
        log = DrawLog(self.log, self._plan) if self.log else None
        if log:
            for is_distilled in before:
                log.add(is_distilled)
        original = self._stream(nlp, "original", self.original, before.count(False))
        distilled = self._stream(nlp, "distilled", self.distilled, before.count(True))
        try:
            for n_drawn, is_distilled in enumerate(draws, start=len(before) + 1):
                example = next(distilled if is_distilled else original)
                _N_DRAWN[nlp] = n_drawn
                if log:
                    log.add(is_distilled)
                yield example
        finally:
            if log:
                log.write()

    def _check_sources(self, nlp: Language) -> None:
        """Look into both sources, rather than to find one empty when the schedule comes to it."""
        if max(self._plan.shares) > 0.0 and not any(True for _ in self.distilled(nlp)):
            raise self._miss("distilled")
        if min(self._plan.shares) < 1.0 and not any(True for _ in self.original(nlp)):
            raise self._miss("original")

    def _stream(self, nlp: Language, name: str, reader: Reader, n_before: int) -> Iterator[Example]:
        """Go through a source again and again, behind the Examples that were drawn from it before."""
        for n_pass in count():
            examples = list(reader(nlp))
            if not examples:
                raise self._miss(name)
            check_labels(nlp, name, examples)
            random.Random(f"{self.seed} {name} {n_pass}").shuffle(examples)
            yield from examples[n_before:]
            n_before = max(0, n_before - len(examples))

    def _miss(self, name: str) -> ValueError:
        return ValueError(
            f"The {name} reader of the curriculum gives no Examples, but the schedule {self.schedule} asks for some. "
            "Check its files, or take a schedule that needs none, such as spacy_uniner.ConstantShare.v1."
        )


def check_labels(nlp: Language, name: str, examples: Iterable[Example]) -> None:
    """Hold the labels of Examples against those that spaCy's `ner` was initialized with, since it would fail at the
    first other one without saying whose it is.

    name: of the source, for the error.
    RAISES: ValueError if there are others.
    """
    ents = {ent.label_ for example in examples for ent in example.reference.ents}
    for pipe_name, pipe in nlp.pipeline:
        known = set(getattr(pipe, "labels", ())) if nlp.get_pipe_meta(pipe_name).factory == "ner" else set()
        if known and (others := ents - known):
            raise ValueError(
                f"The {name} reader of the curriculum gives mentions of {', '.join(sorted(others))}, but "
                f"'{pipe_name}' was initialized with {', '.join(sorted(known))}. Give it files of these labels, or "
                "labels of all files (python -m spacy init labels)."
            )
