"""Mixing schedules: their values, what they refuse, and that what is drawn follows them exactly."""

from __future__ import annotations

import math
import pickle
from itertools import accumulate, islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_uniner.schedules import (
    ChosenShare,
    ConstantShare,
    CosineShare,
    ExponentialShare,
    PowerDecayShare,
    SigmoidShare,
    StagedShare,
    StepShare,
    UnionShare,
    plan_draws,
    planned_share,
)

ALL = (
    ConstantShare(0.0),
    ConstantShare(1.0),
    UnionShare(70, 30),
    StepShare(),
    StepShare(0.3, before=0.2, after=0.9),
    StagedShare([[1.0, 0.25], [0.0, 0.5], [1.0, 0.75], [0.0, 1.0]]),
    CosineShare(),
    SigmoidShare(),
    SigmoidShare(steepness=10_000.0, midpoint=0.0),
    PowerDecayShare(),
    PowerDecayShare(exponent=0.5),
    ExponentialShare(),
)


def draw(schedule, n_examples: int, n: int | None = None) -> str:
    """Draw n Examples, as many as planned if it is left out, as a string of "d" and "o"."""
    return "".join("d" if is_d else "o" for is_d in islice(plan_draws(schedule, n_examples), n or n_examples))


# Values


@pytest.mark.parametrize(
    "schedule, shares",
    [
        (ConstantShare(0.25), [0.25, 0.25, 0.25, 0.25, 0.25]),
        (UnionShare(1, 3), [0.25, 0.25, 0.25, 0.25, 0.25]),
        (UnionShare(0, 3), [0.0, 0.0, 0.0, 0.0, 0.0]),
        (StepShare(), [1.0, 1.0, 0.0, 0.0, 0.0]),
        (StepShare(0.6, before=0.0, after=1.0), [0.0, 0.0, 0.0, 1.0, 1.0]),
        (StagedShare([[1, 0.25], [0, 0.5], [0.5, 1]]), [1.0, 0.0, 0.5, 0.5, 0.5]),
        (PowerDecayShare(), [1.0, 0.75, 0.5, 0.25, 0.0]),  # the linear blend
        (PowerDecayShare(2.0), [1.0, 0.5625, 0.25, 0.0625, 0.0]),
        (PowerDecayShare(0.5), [1.0, math.sqrt(0.75), math.sqrt(0.5), 0.5, 0.0]),
        (CosineShare(), [1.0, 0.5 + math.sqrt(0.125), 0.5, 0.5 - math.sqrt(0.125), 0.0]),
        (ExponentialShare(2.0), [1.0, math.exp(-0.5), math.exp(-1.0), math.exp(-1.5), math.exp(-2.0)]),
        (SigmoidShare(8.0, 0.25), [1 / (1 + math.exp(8.0 * (n / 4 - 0.25))) for n in range(5)]),
    ],
)
def test_schedule_follows_its_formula(schedule, shares):
    assert [schedule(n / 4) for n in range(5)] == pytest.approx(shares, abs=1e-12)


def test_sigmoid_begins_near_1_and_ends_near_0_as_documented():
    assert (round(SigmoidShare()(0.0), 4), round(SigmoidShare()(1.0), 4)) == (0.9975, 0.0025)
    assert 0.0 < ExponentialShare()(1.0) < 0.007


def test_steep_sigmoid_does_not_overflow():
    assert [SigmoidShare(1e9)(progress) for progress in (0.0, 0.5, 1.0)] == [1.0, 0.5, 0.0]


@pytest.mark.parametrize("schedule", ALL, ids=str)
def test_schedule_is_a_value_that_can_be_compared_and_sent(schedule):
    assert pickle.loads(pickle.dumps(schedule)) == schedule
    assert type(schedule).__name__ in repr(schedule)
    assert len({schedule, pickle.loads(pickle.dumps(schedule))}) == 1


