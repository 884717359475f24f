"""Intervals, tests and calibration: small worlds whose truth is known, and slow loops beside the fast code."""

from __future__ import annotations

import itertools
import random

import numpy
import pytest

from spacy_uniner.benchmark import statistics
from spacy_uniner.benchmark.metrics import Counts
from spacy_uniner.benchmark.statistics import (
    Bin,
    bootstrap_interval,
    calibration,
    paired_test,
    paired_test_of_means,
)


def draw_counts(n_passages, share_correct, seed):
    """Passages with up to four gold mentions, as many found, so much of them correct."""
    rng = random.Random(seed)
    sizes = [rng.randint(0, 4) for _ in range(n_passages)]
    return [Counts(sum(rng.random() < share_correct for _ in range(n)), n, n) for n in sizes]


def f1_of(counts):
    return sum(counts, Counts(0, 0, 0)).f1


def test_interval_contains_the_score_and_has_the_width_that_theory_gives():
    counts = [Counts(n % 2, 1, 1) for n in range(400)]  # F1 is the mean of 400 coins
    low, high = bootstrap_interval(counts, seed=1)
    assert low < 0.5 < high
    assert high - low == pytest.approx(2 * 1.96 * (0.25 / 400) ** 0.5, rel=0.15)


def test_interval_contains_the_score_for_most_samples_and_seeds():
    n_inside = n_true = 0
    for seed in range(60):
        counts = draw_counts(80, 0.6, seed)
        low, high = bootstrap_interval(counts, n_resamples=300, seed=seed)
        n_inside += low <= f1_of(counts) <= high
        n_true += low <= 0.6 <= high
    assert n_inside == 60
    assert n_true >= 50  # 57 are expected of a 95 % interval


def test_interval_is_the_same_for_the_same_seed_only():
    counts = draw_counts(50, 0.5, 3)
    assert bootstrap_interval(counts, seed=5) == bootstrap_interval(counts, seed=5)
    assert bootstrap_interval(counts, seed=5) != bootstrap_interval(counts, seed=6)


def test_interval_is_wider_with_more_confidence_and_a_point_without_doubt():
    counts = draw_counts(50, 0.5, 3)
    (low, high), (lower, higher) = (bootstrap_interval(counts, confidence=c, seed=0) for c in (0.8, 0.99))
    assert lower < low < high < higher
    assert bootstrap_interval([Counts(1, 1, 1)] * 10, seed=0) == (1.0, 1.0)
    assert bootstrap_interval([Counts(0, 0, 0)] * 10, seed=0) == (0.0, 0.0)


def test_interval_is_what_a_slow_loop_gives():
    counts = draw_counts(30, 0.6, 7)
    rng = numpy.random.default_rng(0)
    scores = [f1_of([counts[place] for place in rng.integers(0, 30, 30)]) for _ in range(4000)]
    expected = numpy.quantile(scores, [0.025, 0.975])
    assert bootstrap_interval(counts, n_resamples=4000, seed=1) == pytest.approx(expected, abs=0.02)


def test_resampling_in_parts_changes_no_interval(monkeypatch):
    counts = draw_counts(30, 0.6, 7)
    whole = bootstrap_interval(counts, n_resamples=450, seed=1)
    monkeypatch.setattr(statistics, "N_AT_ONCE", 100)
    assert bootstrap_interval(counts, n_resamples=450, seed=1) == whole


