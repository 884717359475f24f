"""Checkpoints of `spacy train`, from which a run that was killed goes on, and the learning rate that knows of it."""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from spacy.language import Language
from spacy.util import dot_to_object

from .curriculum import n_examples_drawn

logger = logging.getLogger(__name__)

STATE = "state.json"
CURRICULUM = "spacy_uniner.Curriculum.v1"


def SaveCheckpoint(path: str | Path, every_n_steps: int) -> Callable[[Language, dict[str, Any]], None]:
    """Make a callback for `[training.before_update]` that saves the pipeline every so many steps.

    A checkpoint is complete or not there: what points to the last one is replaced only when the next one is written.
    Of a curriculum it notes how many Examples were drawn for the steps done.

    path: the folder of the checkpoint.
    every_n_steps: how often it is saved.
    RAISES: ValueError if `every_n_steps` is below 1.
    """
    if every_n_steps < 1:
        raise ValueError(f"A checkpoint needs every_n_steps >= 1, got {every_n_steps}.")

    path = Path(path)
    n_examples = 0  # drawn for the steps done; when this is called, those of the next step are drawn, too

    def save(nlp: Language, args: dict[str, Any]) -> None:
        nonlocal n_examples
        n_steps = args["step"] + n_steps_before(nlp)
        if args["step"] and n_steps % every_n_steps == 0:
            folder = path / f"step-{n_steps}"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            nlp.to_disk(folder)
            state = path / (STATE + ".part")
            content: dict[str, Any] = {"n_steps": n_steps, "pipeline": folder.name}
            content |= {"n_examples": n_examples} if n_examples else {}
            state.write_text(json.dumps(content), encoding="utf8")
            os.replace(state, path / STATE)
            for other in path.glob("step-*"):
                if other != folder:
                    shutil.rmtree(other)
        n_examples = n_examples_drawn(nlp)

    return save


def ContinueFromCheckpoint(path: str | Path) -> Callable[[Language], Language]:
    """Make a callback for `[initialize.after_init]` that goes on from the checkpoint, if there is one.

    It takes the weights from there, leaves only the remaining steps to do, and moves the learning rate to where it
    was. The optimizer's moments start anew, and so does the order of the data, with another seed; but a curriculum goes
    on with the Example that would have come next. Remove the folder to start from the beginning.

    path: the folder of the checkpoint.
    RAISES: ValueError, when training starts, if the checkpoint's pipeline is gone.
    """
    path = Path(path)

    def restore(nlp: Language) -> Language:
        if not (path / STATE).is_file():
            return nlp
        state = json.loads((path / STATE).read_text(encoding="utf8"))
        n_steps, folder = state["n_steps"], path / state["pipeline"]
        if not folder.is_dir():
            raise ValueError(f"{path / STATE} points to {folder}, which is not there. Remove {path} to start anew.")
        for name, component in nlp.pipeline:
            if (folder / name).is_dir() and hasattr(component, "from_disk"):
                component.from_disk(folder / name, exclude=["vocab"])
        config = nlp.config.interpolate()
        planned, training = config["training"], nlp.config["training"]
        training["max_steps"] = max(1, planned["max_steps"] - n_steps) if planned["max_steps"] else 0
        training["optimizer"]["learn_rate"] = {
            "@schedules": "spacy_uniner.continued.v1",
            "schedule": planned["optimizer"]["learn_rate"],
            "n_steps_before": n_steps,
        }
        training["seed"] = (planned["seed"] or 0) + n_steps
        corpus = planned["train_corpus"]
        move_reader(
            dot_to_object(nlp.config, corpus), dot_to_object(config, corpus), n_steps, state.get("n_examples", 0)
        )
        logger.warning(
            "Going on from %s after %d steps; %d remain. Remove that folder to start anew.",
            path,
            n_steps,
            training["max_steps"],
        )
        return nlp

    return restore


def move_reader(reader: dict[str, Any], planned: dict[str, Any], n_steps: int, n_examples: int) -> None:
    """Give a reader, and the readers inside of it, another seed: what the config plans, moved by so many steps.

    A curriculum and what is inside of it keep their seeds: it is told how many Examples it has drawn.
    """
    if planned.get("@readers") == CURRICULUM:
        reader["n_examples_before"] = n_examples
        return
    for key, value in planned.items():
        if key == "seed":
            reader[key] = (value or 0) + n_steps
        elif isinstance(value, dict) and isinstance(reader.get(key), dict):
            move_reader(reader[key], value, n_steps, n_examples)


def n_steps_before(nlp: Language) -> int:
    """Tell how many steps were done before this run went on from a checkpoint."""
    rate = nlp.config["training"]["optimizer"]["learn_rate"]
    return int(rate["n_steps_before"]) if isinstance(rate, dict) and "n_steps_before" in rate else 0


def warmup_cosine(rate: float, n_warmup_steps: int, n_steps: int) -> Iterator[float]:
    """Raise the learning rate linearly, then let it fall to 0 along half a cosine.

    rate: the highest learning rate.
    n_warmup_steps: steps until it is reached.
    n_steps: steps until it is 0 again.
    RAISES: ValueError if the warm-up is not shorter than the whole.
    SOURCE: Loshchilov and Hutter 2017, equation 5, without restarts.
    """
    if not 0 <= n_warmup_steps < n_steps:
        raise ValueError(f"The learning rate needs 0 <= n_warmup_steps < n_steps, got {n_warmup_steps} and {n_steps}.")
    return _warmup_cosine(rate, n_warmup_steps, n_steps)


def _warmup_cosine(rate: float, n_warmup_steps: int, n_steps: int) -> Iterator[float]:
    for step in range(n_warmup_steps):
        yield rate * (step + 1) / (n_warmup_steps + 1)
    for step in range(n_steps - n_warmup_steps + 1):
        yield rate * 0.5 * (1.0 + math.cos(math.pi * step / (n_steps - n_warmup_steps)))


def continued(schedule: Iterator[float] | float, n_steps_before: int) -> Iterator[float]:
    """Go on with a schedule where an earlier run left it.

    schedule: what that run began with.
    n_steps_before: how many steps it did.
    """
    if isinstance(schedule, float):
        yield schedule
    else:
        yield from islice(schedule, n_steps_before, None)
