"""Parts of the recipe that can be taken out or exchanged: `spacy train --code benchmarks/parts.py`, with the name of
one in the environment variable UNINER_PART. They stand here, not in the package: nobody should train without them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from spacy_uniner import distill
from spacy_uniner.hierarchy import Hierarchy
from spacy_uniner.passages import Passage
from spacy_uniner.students import encoder
from spacy_uniner.students.encoder import EncoderStudent


def ask_own_names() -> None:
    """Ask for mentions only by the type that the teacher marked."""
    distill.Questions._own_names = lambda self, passage: {  # type: ignore[method-assign]
        types[0] for types in distill.runs_of(passage).values()
    }


def ask_without_wider_names() -> None:
    """Ask for mentions by their own type or another of the same extension, by no wider one."""

    def own_names(self: distill.Questions, passage: Passage) -> set[str]:
        names = set()
        for types in sorted(set(distill.runs_of(passage).values())):
            same = self.hierarchy.same.get(types[0], ()) or (types[0],)
            names.add(self._random.choice(self._random.choice([(types[0],), same, same])))
        return names

    distill.Questions._own_names = own_names  # type: ignore[method-assign]


def trust_all_negatives() -> None:
    """Take for absent what may be there under another name."""
    answer = distill.answer

    def without_unknown(passage: Passage, names: Iterable[str], hierarchy: Hierarchy) -> Passage:
        return replace(answer(passage, names, hierarchy), unknown=())

    distill.answer = without_unknown


def start_residuals_at_random() -> None:
    """Let what is added to the mean of states begin as noise of the same size."""
    head = encoder.Head
    encoder.Head = lambda n_in, n_out, zero=False: head(n_in, n_out)  # type: ignore[assignment, misc]


def _after_init(change: Callable[[EncoderStudent], Any]) -> None:
    init = EncoderStudent.__init__

    def init_and_change(self: EncoderStudent, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        change(self)

    EncoderStudent.__init__ = init_and_change  # type: ignore[method-assign]


def freeze_encoder() -> None:
    """Train only what is added to the sentence encoder."""
    _after_init(lambda student: student.bert.requires_grad_(False))


def freeze_lower_layers() -> None:
    """Train the upper half of the sentence encoder, and what is added to it."""
    _after_init(lambda student: [layer.requires_grad_(False) for layer in list(student.bert.layers)[:3]])


def hide_shapes() -> None:
    """Do not tell how words and their neighbours are written."""

    @torch.no_grad()
    def change(student: EncoderStudent) -> None:
        student.span_shapes.weight.zero_()
        student.span_shapes.requires_grad_(False)

    _after_init(change)


def drop_prior() -> None:
    """Do not ask whether a span is a mention of anything at all."""
    _after_init(lambda student: student.span_prior.requires_grad_(False))


def focus_loss() -> None:
    """Give easy answers less weight: focal loss with gamma 2 (Lin et al. 2017, section 3)."""
    plain = F.binary_cross_entropy_with_logits

    def focal(logits: Tensor, truth: Tensor, **settings: Any) -> Tensor:
        loss = plain(logits, truth, **settings)
        of_truth = torch.sigmoid(logits) * truth + torch.sigmoid(-logits) * (1.0 - truth)
        return loss * (1.0 - of_truth) ** 2

    F.binary_cross_entropy_with_logits = focal


PARTS = {
    "own names only": ask_own_names,
    "no wider names": ask_without_wider_names,
    "no mask for unsafe negatives": trust_all_negatives,
    "residuals start at random": start_residuals_at_random,
    "encoder frozen": freeze_encoder,
    "lower three layers frozen": freeze_lower_layers,
    "no word shapes": hide_shapes,
    "no prior": drop_prior,
    "focal loss": focus_loss,
}

if part := os.environ.get("UNINER_PART"):
    PARTS[part]()
