"""A logger for `spacy train` that keeps every evaluation in a file, over all runs that went on with one another."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from spacy.language import Language
from spacy.training.loggers import console_logger_v3

from .checkpoints import n_steps_before

Log = Callable[[dict[str, Any] | None], None]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How good a pipeline was at some step.

    step: updates done.
    score: the one that chooses the best pipeline, in [0, 1].
    scores: those of `[training.score_weights]`, in [0, 1].
    losses: of each component, added up since the evaluation before.
    """

    step: int
    score: float
    scores: dict[str, float]
    losses: dict[str, float]


def CurveLogger(path: str | Path, progress_bar: str | None = None) -> Callable[..., tuple[Log, Callable[[], None]]]:
    """Make a logger that prints what spaCy's own prints, and adds a line of JSON for each evaluation to a file.

    A run that goes on from a checkpoint goes on with the file: what stands there of later steps, which were done but
    are not in the checkpoint, is taken out. A run that begins anew begins the file anew.

    path: the file.
    progress_bar: as in `spacy.ConsoleLogger.v3`: "train", "eval" or None.
    """
    path = Path(path)

    def set_up(
        nlp: Language, stdout: IO[str] = sys.stdout, stderr: IO[str] = sys.stderr
    ) -> tuple[Log, Callable[[], None]]:
        log_to_console, finish = console_logger_v3(progress_bar=progress_bar)(nlp, stdout, stderr)
        n_before = n_steps_before(nlp)
        weights = nlp.config["training"]["score_weights"]
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = [one for one in read_curve(path) if one.step <= n_before] if n_before and path.exists() else []
        path.write_text("".join(map(_to_line, kept)), encoding="utf8")

        def log(info: dict[str, Any] | None) -> None:
            log_to_console(info)
            if info is not None and not (n_before and info["step"] == 0):
                scores = {
                    name: float(info["other_scores"].get(name) or 0.0) for name, w in weights.items() if w is not None
                }
                losses = {name: float(loss) for name, loss in info["losses"].items()}
                with path.open("a", encoding="utf8") as file:
                    file.write(_to_line(Evaluation(info["step"] + n_before, float(info["score"]), scores, losses)))

        return log, finish

    return set_up


def read_curve(path: Path) -> list[Evaluation]:
    """Read what `CurveLogger` wrote; a last line that was cut off by a kill is passed over.

    RAISES: ValueError with file and line if another line has another form.
    """
    lines = path.read_text(encoding="utf8").splitlines(keepends=True)
    evaluations = []
    for n_line, line in enumerate(lines, start=1):
        try:
            evaluations.append(Evaluation(**json.loads(line)))
        except (ValueError, TypeError) as err:
            if n_line == len(lines) and not line.endswith("\n"):
                break
            raise ValueError(f"{path}, line {n_line}: no evaluation ({type(err).__name__}: {err}).") from err
    return evaluations


def best_of(curve: Iterable[Evaluation]) -> Evaluation:
    """Give the evaluation with the best score; of equal ones the first.

    RAISES: ValueError if there is none.
    """
    return max(curve, key=lambda one: one.score)


def _to_line(evaluation: Evaluation) -> str:
    return json.dumps(asdict(evaluation)) + "\n"
