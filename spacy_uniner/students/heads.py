"""What an encoder student adds to its encoder, and the small operations over words and spans that it is made of."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .bert import PIECES_IN_STEPS, Bert

HEAD_GAIN = 10.0


class Head(nn.Linear):
    """A linear layer that learns `HEAD_GAIN` times as fast as the pretrained layers under the same optimizer.

    SOURCE: equalized learning rate, Karras et al. 2018, section 4.1; the gain is our choice.
    """

    def __init__(self, n_in: int, n_out: int, *, zero: bool = False) -> None:
        super().__init__(n_in, n_out)
        nn.init.normal_(self.weight, std=0.0 if zero else 1.0 / (HEAD_GAIN * math.sqrt(n_in)))
        nn.init.zeros_(self.bias)

    def forward(self, states: Tensor) -> Tensor:
        """Shapes as in `nn.Linear`."""
        return F.linear(states, HEAD_GAIN * self.weight, HEAD_GAIN * self.bias)

    def fold(self, dtype: torch.dtype) -> nn.Linear:
        """Give an ordinary layer on the same device, with the gain in its weights; no random numbers are drawn."""
        layer: nn.Linear = nn.utils.skip_init(nn.Linear, self.in_features, self.out_features, device=self.weight.device)
        with torch.no_grad():
            layer.weight.copy_(HEAD_GAIN * self.weight)
            layer.bias.copy_(HEAD_GAIN * self.bias)
        return layer.to(dtype)


@dataclass(frozen=True, slots=True)
class Fast:
    """What prediction needs of a student's weights, in the precision of its forward pass; see `EncoderStudent`."""

    bert: Bert
    span_start: nn.Linear
    span_end: nn.Linear
    span_residual: nn.Linear
    span_prior: nn.Linear
    shapes: Tensor
    widths: Tensor


def in_steps(layer: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """Apply a linear layer to rows whose number is rounded up meanwhile, for the reason that `Layout` gives.

    The steps grow with the number, which goes into the thousands for spans: there are eight to sixteen between one
    power of two and the next.

    rows: shape (n_rows, n_in); turned to the precision of the layer's weights.
    RETURNS: Shape (n_rows, n_out).
    """
    if isinstance(layer, nn.Linear):
        rows = rows.to(layer.weight.dtype)
    step = max(PIECES_IN_STEPS, 2 ** (len(rows).bit_length() - 4))
    return layer(F.pad(rows, (0, 0, 0, -len(rows) % step)))[: len(rows)]


def mean_of_runs(states: Tensor, start: Tensor, n_words: Tensor) -> Tensor:
    """Average the states of runs of words.

    states: shape (n_states, width).
    start, n_words: of each run. Shapes: (n_runs,), int64.
    RETURNS: Shape (n_runs, width).
    """
    ends = n_words.cumsum(0)  # (n_runs,)
    places = torch.arange(int(n_words.sum()), device=start.device)  # (n_all,)
    places = places + (start - ends + n_words).repeat_interleave(n_words)
    return F.embedding_bag(places, states, ends - n_words, mode="mean")
