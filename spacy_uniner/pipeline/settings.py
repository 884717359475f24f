"""What a user sets, and its checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

Ents = Literal["overwrite", "extend", "off"]
Labels = Sequence[str] | Mapping[str, str]
Thresholds = float | dict[str, float]

# Best on held-out distilled passages and types, benchmarks/held_out.py; scores are probabilities, so this is low.
DEFAULT_THRESHOLD = 0.15


def check_labels(labels: Labels, where: str) -> dict[str, str]:
    """Give for every label what the student reads: its description, or itself.

    where: what the labels are for, for the errors.
    RAISES: ValueError if they are no list or mapping of names, a label is blank or there twice, or two have the same
        description.
    """
    if isinstance(labels, str) or not isinstance(labels, Mapping | Sequence | set | frozenset):
        raise ValueError(f"'{where}': labels must be a list or a mapping of names, got {labels!r}. Put it in a list.")
    pairs = list(labels.items()) if isinstance(labels, Mapping) else [(label, label) for label in labels]
    texts: dict[str, str] = {}
    for label, text in pairs:
        if not isinstance(label, str) or not isinstance(text, str) or not label.strip() or not text.strip():
            raise ValueError(f"'{where}': label {label!r} or its description is blank or no text. Name it.")
        if label in texts:
            raise ValueError(f"'{where}': label '{label}' is given twice. Give every label once.")
        texts[label] = text
    if len(set(texts.values())) < len(texts):
        twice = sorted({text for text in texts.values() if list(texts.values()).count(text) > 1})
        raise ValueError(f"'{where}': several labels are described by '{twice[0]}'. Tell them apart.")
    return texts


def check_threshold(threshold: Thresholds, texts: Mapping[str, str], where: str) -> None:
    """Check one threshold, or one for each label.

    RAISES: ValueError if one is no probability, or its label is not known.
    """
    by_label = threshold if isinstance(threshold, dict) else {"all labels": threshold}
    for label, value in by_label.items():
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"'{where}': the threshold for {label} is {value}, expected a score in [0, 1].")
        if isinstance(threshold, dict) and label not in texts:
            raise ValueError(
                f"'{where}': a threshold is given for '{label}', which is not a label. "
                f"Labels: {', '.join(texts) or 'none'}."
            )


def find_lowest(threshold: Thresholds) -> float:
    """Give the lowest score that any label is accepted with; labels that a mapping does not name keep the default."""
    return min((*threshold.values(), DEFAULT_THRESHOLD)) if isinstance(threshold, dict) else threshold
