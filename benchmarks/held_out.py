"""F1 on held-out distilled passages, asked for types that no training passage mentions, by threshold.

python benchmarks/held_out.py --output benchmarks/results/held_out.json

This, and never a dataset of the zero-shot benchmark, chooses the checkpoint and the default threshold.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import spacy
from spacy.language import Language
from tqdm import tqdm
from wasabi import Printer

from spacy_uniner.corpus import HeldOut

THRESHOLDS = tuple(i / 20 for i in range(1, 15))


def score_by_threshold(nlp: Language, thresholds: Sequence[float] = THRESHOLDS) -> list[dict[str, float]]:
    """Score a pipeline on the held-out passages, in percent, at each threshold; the last one stays set."""
    component: Any = nlp.get_pipe("universal_ner")
    examples = list(HeldOut("assets/corpus/passages.jsonl", "assets/corpus/types.tsv")(nlp))
    rows = []
    for threshold in tqdm(thresholds, unit="threshold", leave=False):
        component.cfg["threshold"] = threshold
        scores = nlp.evaluate(examples)
        rows.append({"threshold": threshold} | {k: round(100 * (scores[f"ents_{k}"] or 0.0), 2) for k in "prf"})
    return rows


def main() -> None:
    """Print a table, and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pipeline", default=None, help="a pipeline; left out: the embedded student")
    parser.add_argument("--precision", default="auto", help="of the embedded student")
    parser.add_argument("--thresholds", type=float, nargs="+", default=THRESHOLDS)
    parser.add_argument("--output", type=Path, default=None)
    args = parser.parse_args()
    if args.pipeline:
        nlp = spacy.load(args.pipeline)
    else:
        nlp = spacy.blank("en")
        nlp.add_pipe("universal_ner", config={"model": {"precision": args.precision}})
    rows = score_by_threshold(nlp, args.thresholds)
    best = max(rows, key=lambda row: row["f"])
    table = [(f"{row['threshold']:.2f}", *(f"{row[key]:.1f}" for key in "prf")) for row in rows]
    Printer().table(table, header=("threshold", "P", "R", "F1"), divider=True, aligns=("r", "r", "r", "r"))
    print(f"best: {best['threshold']:.2f}")
    if args.output:
        report = {"command": " ".join(["python", *sys.argv]), "rows": rows, "best": best}
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf8")


if __name__ == "__main__":
    main()
