"""Strict span micro-F1 on datasets that a pipeline was never trained on, asked by the label names of each labels.json.

python benchmarks/zero_shot.py --data ../shared/datasets/zero-shot-dev --output benchmarks/results/zero_shot.json
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from pathlib import Path
from typing import Any

import spacy
import torch
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example
from tqdm import tqdm
from wasabi import Printer

import spacy_uniner


def read_examples(path: Path, nlp: Language, limit: int = 0) -> list[Example]:
    """Read lines of {"tokens", "spans"}; labels that labels.json beside the file does not name are dropped."""
    names = json.loads((path.parent / "labels.json").read_text(encoding="utf8"))
    examples = []
    for line in path.read_text(encoding="utf8").splitlines()[: limit or None]:
        record = json.loads(line)
        reference = Doc(nlp.vocab, words=record["tokens"])
        spans = [Span(reference, a, b, label=names[label]) for a, b, label in record["spans"] if label in names]
        reference.set_ents(spans, default="outside")
        examples.append(Example(Doc(nlp.vocab, words=record["tokens"]), reference))
    return examples


def evaluate(nlp: Language, data: Path, limit: int = 0) -> dict[str, dict[str, float]]:
    """Score every dataset folder under `data`: precision, recall and F1 in percent, and the number of sentences."""
    component: Any = nlp.get_pipe("universal_ner")
    results = {}
    for folder in tqdm(sorted(path for path in data.iterdir() if path.is_dir()), unit="dataset", leave=False):
        examples = read_examples(folder / "dev.jsonl", nlp, limit)
        component.labels = sorted(set(json.loads((folder / "labels.json").read_text(encoding="utf8")).values()))
        scores = nlp.evaluate(examples)
        results[folder.name] = {key: round(100 * (scores[f"ents_{key}"] or 0.0), 2) for key in "prf"}
        results[folder.name]["n_sentences"] = len(examples)
    return results


def mean_f1(results: dict[str, dict[str, float]]) -> float:
    """The mean of the datasets' F1."""
    return round(sum(scores["f"] for scores in results.values()) / len(results), 2)


def main() -> None:
    """Print a table, and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of dataset folders: dev.jsonl, labels.json")
    parser.add_argument("--pipeline", default=None, help="a pipeline; left out: the embedded student")
    parser.add_argument("--threshold", type=float, default=None, help="left out: the pipeline's own")
    parser.add_argument("--overlap", default="flat", help="'any' shows what it is without competition of labels")
    parser.add_argument("--precision", default="auto", help="of the embedded student")
    parser.add_argument("--limit", type=int, default=0, help="only so many sentences of each dataset")
    parser.add_argument("--output", type=Path, default=None)
    args = parser.parse_args()
    if args.pipeline:
        nlp = spacy.load(args.pipeline)
    else:
        nlp = spacy.blank("en")
        nlp.add_pipe("universal_ner", config={"model": {"precision": args.precision}})
    component: Any = nlp.get_pipe("universal_ner")
    component.cfg["overlap"] = args.overlap
    if args.threshold is not None:
        component.cfg["threshold"] = args.threshold
    results = evaluate(nlp, args.data, args.limit)
    rows = [(name, *(f"{scores[key]:.1f}" for key in "prf"), scores["n_sentences"]) for name, scores in results.items()]
    rows.append(("mean", "", "", f"{mean_f1(results):.1f}", ""))
    Printer().table(
        rows, header=("dataset", "P", "R", "F1", "sentences"), divider=True, aligns=("l", "r", "r", "r", "r")
    )
    if args.output:
        report = {
            "command": " ".join(["python", *sys.argv]),
            "versions": {"spacy_uniner": spacy_uniner.__version__, "torch": torch.__version__.split("+")[0]}
            | {"spacy": spacy.__version__, "python": platform.python_version()},
            "metric": "strict span micro-F1, percent",
            "threshold": component.cfg["threshold"],
            "mean_f1": mean_f1(results),
            "datasets": results,
        }
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf8")


if __name__ == "__main__":
    main()
