"""What fine-tuning on gold data does to the types that it does not hold, with and without distilled passages mixed in.

python benchmarks/forgetting.py --gold ../shared/datasets/conll2003 --data ../shared/datasets
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
from spacy.language import Language
from spacy.tokens import Doc, DocBin, Span
from wasabi import Printer

from spacy_uniner.benchmark.analyses import f1_of
from spacy_uniner.benchmark.formats import Losses, read_jsonl_tokens
from spacy_uniner.benchmark.systems import OpenPipeline
from spacy_uniner.cli.benchmark import load_golds
from spacy_uniner.passages import Mention, Passage


def read_gold(folder: Path, split: str) -> list[Passage]:
    """Read a split with all its labels, under the names of labels.json."""
    names = json.loads((folder / "labels.json").read_text(encoding="utf8"))
    types = tuple(sorted(names.values()))
    return [
        Passage(s.words, types, tuple(Mention(start, end, names[label]) for start, end, label in s.spans))
        for s in read_jsonl_tokens(folder / f"{split}.jsonl", {}, Losses())
    ]


def write_docs(passages: Sequence[Passage], path: Path) -> None:
    """Write passages as gold Docs."""
    vocab = spacy.blank("en").vocab
    docs = DocBin()
    for passage in passages:
        doc = Doc(vocab, words=list(passage.words))
        doc.set_ents([Span(doc, m.start, m.end, m.type) for m in passage.mentions], default="outside")
        docs.add(doc)
    docs.to_disk(path)


def score(nlp: Language, gold: Sequence[Passage], others: Sequence[Sequence[Passage]]) -> dict[str, float]:
    """Score a pipeline on the gold dataset, and on the mean of the others; strict F1 in percent."""
    component: Any = nlp.get_pipe("universal_ner")
    system = OpenPipeline(nlp, component, "tuned")
    f1 = [f1_of(passages, system.find(passages)) for passages in (gold, *others)]
    return {"gold_f1": round(100 * f1[0], 2), "zero_shot_f1": round(100 * sum(f1[1:]) / len(others), 2)}


def main() -> None:
    """Fine-tune once for each share of distilled passages; print and write the scores before and after."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gold", type=Path, required=True, help="folder with train.jsonl, dev.jsonl, labels.json")
    parser.add_argument("--data", type=Path, required=True, help="folder with the zero-shot datasets")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.0, 0.5])
    parser.add_argument("--n-gold", type=int, default=500, help="gold sentences to train on")
    parser.add_argument("--n-dev", type=int, default=500, help="gold sentences to score")
    parser.add_argument("--n-steps", type=int, default=200)
    parser.add_argument("--limit", type=int, default=100, help="sentences of each zero-shot dataset")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/forgetting.json"))
    args = parser.parse_args()
    nlp = spacy.blank("en")
    nlp.add_pipe("universal_ner")
    train, gold = (read_gold(args.gold, split) for split in ("train", "dev"))
    gold = gold[: args.n_dev]
    others = [dataset.passages[: args.limit] for dataset in load_golds("zero-shot-7", "dev", args.data, Path())]
    rows: list[dict[str, Any]] = [{"trained": "not"} | score(nlp, gold, others)]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        write_docs(train[: args.n_gold], work / "train.spacy")
        write_docs(gold, work / "dev.spacy")
        for share in args.shares:
            output = work / f"share-{share}"
            command = [sys.executable, "-m", "spacy", "train", "configs/finetune.cfg", "--output", str(output)]
            command += ["--paths.train", str(work / "train.spacy"), "--paths.dev", str(work / "dev.spacy")]
            command += ["--paths.checkpoint", str(work / f"checkpoint-{share}"), "--corpora.train.share", str(share)]
            command += ["--variables.n_steps", str(args.n_steps)]
            subprocess.run(command, check=True)
            tuned = spacy.load(output / "model-last")
            rows.append({"trained": f"distilled share {share}"} | score(tuned, gold, others))
    header = ("trained", "gold dev F1", "zero-shot mean F1")
    Printer().table([tuple(row.values()) for row in rows], header=header, divider=True)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    report = {"command": " ".join(["python", *sys.argv]), "settings": {**vars(args)}, "rows": rows}
    args.output.write_text(json.dumps(report, indent=2, default=str) + "\n", encoding="utf8")


if __name__ == "__main__":
    main()
