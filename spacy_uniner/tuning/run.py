"""A run of tuning by the Hugging Face Trainer: full weights or LoRA, on one device or many; it goes on after a kill."""

from __future__ import annotations

import json
import logging
import math
import random
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.trainer import Trainer
from transformers.trainer_callback import TrainerCallback
from transformers.training_args import TrainingArguments

from ..recipe.conversations import Conversation
from .rows import ConversationRows, pack_rows, pad_rows
from .settings import Tuning

logger = logging.getLogger(__name__)

SETTINGS_FILE = "tuning.json"


def tune(conversations: Sequence[Conversation], model: Path | str, output: Path, tuning: Tuning) -> dict[str, float]:
    """Tune a model on conversations, and write it with its tokenizer, checkpoints, settings and log into a folder.

    A run that was killed goes on from its last whole checkpoint, if it is called again with the same settings; it ends
    with what it would have given without the break.

    model: a folder or the name of a LLaMA-like causal model with a fast tokenizer.
    output: gets the weights, or LoRA's; `tuning.json` with the settings; `log.jsonl` with losses and rates by step.
    RETURNS: the loss in training and, if anything is kept apart for it, the last one measured, in nats a piece.
    RAISES: ValueError if the model's folder has no model or no fast tokenizer, the output has a run with other
        settings, or no conversation fits. OSError if there is no such model.
    """
    missing = [
        file
        for file in ("config.json", "tokenizer.json")
        if Path(model).is_dir() and not (Path(model) / file).is_file()
    ]
    if missing:
        raise ValueError(
            f"{model} holds no model to tune: {' and '.join(missing)} not found. Give the folder of a model."
        )
    settings = {"model": str(model), "n_conversations": len(conversations), **asdict(tuning)}
    with PartialState().main_process_first():
        output.mkdir(parents=True, exist_ok=True)
        _check_settings(output / SETTINGS_FILE, settings)
    tokenizer: Any = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
    if not tokenizer.is_fast:
        raise ValueError(f"The tokenizer of {model} is a slow one. Tuning needs a fast one, with a tokenizer.json.")
    order = random.Random(tuning.seed).sample(range(len(conversations)), len(conversations))
    n_evaluated = int(tuning.evaluated * len(conversations))
    rows = ConversationRows([conversations[n] for n in sorted(order[n_evaluated:])], tokenizer, tuning)
    evaluated = None
    if n_evaluated:
        apart = [conversations[n] for n in sorted(order[:n_evaluated])]
        evaluated = ConversationRows(apart, tokenizer, tuning, shuffled=False)
    student = _load(model, tuning)
    dtype = torch.bfloat16 if tuning.bf16 else torch.float32
    masked = student.config._attn_implementation != "flash_attention_2"
    trainer = Trainer(
        model=student,
        args=_make_arguments(output, tuning),
        data_collator=(lambda rows: pack_rows(rows, dtype, masked=masked)) if tuning.packed else pad_rows,
        train_dataset=rows,
        eval_dataset=evaluated,
        callbacks=[_TellEpoch(rows)],
    )
    trainer.train(resume_from_checkpoint=find_checkpoint(output))
    trainer.save_model(str(output))
    if trainer.is_world_process_zero():
        (output / "training_args.bin").unlink(missing_ok=True)  # a pickle; tuning.json says the same
        tokenizer.save_pretrained(output)
        _write_log(trainer.state.log_history, output / "log.jsonl")
    # Not the Trainer's own mean, which leaves out what was done before a kill, but divides by all steps.
    steps = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    losses = {"train": sum(steps) / max(1, len(steps))}
    measured = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    return losses | ({"evaluated": measured[-1]} if measured else {})


def find_checkpoint(output: Path) -> str | None:
    """Find the last checkpoint that was written as a whole; None if there is none.

    The Trainer writes its state last; so a checkpoint without one, or with a part of one, was cut off.
    """
    steps = {int(path.name.split("-")[1]): path for path in output.glob("checkpoint-*")}
    for step in sorted(steps, reverse=True):
        try:
            json.loads((steps[step] / "trainer_state.json").read_text(encoding="utf8"))
        except (FileNotFoundError, ValueError):
            logger.warning("%s was cut off and is not used.", steps[step])
            continue
        return str(steps[step])
    return None


class _TellEpoch(TrainerCallback):
    """Tells the rows which epoch it is, also where a run goes on."""

    def __init__(self, rows: ConversationRows) -> None:
        self._rows = rows

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._rows.epoch = math.floor(state.epoch or 0)


def _check_settings(path: Path, settings: dict[str, Any]) -> None:
    """Write the settings, or check that those of the run to go on with are the same."""
    if not path.exists():
        path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf8")
        return
    found = json.loads(path.read_text(encoding="utf8"))
    changed = sorted(name for name in settings if settings[name] != found.get(name))
    if changed:
        raise ValueError(
            f"{path.parent} has a run with other settings: "
            + ", ".join(f"{name} is {found.get(name)}, now {settings[name]}" for name in changed)
            + ". Give another folder, or the settings of that run to go on with it."
        )


def _load(model: Path | str, tuning: Tuning) -> Any:
    is_small = tuning.lora_rank > 0 and tuning.bf16
    student: Any = AutoModelForCausalLM.from_pretrained(
        model, torch_dtype=torch.bfloat16 if is_small else torch.float32, use_safetensors=True, trust_remote_code=False
    )
    if tuning.lora_rank:
        from peft import LoraConfig, get_peft_model

        lora = LoraConfig(
            r=tuning.lora_rank,
            lora_alpha=tuning.lora_alpha,
            lora_dropout=tuning.lora_dropout,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        )
        student = get_peft_model(student, lora)
    return student


def _make_arguments(output: Path, tuning: Tuning) -> TrainingArguments:
    n_read = tuning.device_batch_size * PartialState().num_processes
    if tuning.batch_size % n_read:
        raise ValueError(
            f"A batch of {tuning.batch_size} conversations cannot be read {n_read} at a time, "
            f"{tuning.device_batch_size} on each of {PartialState().num_processes} devices. Choose a multiple."
        )
    saved = (
        {"save_strategy": "steps", "save_steps": tuning.save_steps} if tuning.save_steps else {"save_strategy": "epoch"}
    )
    return TrainingArguments(
        output_dir=str(output),
        num_train_epochs=tuning.epochs,
        learning_rate=tuning.learning_rate,
        lr_scheduler_type="cosine",
        warmup_ratio=tuning.warmup,
        weight_decay=tuning.weight_decay,
        optim="adamw_torch",
        per_device_train_batch_size=tuning.device_batch_size,
        per_device_eval_batch_size=tuning.device_batch_size,
        gradient_accumulation_steps=tuning.batch_size // n_read,
        gradient_checkpointing=tuning.checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False} if tuning.checkpointing else None,
        bf16=tuning.bf16,
        use_cpu=PartialState().device.type == "cpu",  # else bfloat16 is refused where there is no GPU
        seed=tuning.seed,
        eval_strategy="epoch" if tuning.evaluated else "no",
        prediction_loss_only=True,
        logging_steps=1,
        save_total_limit=2,
        remove_unused_columns=False,
        report_to=[],
        **saved,
    )


def _write_log(history: Sequence[dict[str, float]], path: Path) -> None:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in history), encoding="utf8")
