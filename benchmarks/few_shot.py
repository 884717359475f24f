"""What a hundred sentences of a new dataset are worth to the student, and to the sentence encoder it came from.

python benchmarks/few_shot.py --encoder FOLDER --data ../shared/datasets

Each dataset's dev sentences are split in two: from the first half come the sentences to train on, the second is scored.
The student is trained with distilled passages among the gold ones (configs/finetune.cfg), the encoder on gold alone;
both do the same number of updates with as many gold sentences in a batch, the encoder at the rate of
configs/encoder.cfg, and both are scored at the default threshold. Scores at the best threshold, which nobody knows
beforehand, are given too.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import spacy
from forgetting import read_gold, write_docs
from spacy.language import Language
from wasabi import Printer

from spacy_uniner.benchmark.analyses import f1_of
from spacy_uniner.benchmark.systems import OpenPipeline
from spacy_uniner.cli.benchmark import load_golds
from spacy_uniner.passages import Passage

DATASETS = ("finer-ord", "bc5cdr", "stackoverflow-ner")
THRESHOLDS = tuple(i / 20 for i in range(1, 19))


def fine_tune(student: str, settings: dict[str, str], work: Path) -> Language:
    """Train by configs/finetune.cfg on work/train.spacy; give the last pipeline."""
    output = work / "output"
    command = [sys.executable, "-m", "spacy", "train", "configs/finetune.cfg", "--output", str(output)]
    command += ["--paths.train", str(work / "train.spacy"), "--paths.dev", str(work / "dev.spacy")]
    command += ["--paths.checkpoint", str(output / "checkpoint"), "--paths.student", student]
    for key, value in settings.items():
        command += [f"--{key}", value]
    subprocess.run(command, check=True)
    return spacy.load(output / "model-last")


def score(nlp: Language, gold: Sequence[Passage]) -> tuple[float, float]:
    """Give strict F1 in percent at the pipeline's own threshold, and at the best one."""
    component: Any = nlp.get_pipe("universal_ner")
    system = OpenPipeline(nlp, component, "tuned")
    best = max(f1_of(gold, found) for found in system.find_at(gold, THRESHOLDS))
    return round(100 * f1_of(gold, system.find(gold)), 2), round(100 * best, 2)


def main() -> None:
    """Train both for each dataset and seed; print and write the scores after every one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", required=True, help="folder of the sentence encoder")
    parser.add_argument("--data", type=Path, required=True, help="folder with more-dev and the zero-shot datasets")
    parser.add_argument("--n-gold", type=int, default=100, help="sentences to train on")
    parser.add_argument("--n-steps", type=int, default=100)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--limit", type=int, default=500, help="sentences scored, of the second half and of each set")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/few_shot.json"))
    args = parser.parse_args()
    others = [dataset.passages[: args.limit] for dataset in load_golds("zero-shot-7", "dev", args.data, Path())]
    embedded = spacy.blank("en")
    embedded.add_pipe("universal_ner")

    def mean_of_others(nlp: Language) -> float:
        return round(sum(score(nlp, passages)[0] for passages in others) / len(others), 2)

    report: dict[str, Any] = {"command": " ".join(["python", *sys.argv]), "zero_shot_before": mean_of_others(embedded)}
    rows: list[dict[str, Any]] = []
    report["rows"] = rows
    students = {
        "student": ("en_uniner_sm", {"corpora.train.share": "0.5", "variables.batch_size": "32"}),
        "encoder": (
            args.encoder,
            {
                "corpora.train.share": "0.0",
                "variables.batch_size": "16",
                "training.optimizer.learn_rate.rate": "0.00007",
            },
        ),
    }
    for seed in args.seeds:
        for name in DATASETS:
            passages = read_gold(args.data / "more-dev" / name, "dev")
            half = len(passages) // 2
            gold = passages[half:][: args.limit]
            row: dict[str, Any] = {"dataset": name, "seed": seed, "before": score(embedded, gold)[0]}
            for kind, (student, settings) in students.items():
                with tempfile.TemporaryDirectory() as folder:
                    work = Path(folder)
                    write_docs(passages[:half][: args.n_gold], work / "train.spacy")
                    write_docs(gold[:50], work / "dev.spacy")
                    settings |= {"system.seed": str(seed), "variables.n_steps": str(args.n_steps)}
                    settings |= {"training.eval_frequency": str(args.n_steps)}
                    tuned = fine_tune(student, settings, work)
                row[kind], row[f"{kind}_at_best"] = score(tuned, gold)
                if kind == "student":
                    row["zero_shot_after"] = mean_of_others(tuned)
            rows.append(row)
            args.output.parent.mkdir(parents=True, exist_ok=True)
            args.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf8")
    Printer().table([tuple(row.values()) for row in rows], header=tuple(rows[0]), divider=True)


if __name__ == "__main__":
    main()
