"""Strict span micro-F1 on datasets that a pipeline was never trained on, asked by the label names of each labels.json.

python benchmarks/zero_shot.py --data ../shared/datasets/zero-shot-dev --output benchmarks/zero_shot.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import spacy
from spacy.tokens import Doc, Span
from spacy.training import Example
from tqdm import tqdm
from wasabi import Printer


def read_examples(folder: Path, nlp: spacy.Language, limit: int) -> tuple[list[Example], list[str]]:
    """Read {"tokens", "spans"} lines and the names of the labels; labels without a name are dropped."""
    names = json.loads((folder / "labels.json").read_text(encoding="utf8"))
    examples = []
    lines = (folder / "dev.jsonl").read_text(encoding="utf8").splitlines()
    for line in lines[: limit or None]:
        record = json.loads(line)
        reference = Doc(nlp.vocab, words=record["tokens"])
        spans = [Span(reference, a, b, label=names[label]) for a, b, label in record["spans"] if label in names]
        reference.set_ents(spans, default="outside")
        examples.append(Example(Doc(nlp.vocab, words=record["tokens"]), reference))
    return examples, sorted(set(names.values()))


def main() -> None:
    """Print a table, and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of dataset folders with dev.jsonl, labels.json"
    )
    parser.add_argument("--pipeline", default=None, help="a pipeline; left out: the embedded student")
    parser.add_argument("--thresholds", type=float, nargs="+", default=[None], help="left out: the pipeline's own")
    parser.add_argument("--overlap", default="flat", help="flat, or any for no competition of labels on one span")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--limit", type=int, default=0, help="only so many sentences of each dataset")
    parser.add_argument("--output", type=Path, default=None)
    args = parser.parse_args()
    if args.pipeline:
        nlp = spacy.load(args.pipeline)
    else:
        nlp = spacy.blank("en")
        nlp.add_pipe("universal_ner", config={"model": {"precision": args.precision}})
    component = nlp.get_pipe("universal_ner")
    component.cfg["overlap"] = args.overlap
    results: dict[str, dict[str, float]] = {}
    for folder in tqdm(sorted(path for path in args.data.iterdir() if path.is_dir()), unit="dataset"):
        examples, labels = read_examples(folder, nlp, args.limit)
        component.labels = labels
        for threshold in args.thresholds:
            if threshold is not None:
                component.cfg["threshold"] = threshold
            scores = nlp.evaluate(examples)
            row = results.setdefault(f"{component.cfg['threshold']}", {})
            row[folder.name] = round(100 * (scores["ents_f"] or 0.0), 2)
            row[f"{folder.name} p/r"] = f"{100 * scores['ents_p']:.1f}/{100 * scores['ents_r']:.1f}"
    for row in results.values():
        values = [value for value in row.values() if isinstance(value, float)]
        row["mean"] = round(sum(values) / len(values), 2)
    header = ["threshold", *next(iter(results.values()))]
    Printer().table([[threshold, *row.values()] for threshold, row in results.items()], header=header, divider=True)
    if args.output:
        args.output.write_text(json.dumps(results, indent=2) + "\n", encoding="utf8")


if __name__ == "__main__":
    main()
