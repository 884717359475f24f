"""How often types are mentioned: head, torso and tail, as a table and a picture."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from ..passages import Passage

BANDS = (("head: top 1 %", 0.0, 0.01), ("torso: 1 % to 10 %", 0.01, 0.1), ("tail: 10 % to 100 %", 0.1, 1.0))
COLORS = ("#d9730d", "#1c6dd0", "#8a94a0")


@dataclass(frozen=True, slots=True)
class Band:
    """The types of some ranks, from the most to the least frequent.

    name: which ranks.
    n_types: how many types.
    n_mentions: how many mentions they have together.
    share: of all mentions, in [0, 1].
    top: the ten most frequent, of equal ones first in the alphabet.
    """

    name: str
    n_types: int
    n_mentions: int
    share: float
    top: tuple[str, ...]


def count_types(passages: Iterable[Passage]) -> Counter[str]:
    """Count the mentions of each type."""
    return Counter(mention.type for passage in passages for mention in passage.mentions)


def cut_bands(counts: Counter[str]) -> tuple[Band, ...]:
    """Cut the types into head, torso and tail by their ranks; a band's border is rounded up to whole types.

    SOURCE: Zhou et al. 2023, table 1; its names of the bands are "top 1%", "1%-10%" and "10%-100%".
    """
    ranked = sorted(counts, key=lambda type_: (-counts[type_], type_))
    n_all = counts.total()
    bands = []
    for name, low, high in BANDS:
        types = ranked[math.ceil(low * len(ranked)) : math.ceil(high * len(ranked))]
        n_mentions = sum(counts[type_] for type_ in types)
        bands.append(Band(name, len(types), n_mentions, n_mentions / n_all if n_all else 0.0, tuple(types[:10])))
    return tuple(bands)


def draw_frequencies(counts: Counter[str], path: Path) -> None:
    """Draw mentions by rank of the type, and the share of mentions that the types up to a rank have.

    path: a file that ends in .png.
    RAISES: ValueError if there are no mentions, or matplotlib is not installed.
    """
    if not counts:
        raise ValueError("There are no mentions to draw. Check what was read, and what the filters left out.")
    try:
        from matplotlib.figure import Figure
    except ImportError as err:
        raise ValueError("Pictures need matplotlib. Install it with: pip install spacy-uniner[distill]") from err
    sizes = sorted(counts.values(), reverse=True)
    figure = Figure(figsize=(8.0, 3.4), layout="constrained")
    by_rank, shares = figure.subplots(1, 2)
    _fill(by_rank, sizes)
    by_rank.set(xscale="log", yscale="log", ylabel="mentions of the type")
    _fill(shares, [100 * n_mentions / counts.total() for n_mentions in accumulate(sizes)])
    shares.set(xscale="log", ylim=(0, 100), ylabel="share of mentions up to the rank, percent")
    for axes in (by_rank, shares):
        axes.set_xlabel("rank of the type")
        axes.spines[["top", "right"]].set_visible(False)
    by_rank.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=150)


def _fill(axes: Any, heights: Sequence[float]) -> None:
    """Draw a curve over ranks, and fill under it by band."""
    for (name, low, high), color in zip(BANDS, COLORS):
        start, end = math.ceil(low * len(heights)), math.ceil(high * len(heights))
        ranks = range(start + 1, end + 1)
        axes.fill_between(ranks, heights[start:end], color=color, alpha=0.35, linewidth=0, label=name)
        axes.plot(ranks, heights[start:end], color=color, linewidth=1.4)