def test_identical_systems_do_not_differ():
    counts = draw_counts(60, 0.5, 1)
    test = paired_test(counts, counts, n_resamples=500, seed=0)
    assert (test.difference, test.low, test.high, test.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_paired_test_tells_a_better_system_and_its_difference():
    worse, better = draw_counts(200, 0.5, 1), draw_counts(200, 0.8, 1)
    test = paired_test(worse, better, n_resamples=2000, seed=0)
    assert test.difference == pytest.approx(f1_of(better) - f1_of(worse))
    assert 0.0 < test.low < test.difference < test.high
    assert test.p_value == 1 / 2001  # none of the exchanges is as large: (0 + 1) / (n + 1)


def test_paired_test_is_symmetric_in_sign():
    one, other = draw_counts(40, 0.5, 1), draw_counts(40, 0.6, 2)
    there, back = (paired_test(*pair, n_resamples=1000, seed=3) for pair in ((one, other), (other, one)))
    assert there.difference == -back.difference
    assert there.p_value == back.p_value
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
    assert there == paired_test(one, other, n_resamples=1000, seed=3)
    assert there != paired_test(one, other, n_resamples=1000, seed=4)


def test_p_value_is_what_trying_all_exchanges_gives():
    one = [Counts(n, 3, 3) for n in (0, 1, 2, 1, 0, 2, 1, 1)]
    other = [Counts(n, 3, 3) for n in (1, 2, 2, 3, 1, 1, 2, 1)]
    difference = abs(f1_of(other) - f1_of(one))
    n_as_large = 0
    for swaps in itertools.product([False, True], repeat=8):
        sides = [(b, a) if swap else (a, b) for a, b, swap in zip(one, other, swaps)]
        n_as_large += abs(f1_of([b for _, b in sides]) - f1_of([a for a, _ in sides])) >= difference - 1e-12
    assert paired_test(one, other, seed=0).p_value == pytest.approx(n_as_large / 2**8, abs=0.02)


def test_p_values_of_equal_systems_are_spread_evenly():
    p_values = [
        paired_test(draw_counts(60, 0.5, n), draw_counts(60, 0.5, 1000 + n), n_resamples=300, seed=n).p_value
        for n in range(100)
    ]
    assert sum(p <= 0.05 for p in p_values) <= 12  # 5 are expected
    assert 0.4 < numpy.mean(p_values) < 0.65


def test_test_of_means_weighs_datasets_alike():
    worse, better = draw_counts(40, 0.5, 1), draw_counts(40, 0.8, 2)
    same = draw_counts(400, 0.5, 3)
    test = paired_test_of_means({"a": worse, "b": same}, {"b": same, "a": better}, n_resamples=1000, seed=0)
    alone = paired_test(worse, better, n_resamples=1000, seed=0)
    assert test.difference == pytest.approx(alone.difference / 2)
    assert (test.low, test.high) == pytest.approx((alone.low / 2, alone.high / 2))
    assert test.p_value == alone.p_value


def test_test_of_means_is_surer_than_each_of_its_datasets():
    pairs = {name: (draw_counts(60, 0.55, n), draw_counts(60, 0.65, 50 + n)) for n, name in enumerate("abcdef")}
    sides = [{name: pair[side] for name, pair in pairs.items()} for side in (0, 1)]
    test = paired_test_of_means(*sides, n_resamples=2000, seed=0)
    widths = [(t.high - t.low) for t in (paired_test(*pair, n_resamples=2000, seed=0) for pair in pairs.values())]
    assert test.difference == pytest.approx(numpy.mean([f1_of(b) - f1_of(a) for a, b in pairs.values()]))
    assert test.high - test.low < min(widths)


@pytest.mark.parametrize(
    "run, message",
    [
        (lambda: bootstrap_interval([], seed=0), "no sentences to resample"),
        (lambda: bootstrap_interval([Counts(1, 1, 1)], n_resamples=0, seed=0), "at least one resample, got 0"),
        (lambda: bootstrap_interval([Counts(1, 1, 1)], confidence=95, seed=0), "between 0 and 1, got 95"),
        (lambda: paired_test([], [], seed=0), "no sentences to resample"),
        (lambda: paired_test([Counts(1, 1, 1)], [], seed=0), "on the same sentences"),
        (lambda: paired_test([Counts(1, 1, 1)], [Counts(1, 1, 1)], n_resamples=0), "at least one resample, got 0"),
        (lambda: paired_test_of_means({"a": []}, {"b": []}, seed=0), "of the same datasets"),
        (lambda: paired_test_of_means({}, {}, seed=0), "no datasets to compare"),
        (lambda: calibration([0.5], []), "one verdict for each score in .*, got 0 for 1"),
        (lambda: calibration([1.5], [True]), "one verdict for each score in"),
        (lambda: calibration([float("nan")], [True]), "one verdict for each score in"),
        (lambda: calibration([0.5], [True], n_bins=0), "at least one bin, got 0"),
    ],
)
def test_what_cannot_be_measured_is_named(run, message):
    with pytest.raises(ValueError, match=message):
        run()


def test_calibration_by_hand():
    result = calibration([0.9, 0.7, 0.1, 1.0, 0.5], [True, True, False, True, True], n_bins=2)
    low, high = result.bins
    assert low == Bin(1, pytest.approx(0.1), 0.0)
    assert high == Bin(4, pytest.approx(0.775), 1.0)  # 0.5 is of the upper bin, and so is 1.0
    # Too sure in one bin and not sure enough in the other: they do not make up for each other.
    assert result.expected_error == pytest.approx((1 * 0.1 + 4 * 0.225) / 5)


def test_calibration_of_true_probabilities_is_near_zero_and_of_boasts_is_not():
    rng = numpy.random.default_rng(0)
    scores = rng.random(20_000)
    is_correct = rng.random(20_000) < scores
    result = calibration(list(scores), list(is_correct))
    assert result.expected_error < 0.015
    assert sum(part.n for part in result.bins) == 20_000
    assert [part.mean_score for part in result.bins] == pytest.approx(numpy.arange(0.05, 1, 0.1), abs=0.01)
    boasts = calibration([0.95] * 1000, [n % 2 == 0 for n in range(1000)])
    assert boasts.expected_error == pytest.approx(0.45)
    assert [part.n for part in boasts.bins] == [0] * 9 + [1000]


def test_calibration_of_nothing_is_empty_bins():
    result = calibration([], [])
    assert result.expected_error == 0.0
    assert result.bins == (Bin(0, 0.0, 0.0),) * 10
