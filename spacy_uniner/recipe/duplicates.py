"""Texts that are nearly the same."""

from __future__ import annotations

import re
from collections.abc import Iterable

_WORD = re.compile(r"\w+")

SHINGLE_WORDS = 3
N_HASHES = 128


def find_duplicates(texts: Iterable[str], threshold: float) -> list[int]:
    """Find texts that are nearly the same as an earlier one that stays.

    Texts are compared by their runs of three words, in lower case and without punctuation; a text of fewer words is one
    run. How alike two are is the share of runs they have in common (Jaccard), estimated by MinHash: with 128 hashes the
    estimate has a standard error of 0.04 or less.

    threshold: how alike two texts may not be, in (0, 1].
    RETURNS: the places of those to leave out, in order.
    RAISES: ValueError if the threshold is out of its range, or datasketch is not installed.
    """
    try:
        from datasketch import MinHash, MinHashLSH
    except ImportError as err:
        raise ValueError("Near-duplicates need datasketch. Install it with: pip install spacy-uniner[distill]") from err
    if not 0.0 < threshold <= 1.0:
        raise ValueError(f"The threshold of near-duplicates must be in (0, 1], got {threshold}.")
    # Candidates only, so the index may find too many, but not too few.
    index = MinHashLSH(threshold=min(threshold, 0.9), num_perm=N_HASHES, weights=(0.1, 0.9))
    kept: dict[int, MinHash] = {}
    duplicates = []
    for place, text in enumerate(texts):
        sketch = MinHash(num_perm=N_HASHES, seed=1)
        sketch.update_batch([run.encode("utf8") for run in _runs_of(text)])
        if any(sketch.jaccard(kept[other]) >= threshold for other in index.query(sketch)):
            duplicates.append(place)
        else:
            kept[place] = sketch
            index.insert(place, sketch)
    return duplicates


def _runs_of(text: str) -> set[str]:
    words = _WORD.findall(text.lower())
    if len(words) < SHINGLE_WORDS:
        return {" ".join(words)}
    return {" ".join(words[n : n + SHINGLE_WORDS]) for n in range(len(words) - SHINGLE_WORDS + 1)}
