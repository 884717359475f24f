"""Mixing schedules: which share of the training Examples is distilled, as training goes on.

A schedule is any function from progress, in [0, 1], to a share, in [0, 1]. Those here are registered as `misc`, so a
config names them; so can one of yours. That the work of Huang et al. (2024) blends by sigmoid and power decay, and
what it calls its regimens, is known; the formulae are OUR definitions, since none of theirs is at hand.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, pairwise
from typing import Any

Schedule = Callable[[float], float]


@dataclass(frozen=True)
class ConstantShare:
    """The same share throughout. Original only is 0, distilled only is 1.

    share: of distilled Examples, in [0, 1].
    SOURCE: our definition.
    """

    share: float

    def __post_init__(self) -> None:
        _check_share("share", self.share)

    def __call__(self, progress: float) -> float:
        """Give the share of distilled Examples at this progress."""
        return self.share


@dataclass(frozen=True)
class UnionShare:
    """The share that distilled Examples have of both sources together, as if these were one file, shuffled.

    n_distilled, n_original: how many Examples the sources have. In a config of several schedules, both may be 0 where
        this one is not used.
    SOURCE: our definition.
    """

    n_distilled: int
    n_original: int

    def __post_init__(self) -> None:
        if min(self.n_distilled, self.n_original) < 0:
            raise ValueError(
                f"UnionShare needs n_distilled >= 0 and n_original >= 0, got {self.n_distilled} and {self.n_original}."
            )

    def __call__(self, progress: float) -> float:
        """Give the share of distilled Examples at this progress."""
        n_both = self.n_distilled + self.n_original
        if not n_both:
            raise ValueError("UnionShare has n_distilled = n_original = 0. Count the Examples of both sources.")
        return self.n_distilled / n_both


@dataclass(frozen=True)
class StepShare:
    """One share before the switch, another from there on.

    As it is by default, this is the paper's simple mix: distilled, then original. With before = 0 and after = 1 it is
    the reversed order; shares in between make a blend by a step.

    switch: the progress at which the share changes, in (0, 1).
    before, after: the shares, in [0, 1].
    SOURCE: the simple mix of Huang et al. 2024; that it switches at a share of the steps is our definition.
    """

    switch: float = 0.5
    before: float = 1.0
    after: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 < self.switch < 1.0:
            raise ValueError(
                f"StepShare needs a switch in (0, 1), got {self.switch}. For no switch, take ConstantShare."
            )
        _check_share("before", self.before)
        _check_share("after", self.after)

    def __call__(self, progress: float) -> float:
        """Give the share of distilled Examples at this progress."""
        return self.before if progress < self.switch else self.after


@dataclass(frozen=True)
class StagedShare:
    """Several stages, each with a share of its own: the multi-stage regimen.

    stages: pairs of a share, in [0, 1], and the progress until which it holds; these rise, and the last is 1.
    SOURCE: our definition.
    """

    stages: Sequence[Sequence[float]]

    def __post_init__(self) -> None:
        stages = tuple(tuple(stage) for stage in self.stages)
        object.__setattr__(self, "stages", stages)
        if not stages or any(len(stage) != 2 for stage in stages):
            raise ValueError(f"StagedShare needs stages [share, until], got {list(self.stages)}.")
        ends = [0.0, *(until for _, until in stages)]
        if ends[-1] != 1.0 or any(left >= right for left, right in pairwise(ends)):
            raise ValueError(f"StagedShare needs stages until a progress that rises from above 0 to 1, got {ends[1:]}.")
        for share, _ in stages:
            _check_share("share", share)

    def __call__(self, progress: float) -> float:
        """Give the share of distilled Examples at this progress."""
        return next((share for share, until in self.stages if progress < until), self.stages[-1][0])


@dataclass(frozen=True)
class CosineShare:
    """From 1 to 0 along half a cosine: (1 + cos(pi x)) / 2.

    SOURCE: our definition.
    """

    def __call__(self, progress: float) -> float:
        """Give the share of distilled Examples at this progress."""
        return 0.5 * (1.0 + math.cos(math.pi * progress))


@dataclass(frozen=True)
class SigmoidShare:
    """From near 1 to near 0 along a sigmoid: 1 / (1 + exp(k (x - m))).

    It does not quite begin with 1 nor end with 0: with the defaults with 0.9975 and 0.0025.

    steepness: k, above 0; the higher, the more it is like a step.
    midpoint: m, the progress at which the share is one half, in [0, 1].
    SOURCE: the name from Huang et al. 2024; the formula is our definition.
    """

    steepness: float = 12.0
    midpoint: float = 0.5

    def __post_init__(self) -> None:
        if not (0.0 < self.steepness < math.inf and 0.0 <= self.midpoint <= 1.0):
            raise ValueError(
                "SigmoidShare needs a steepness above 0 and a midpoint in [0, 1], got "
                f"{self.steepness} and {self.midpoint}. For a share that rises, register a schedule of your own."
            )

    def __call__(self, progress: float) -> float:
        """Give the share of distilled Examples at this progress."""
        return 0.5 - 0.5 * math.tanh(0.5 * self.steepness * (progress - self.midpoint))  # never overflows


@dataclass(frozen=True)
class PowerDecayShare:
    """From 1 to 0 by a power: (1 - x) ** a. With exponent = 1 this is the linear blend.

    exponent: a, above 0; above 1 the share falls early, below 1 late.
    SOURCE: the name from Huang et al. 2024; the formula is our definition.
    """

    exponent: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 < self.exponent < math.inf:
            raise ValueError(f"PowerDecayShare needs an exponent above 0, got {self.exponent}.")

    def __call__(self, progress: float) -> float:
        """Give the share of distilled Examples at this progress."""
        return float((1.0 - progress) ** self.exponent)


@dataclass(frozen=True)
class ExponentialShare:
    """From 1 down by the same factor in equal times: exp(-r x). It ends with exp(-r), not with 0.

    rate: r, above 0; with 5, the share ends below 0.007.
    SOURCE: our definition; the other reading of "power decay", a ** t, with a = exp(-r / T).
    """

    rate: float = 5.0

    def __post_init__(self) -> None:
        if not 0.0 < self.rate < math.inf:
            raise ValueError(f"ExponentialShare needs a rate above 0, got {self.rate}.")

    def __call__(self, progress: float) -> float:
        """Give the share of distilled Examples at this progress."""
        return math.exp(-self.rate * progress)


def ChosenShare(name: str, schedules: Mapping[str, Any]) -> Schedule:
    """Choose one of several schedules by its name, so that one value of a config says which is used.

    schedules: by name. Any, since thinc validates a config before it makes what stands in it.
    RAISES: ValueError if there is none of that name.
    """
    if name not in schedules:
        raise ValueError(f"There is no schedule '{name}'. There are: {', '.join(sorted(schedules))}.")
    schedule: Schedule = schedules[name]
    return schedule


def plan_draws(schedule: Schedule, n_examples: int) -> Iterator[bool]:
    """Plan without end, Example by Example, from which source it is drawn.

    Nothing is left to chance: the shares planned so far are added up, and a distilled Example is drawn as soon as
    their sum, rounded, is above the number of those drawn. So after any number of Examples, the number of distilled
    ones is at most one half off the sum of the shares; a share of 0 draws none, and a share of 1 draws nothing else.
    Two runs with one schedule differ in which Examples are drawn, not in how many, and batches are as even as can be.

    n_examples: how many the schedule is planned for; progress is the number drawn before, divided by that. Behind the
        last of them, progress stays 1.
    RETURNS: for each Example, whether it is a distilled one.
    RAISES: ValueError if the schedule gives a share outside of [0, 1].
    SOURCE: error diffusion in one dimension (Floyd and Steinberg 1976); its use here is our choice.
    """
    due = 0.0  # shares planned less Examples drawn, in [-0.5, 0.5)
    for n in count():
        due += planned_share(schedule, min(n / n_examples, 1.0))
        is_distilled = due >= 0.5
        due -= is_distilled
        yield is_distilled


def planned_share(schedule: Schedule, progress: float) -> float:
    """Ask a schedule for its share, and check it.

    RAISES: ValueError if it is outside of [0, 1].
    """
    share = schedule(progress)
    if not 0.0 <= share <= 1.0:
        raise ValueError(
            f"The schedule {schedule} gives a share of {share} at progress {progress:g}. Shares must be in [0, 1]."
        )
    return share


def _check_share(name: str, share: float) -> None:
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"A share of distilled Examples must be in [0, 1], got {name} = {share}.")