@pytest.mark.parametrize(
    "make, reason",
    [
        (lambda: ConstantShare(1.5), r"must be in \[0, 1\], got share = 1.5"),
        (lambda: ConstantShare(math.nan), r"must be in \[0, 1\], got share = nan"),
        (lambda: UnionShare(-1, 3), "needs n_distilled >= 0 and n_original >= 0, got -1 and 3"),
        (lambda: UnionShare(0, 0)(0.5), "Count the Examples of both sources"),
        (lambda: StepShare(0.0), r"needs a switch in \(0, 1\), got 0.0. For no switch, take ConstantShare"),
        (lambda: StepShare(1.0), r"needs a switch in \(0, 1\), got 1.0"),
        (lambda: StepShare(0.5, before=2.0), r"must be in \[0, 1\], got before = 2.0"),
        (lambda: StepShare(0.5, after=-1.0), r"must be in \[0, 1\], got after = -1.0"),
        (lambda: StagedShare([]), r"needs stages \[share, until\], got \[\]"),
        (lambda: StagedShare([[1.0]]), r"needs stages \[share, until\], got \[\(1.0,\)\]"),
        (lambda: StagedShare([[1.0, 0.5]]), r"rises from above 0 to 1, got \[0.5\]"),
        (lambda: StagedShare([[1.0, 0.0], [0.0, 1.0]]), r"rises from above 0 to 1, got \[0.0, 1.0\]"),
        (lambda: StagedShare([[1.0, 0.6], [0.0, 0.6], [1.0, 1.0]]), r"rises from above 0 to 1, got \[0.6, 0.6, 1.0\]"),
        (lambda: StagedShare([[1.1, 1.0]]), r"must be in \[0, 1\], got share = 1.1"),
        (lambda: SigmoidShare(0.0), r"a steepness above 0 and a midpoint in \[0, 1\], got 0.0 and 0.5"),
        (lambda: SigmoidShare(12.0, 1.5), r"a steepness above 0 and a midpoint in \[0, 1\], got 12.0 and 1.5"),
        (lambda: PowerDecayShare(0.0), "needs an exponent above 0, got 0.0"),
        (lambda: ExponentialShare(-1.0), "needs a rate above 0, got -1.0"),
        (lambda: ExponentialShare(math.nan), "needs a rate above 0, got nan"),
    ],
)
def test_settings_out_of_range_are_refused(make, reason):
    with pytest.raises(ValueError, match=reason):
        make()


# Drawing


@pytest.mark.parametrize("schedule", ALL, ids=str)
@pytest.mark.parametrize("n_examples", [1, 7, 1000])
def test_number_drawn_is_never_more_than_one_half_off_the_plan(schedule, n_examples):
    n_more = n_examples + 50  # behind the plan progress stays 1
    planned = accumulate(schedule(min(n / n_examples, 1.0)) for n in range(n_more))
    drawn = accumulate(source == "d" for source in draw(schedule, n_examples, n_more))
    assert all(abs(n - share) <= 0.5 + 1e-9 for n, share in zip(drawn, planned, strict=True))


@given(st.lists(st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.floats(0.0, 1.0)), min_size=1, max_size=200))
def test_shares_of_0_and_1_are_drawn_exactly_whatever_came_before(shares):
    def schedule(progress: float) -> float:
        return shares[min(round(progress * len(shares)), len(shares) - 1)]

    drawn = draw(schedule, len(shares))
    assert abs(drawn.count("d") - sum(shares)) <= 0.5 + 1e-9
    assert all(source == "o" for source, share in zip(drawn, shares) if share == 0.0)
    assert all(source == "d" for source, share in zip(drawn, shares) if share == 1.0)


@pytest.mark.parametrize(
    "schedule, drawn",
    [
        (ConstantShare(0.0), "oooooooooo"),
        (ConstantShare(1.0), "dddddddddd"),
        (ConstantShare(0.5), "dododododo"),
        (UnionShare(1, 3), "odooodoood"),
        (StepShare(), "dddddooooo"),
        (StepShare(0.3, before=0.0, after=1.0), "oooddddddd"),
        (StagedShare([[1.0, 0.2], [0.0, 0.5], [1.0, 0.6], [0.0, 1.0]]), "ddooodoooo"),
    ],
)
def test_what_is_drawn_is_known_beforehand(schedule, drawn):
    assert draw(schedule, 10) == drawn


def test_behind_the_plan_the_last_share_goes_on():
    assert draw(StepShare(), 4, 8) == "ddoooooo"
    assert draw(StepShare(0.5, before=0.0, after=1.0), 4, 8) == "oodddddd"


@pytest.mark.parametrize("share", [-0.01, 1.01, math.nan])
def test_schedule_of_ones_own_must_give_shares(share):
    def steady(progress: float) -> float:
        return share

    with pytest.raises(ValueError, match=r"steady.* gives a share of .* at progress 0\. Shares must be in \[0, 1\]"):
        next(plan_draws(steady, 10))
    with pytest.raises(ValueError, match=r"at progress 0\.25"):
        planned_share(steady, 0.25)


def test_a_schedule_is_chosen_by_name():
    schedules = {"flat": ConstantShare(0.5), "falling": CosineShare()}
    assert ChosenShare("falling", schedules) == CosineShare()
    with pytest.raises(ValueError, match=r"There is no schedule 'step'. There are: falling, flat."):
        ChosenShare("step", schedules)
