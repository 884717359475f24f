"""What each part of the recipe is worth: short trainings that differ in one setting, with the same number of updates.

python benchmarks/ablation.py --encoder FOLDER --data ../shared/datasets

Every variant of `VARIANTS` is trained once for each seed and scored on held-out distilled passages and types, and on
the zero-shot datasets, which choose nothing. What the output file holds already is not done again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import spacy
from held_out import score_by_threshold
from parts import PARTS
from wasabi import Printer

from spacy_uniner.benchmark.analyses import f1_of
from spacy_uniner.benchmark.systems import OpenPipeline
from spacy_uniner.cli.benchmark import load_golds

THRESHOLDS = tuple(i / 20 for i in range(1, 10))

VARIANTS = {
    "negatives: none": {"corpora.train.negatives": "none"},
    "negatives: uniform": {"corpora.train.negatives": "uniform"},
    "negatives: frequency": {"corpora.train.negatives": "frequency"},
    "the recipe (hard negatives)": {},
    "10 negatives (30)": {"corpora.train.n_negatives": "10"},
    "90 negatives (30)": {"corpora.train.n_negatives": "90"},
    "nothing in lower case (0.2)": {"corpora.train.lower_case": "0.0"},
    "half in lower case (0.2)": {"corpora.train.lower_case": "0.5"},
    "rate 0.00014 (0.00007)": {"training.optimizer.learn_rate.rate": "0.00014"},
} | {part: {"code": part} for part in PARTS}


def train(variant: dict[str, str], encoder: Path, n_steps: int, seed: int, work: Path) -> Path:
    """Train a student by configs/encoder.cfg with a variant's settings; give the folder of the last pipeline."""
    settings = {
        "paths.sentence_encoder": str(encoder),
        "paths.checkpoint": str(work / "checkpoint"),
        "system.seed": str(seed),
        "variables.n_steps": str(n_steps),
        "training.eval_frequency": str(n_steps),
        "corpora.dev.limit": "50",
    }
    command = [sys.executable, "-m", "spacy", "train", "configs/encoder.cfg", "--output", str(work)]
    part = variant.get("code", "")
    settings |= {"code": "benchmarks/parts.py"} if part else variant
    for key, value in settings.items():
        command += [f"--{key}", value]
    subprocess.run(command, check=True, env=os.environ | {"UNINER_PART": part})
    return work / "model-last"


def main() -> None:
    """Train what is missing; print a table, and write it as JSON after every training."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", type=Path, required=True, help="folder of a BERT-type sentence encoder")
    parser.add_argument("--data", type=Path, required=True, help="folder with the zero-shot datasets")
    parser.add_argument("--n-steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS), metavar="VARIANT")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/ablation.json"))
    args = parser.parse_args()
    golds = load_golds("zero-shot-7", "dev", args.data, Path())
    report: dict[str, Any] = {"rows": []}
    if args.output.exists():
        report = json.loads(args.output.read_text(encoding="utf8"))
    rows = report["rows"]
    report["command"] = " ".join(["python", *sys.argv])
    done = {(row["variant"], row["seed"], row["n_steps"]) for row in rows}
    for seed in args.seeds:
        for name in args.variants:
            if (name, seed, args.n_steps) in done:
                continue
            started = time.perf_counter()
            with tempfile.TemporaryDirectory() as folder:
                nlp = spacy.load(train(VARIANTS[name], args.encoder, args.n_steps, seed, Path(folder)))
            minutes = (time.perf_counter() - started) / 60
            best = max(score_by_threshold(nlp, THRESHOLDS), key=lambda row: row["f"])
            component: Any = nlp.get_pipe("universal_ner")
            component.cfg["threshold"] = best["threshold"]
            system = OpenPipeline(nlp, component, name)
            f1 = [f1_of(gold.passages, system.find(gold.passages)) for gold in golds]
            rows.append(
                {
                    "variant": name,
                    "seed": seed,
                    "n_steps": args.n_steps,
                    "threshold": best["threshold"],
                    "held_out_f1": best["f"],
                    "zero_shot_mean_f1": round(100 * sum(f1) / len(f1), 2),
                    "minutes": round(minutes, 1),
                }
            )
            args.output.parent.mkdir(parents=True, exist_ok=True)
            args.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf8")
    if rows:
        Printer().table([tuple(row.values()) for row in rows], header=tuple(rows[0]), divider=True)


if __name__ == "__main__":
    main()
