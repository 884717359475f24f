"""The command that tunes a generator."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast, get_args

import typer
from wasabi import msg

from ..conversation import System
from ..recipe.conversations import read_conversations
from ..tuning.settings import Learned, Tuning


def tune(
    conversations: Annotated[
        list[Path], typer.Argument(help="JSON of conversations, in the released form", exists=True)
    ],
    model: Annotated[str, typer.Option(help="Folder or name of a LLaMA-like causal model")],
    output: Annotated[Path, typer.Option(help="Folder for weights, checkpoints, settings and log")],
    learned: Annotated[str, typer.Option(help="Take the loss on answers, or as released")] = Tuning.learned,
    system: Annotated[str, typer.Option(help="Last word of the system prompt: text or paragraph")] = Tuning.system,
    batch_size: Annotated[int, typer.Option(help="Conversations a step, on all devices")] = Tuning.batch_size,
    device_batch_size: Annotated[int, typer.Option(help="Read at once by a device")] = Tuning.device_batch_size,
    max_pieces: Annotated[int, typer.Option(help="The most pieces of a conversation")] = Tuning.max_pieces,
    packed: Annotated[bool, typer.Option(help="No padding: conversations behind each other in one row")] = False,
    learning_rate: Annotated[float, typer.Option(help="At its peak; cosine from there")] = Tuning.learning_rate,
    warmup: Annotated[float, typer.Option(help="Share of the steps")] = Tuning.warmup,
    epochs: Annotated[float, typer.Option(help="Passes through the conversations")] = Tuning.epochs,
    weight_decay: Annotated[float, typer.Option(help="Of AdamW")] = Tuning.weight_decay,
    bf16: Annotated[bool, typer.Option(help="Compute in bfloat16")] = Tuning.bf16,
    checkpointing: Annotated[
        bool, typer.Option(help="Compute activations again, to save memory")
    ] = Tuning.checkpointing,
    lora_rank: Annotated[int, typer.Option(help="Rank of LoRA; 0 to tune all weights")] = Tuning.lora_rank,
    lora_alpha: Annotated[int, typer.Option(help="Scale of LoRA")] = Tuning.lora_alpha,
    lora_dropout: Annotated[float, typer.Option(help="Dropout of LoRA")] = Tuning.lora_dropout,
    evaluated: Annotated[float, typer.Option(help="Share of conversations kept apart for the loss")] = Tuning.evaluated,
    save_steps: Annotated[int, typer.Option(help="Steps between checkpoints; 0: one an epoch")] = Tuning.save_steps,
    seed: Annotated[int, typer.Option(help="Of the orders")] = Tuning.seed,
) -> None:
    """Tune a generator on conversations; a run that was killed goes on when it is called again."""
    try:
        tuning = Tuning(
            learned=cast(Learned, _choose(learned, get_args(Learned))),
            system=cast(System, _choose(system, get_args(System))),
            batch_size=batch_size,
            device_batch_size=device_batch_size,
            max_pieces=max_pieces,
            packed=packed,
            learning_rate=learning_rate,
            warmup=warmup,
            epochs=epochs,
            weight_decay=weight_decay,
            bf16=bf16,
            checkpointing=checkpointing,
            lora_rank=lora_rank,
            lora_alpha=lora_alpha,
            lora_dropout=lora_dropout,
            evaluated=evaluated,
            save_steps=save_steps,
            seed=seed,
        )
        read = [conversation for path in conversations for conversation in read_conversations(path)]
        from ..tuning.run import tune as run

        losses = run(read, model, output, tuning)
    except ModuleNotFoundError as err:
        raise typer.BadParameter(
            f"Tuning needs {err.name}. Install it with: pip install spacy-uniner[generator]"
        ) from err
    except (ValueError, OSError) as err:  # OSError: no such model
        raise typer.BadParameter(str(err)) from err
    for name, loss in losses.items():
        msg.info(f"Loss, {name}: {loss:.3f} nats a piece")
    _draw(output)
    msg.good(f"{output}: weights, tokenizer, tuning.json, log.jsonl")


def _draw(output: Path) -> None:
    from ..tuning.curves import draw_curves

    try:
        draw_curves(output / "log.jsonl", output / "curves.png")
    except (ValueError, FileNotFoundError) as err:  # no matplotlib; or a process that is not the first one
        msg.warn(str(err))


def _choose(value: str, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise ValueError(f"'{value}' is none of {', '.join(choices)}.")
    return value
