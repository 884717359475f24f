"""The sizes of an encoder student, and the number format that it runs in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from .bert import BertSize

Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True, slots=True)
class EncoderSize:
    """The sizes of an encoder student.

    bert: the encoder inside.
    max_span_words: longest span that is scored, in words.
    n_hidden: width of the layer between words and what is added to a span's mean.
    n_implication: width of the vectors that tell which type implies which.
    max_window_pieces: longest window that is encoded at once, in pieces.
    window_overlap_words: how many words neighbouring windows share.
    RAISES: ValueError if the windows do not fit the encoder or share too little.
    """

    bert: BertSize
    max_span_words: int = 12
    n_hidden: int = 192
    n_implication: int = 96
    max_window_pieces: int = 254
    window_overlap_words: int = 32

    def __post_init__(self) -> None:
        if self.max_window_pieces + 2 > self.bert.max_position_embeddings:
            raise ValueError(
                f"Windows of {self.max_window_pieces} pieces and two special ones do not fit the encoder's "
                f"{self.bert.max_position_embeddings} positions. Use shorter windows."
            )
        if self.window_overlap_words < 2 * self.max_span_words:
            raise ValueError(
                f"Windows must share at least twice the longest span ({2 * self.max_span_words} words), "
                f"got {self.window_overlap_words}."
            )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> EncoderSize:
        """Make the sizes from what `dataclasses.asdict` gave."""
        return cls(**{**values, "bert": BertSize(**values["bert"])})


def choose_dtype(precision: Precision) -> torch.dtype:
    """Choose the number format of the encoder's forward pass."""
    if precision == "auto":
        # Not public in torch, and not in every version of it; where it is missing, float32 is always right.
        multiplies_bfloat16 = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
        return torch.bfloat16 if multiplies_bfloat16() else torch.float32
    return torch.float32 if precision == "float32" else torch.bfloat16
