"""How a generator is tuned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..conversation import System

Learned = Literal["answers", "released"]


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """How a generator is tuned; the defaults are those of UniversalNER.

    learned: take the loss on the answers to queries only, or, as the released code does, also on "I've read this text."
    system: the last word of the system prompt; the released code tunes with "paragraph" and asks with "text".
    batch_size: conversations a step, over all devices and accumulated passes.
    device_batch_size: conversations a device reads at once.
    max_pieces: the most pieces of a conversation; queries that do not fit are left out.
    packed: put the conversations that a device reads at once into one row, without padding; none sees another.
    learning_rate, warmup, epochs, weight_decay: cosine schedule; `warmup` is a share of all steps.
    bf16: compute in bfloat16; the weights stay in float32, but with LoRA those of the model are in bfloat16, too.
    checkpointing: compute activations again on the way back, in place of keeping them.
    lora_rank: 0 to tune all weights; else the rank of LoRA on all linear layers.
    lora_alpha, lora_dropout: of LoRA.
    evaluated: share of the conversations on which the loss is only measured, after each epoch.
    save_steps: a checkpoint after so many steps; 0 for one after each epoch.
    seed: of the order of conversations and queries, and of what is measured.
    RAISES: ValueError if a number is out of its range.
    SOURCE: universal-ner@844e0e1, src/train/train.sh; LoRA is not in it, its defaults are our choice.
    """

    learned: Learned = "answers"
    system: System = "text"
    batch_size: int = 256
    device_batch_size: int = 2
    max_pieces: int = 1024
    packed: bool = False
    learning_rate: float = 2e-5
    warmup: float = 0.04
    epochs: float = 3.0
    weight_decay: float = 0.0
    bf16: bool = True
    checkpointing: bool = True
    lora_rank: int = 0
    lora_alpha: int = 32
    lora_dropout: float = 0.05
    evaluated: float = 0.02
    save_steps: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        counts = (self.batch_size, self.device_batch_size, self.max_pieces)
        if min(counts) < 1 or min(self.save_steps, self.lora_rank) < 0:
            raise ValueError(
                "Tuning needs batch_size, device_batch_size and max_pieces of 1 or more, and save_steps and lora_rank "
                f"of 0 or more, got {', '.join(map(str, counts))}, {self.save_steps} and {self.lora_rank}."
            )
        shares = (self.warmup, self.evaluated, self.lora_dropout)
        if self.learning_rate <= 0 or self.epochs <= 0 or not all(0 <= share < 1 for share in shares):
            raise ValueError(
                "Tuning needs learning_rate and epochs over 0, and warmup, evaluated and lora_dropout in [0, 1), got "
                f"{self.learning_rate}, {self.epochs}, {', '.join(map(str, shares))}."
            )
