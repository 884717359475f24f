"""How sure a score is, whether two systems differ, and whether scores are probabilities. Resampled are sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy
from numpy.typing import NDArray

from .metrics import Counts

Array = NDArray[numpy.float64]
N_AT_ONCE = 500  # resamples; all at once may take gigabytes


@dataclass(frozen=True, slots=True)
class PairedTest:
    """How two systems differ on the same sentences.

    difference: F1 of the second less that of the first, in [-1, 1].
    low, high: its 95 % interval.
    p_value: how often a difference as large comes about if it does not matter which system said what; two-sided.
    """

    difference: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True, slots=True)
class Bin:
    """Mentions of like scores: how many, their mean score, and the share that is correct."""

    n: int
    mean_score: float
    share_correct: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """How far scores are probabilities.

    expected_error: mean distance between score and share correct, over bins, each weighed by its mentions.
    bins: of equal width, from 0 to 1.
    """

    expected_error: float
    bins: tuple[Bin, ...]


def bootstrap_interval(
    counts: Sequence[Counts], *, n_resamples: int = 1000, confidence: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Give the interval of the micro-F1, resampling sentences.

    counts: of each sentence.
    RETURNS: its bounds, in [0, 1].
    RAISES: ValueError if there are no sentences or no resamples, or the confidence is no probability.
    SOURCE: percentile bootstrap, Efron & Tibshirani 1993, chapter 13.
    """
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"The confidence of an interval is between 0 and 1, got {confidence}. Give 0.95 for 95 %.")
    values = to_array(counts)  # (n_sentences, 3)
    rng = numpy.random.default_rng(seed)
    scores = numpy.zeros(n_resamples)
    for part in cut_in_parts(n_resamples):
        scores[part] = f1(draw_weights(rng, len(values), part.stop - part.start) @ values)
    low, high = numpy.quantile(scores, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def paired_test(
    one: Sequence[Counts], other: Sequence[Counts], *, n_resamples: int = 10_000, seed: int = 0
) -> PairedTest:
    """Test whether the micro-F1 of two systems differs on the same sentences.

    one, other: counts of each sentence.
    RAISES: ValueError if there are no sentences or no resamples, or not as many sentences of both.
    SOURCE: approximate randomisation, Yeh 2000; the interval is a paired percentile bootstrap.
    """
    return paired_test_of_means({"": one}, {"": other}, n_resamples=n_resamples, seed=seed)


def paired_test_of_means(
    one: Mapping[str, Sequence[Counts]],
    other: Mapping[str, Sequence[Counts]],
    *,
    n_resamples: int = 10_000,
    seed: int = 0,
) -> PairedTest:
    """Test whether the mean of the micro-F1 over datasets differs; sentences change sides, and are resampled, inside
    of their dataset.

    one, other: by dataset, counts of each sentence.
    RAISES: ValueError if they have not the same datasets with as many sentences, or there are none, or no resamples.
    SOURCE: as `paired_test`.
    """
    if not one and not other:
        raise ValueError("There are no datasets to compare. Give the counts of at least one.")
    if set(one) != set(other) or any(len(one[name]) != len(other[name]) for name in one):
        raise ValueError("Two systems can only be compared on the same sentences of the same datasets. Run both again.")
    exchanged = numpy.zeros(n_resamples)
    resampled = numpy.zeros(n_resamples)
    difference = 0.0
    for n, name in enumerate(sorted(one)):
        left, right = to_array(one[name]), to_array(other[name])  # each (n_sentences, 3)
        difference += float(f1(right.sum(0)) - f1(left.sum(0)))
        rng = numpy.random.default_rng([seed, n])
        for part in cut_in_parts(n_resamples):
            n_part = part.stop - part.start
            swap = rng.integers(0, 2, (n_part, len(left))).astype(float)  # (n_part, n_sentences)
            moved = swap @ (right - left)  # (n_part, 3)
            exchanged[part] += f1(right.sum(0) - moved) - f1(left.sum(0) + moved)
            weights = draw_weights(rng, len(left), n_part)  # (n_part, n_sentences)
            resampled[part] += f1(weights @ right) - f1(weights @ left)
    n_datasets = len(one)
    low, high = numpy.quantile(resampled / n_datasets, [0.025, 0.975])
    n_as_large = int((numpy.abs(exchanged) >= abs(difference) - 1e-12).sum())
    return PairedTest(difference / n_datasets, float(low), float(high), (n_as_large + 1) / (n_resamples + 1))


def calibration(scores: Sequence[float], is_correct: Sequence[bool], n_bins: int = 10) -> Calibration:
    """Hold scores against the share of mentions that are correct.

    RAISES: ValueError if there are not as many scores as verdicts, a score is no probability, or there are no bins.
    SOURCE: expected calibration error with bins of equal width, Guo et al. 2017, section 2.
    """
    if len(scores) != len(is_correct) or not all(0.0 <= score <= 1.0 for score in scores):
        raise ValueError(
            f"Calibration needs one verdict for each score in [0, 1], got {len(is_correct)} for {len(scores)}. "
            "Give probabilities."
        )
    if n_bins < 1:
        raise ValueError(f"Calibration needs at least one bin, got {n_bins}.")
    values, correct = numpy.asarray(scores, dtype=float), numpy.asarray(is_correct, dtype=float)
    places = numpy.minimum((values * n_bins).astype(int), n_bins - 1)
    bins = []
    for place in range(n_bins):
        inside = places == place
        n = int(inside.sum())
        bins.append(Bin(n, *(float(part[inside].mean()) if n else 0.0 for part in (values, correct))))
    total = sum(part.n * abs(part.mean_score - part.share_correct) for part in bins)
    return Calibration(total / len(scores) if scores else 0.0, tuple(bins))


def to_array(counts: Sequence[Counts]) -> Array:
    """Give correct, found and gold as columns. Shape: (n_sentences, 3).

    RAISES: ValueError if there are no sentences.
    """
    if not counts:
        raise ValueError("There are no sentences to resample. Give the counts of at least one.")
    return numpy.array([(of_one.n_correct, of_one.n_found, of_one.n_gold) for of_one in counts], dtype=float)


def f1(totals: Array) -> Array:
    """Give the F1 of correct, found and gold; 0 where there is neither found nor gold.

    totals: shape (…, 3).
    RETURNS: Shape (…).
    """
    n_either = totals[..., 1] + totals[..., 2]
    return numpy.asarray(2.0 * totals[..., 0] / numpy.maximum(n_either, 1e-12) * (n_either > 0))


def cut_in_parts(n_resamples: int) -> Iterator[slice]:
    """Give the resamples in parts of at most `N_AT_ONCE`.

    RAISES: ValueError if there are none.
    """
    if n_resamples < 1:
        raise ValueError(f"Resampling needs at least one resample, got {n_resamples}.")
    for first in range(0, n_resamples, N_AT_ONCE):
        yield slice(first, min(first + N_AT_ONCE, n_resamples))


def draw_weights(rng: numpy.random.Generator, n_sentences: int, n_resamples: int) -> Array:
    """Draw how often each sentence is in each resample. Shape: (n_resamples, n_sentences)."""
    return rng.multinomial(n_sentences, numpy.full(n_sentences, 1 / n_sentences), n_resamples).astype(float)
