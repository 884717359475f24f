"""What fine-tuning on gold data does to the types that it does not hold, with and without distilled passages mixed in.

python benchmarks/forgetting.py --gold ../shared/datasets/conll2003 --data ../shared/datasets/zero-shot-dev
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import spacy
from spacy.tokens import DocBin
from wasabi import Printer
from zero_shot import evaluate, mean_f1, read_examples


def main() -> None:
    """Fine-tune once for each share of distilled passages; print and write the scores before and after."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gold", type=Path, required=True, help="folder with train.jsonl, dev.jsonl, labels.json")
    parser.add_argument("--data", type=Path, required=True, help="zero-shot datasets, see zero_shot.py")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.0, 0.5])
    parser.add_argument("--n-gold", type=int, default=500, help="gold sentences to train on")
    parser.add_argument("--n-dev", type=int, default=500, help="gold sentences to score")
    parser.add_argument("--n-steps", type=int, default=200)
    parser.add_argument("--limit", type=int, default=100, help="sentences of each zero-shot dataset")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/forgetting.json"))
    args = parser.parse_args()
    nlp = spacy.blank("en")
    nlp.add_pipe("universal_ner")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for part, n_docs in (("train", args.n_gold), ("dev", args.n_dev)):
            examples = read_examples(args.gold / f"{part}.jsonl", nlp, n_docs)
            DocBin(docs=[example.reference for example in examples]).to_disk(work / f"{part}.spacy")
        gold = read_examples(args.gold / "dev.jsonl", nlp, args.n_dev)
        labels = sorted(set(json.loads((args.gold / "labels.json").read_text(encoding="utf8")).values()))
        nlp.get_pipe("universal_ner").labels = labels  # type: ignore[attr-defined]
        before = 100 * nlp.evaluate(gold)["ents_f"]
        rows.append(
            {
                "trained": "not",
                "gold_f1": round(before, 2),
                "zero_shot_f1": mean_f1(evaluate(nlp, args.data, args.limit)),
            }
        )
        for share in args.shares:
            output = work / f"share-{share}"
            command = [sys.executable, "-m", "spacy", "train", "configs/finetune.cfg", "--output", str(output)]
            command += ["--paths.train", str(work / "train.spacy"), "--paths.dev", str(work / "dev.spacy")]
            command += ["--paths.checkpoint", str(work / f"checkpoint-{share}"), "--corpora.train.share", str(share)]
            command += ["--variables.n_steps", str(args.n_steps)]
            subprocess.run(command, check=True)
            tuned = spacy.load(output / "model-last")
            after = 100 * tuned.evaluate(read_examples(args.gold / "dev.jsonl", tuned, args.n_dev))["ents_f"]
            rows.append(
                {
                    "trained": f"distilled share {share}",
                    "gold_f1": round(after, 2),
                    "zero_shot_f1": mean_f1(evaluate(tuned, args.data, args.limit)),
                }
            )
    header = ("trained", "gold dev F1", "zero-shot mean F1")
    Printer().table([tuple(row.values()) for row in rows], header=header, divider=True)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    report = {"command": " ".join(["python", *sys.argv]), "settings": {**vars(args)}, "rows": rows}
    args.output.write_text(json.dumps(report, indent=2, default=str) + "\n", encoding="utf8")


if __name__ == "__main__":
    main()
