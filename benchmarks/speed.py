"""Throughput of the component against a bare forward pass of its encoder on the same pieces, by number of types.

python benchmarks/speed.py

Everything is measured in turns within one run; the ratios are what counts. Texts are those of assets/corpus.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from itertools import chain
from pathlib import Path
from typing import Any

import spacy
import torch
from tqdm import tqdm
from wasabi import Printer

from spacy_uniner.hierarchy import read_hierarchy
from spacy_uniner.passages import Passage
from spacy_uniner.students.encoder import PREDICTION_PIECES, EncoderStudent
from spacy_uniner.students.rows import pack

CORPUS = Path("assets/corpus")


def read_texts(n_texts: int) -> list[str]:
    """Give the first texts of the corpus."""
    with (CORPUS / "passages.jsonl").open(encoding="utf8") as file:
        return [json.loads(line)["text"] for line, _ in zip(file, range(n_texts), strict=False)]


def draw_types(n_types: int) -> list[str]:
    """Draw type names of the corpus."""
    names = sorted(read_hierarchy(CORPUS / "types.tsv", []).wider)
    return random.Random(0).sample(names, n_types)


@torch.inference_mode()
def forward(student: EncoderStudent, batches: list[tuple[torch.Tensor, torch.Tensor]], bert: torch.nn.Module) -> None:
    """Run the encoder alone."""
    for ids, n_pieces in batches:
        bert(ids, n_pieces)


def main() -> None:
    """Print a table, and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pipeline", default=None, help="a pipeline; left out: the embedded student")
    parser.add_argument("--n-texts", type=int, default=1000)
    parser.add_argument("--n-types", type=int, nargs="+", default=[10, 200, 2000])
    parser.add_argument("--n-rounds", type=int, default=5)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--output", type=Path, default=None)
    args = parser.parse_args()
    started = time.perf_counter()
    nlp = spacy.blank("en")
    if args.pipeline:
        nlp = spacy.load(args.pipeline)
    else:
        nlp.add_pipe("universal_ner", config={"labels": ["person"], "model": {"precision": args.precision}})
    nlp("Ready?")
    seconds_ready = time.perf_counter() - started
    component: Any = nlp.get_pipe("universal_ner")
    student: EncoderStudent = component.model.shims[0]._model.get()
    texts = read_texts(args.n_texts)
    n_words = sum(len(nlp.make_doc(text)) for text in texts)
    passages = [Passage(tuple(token.text for token in nlp.make_doc(text))) for text in texts]
    batches = []
    for rows in pack(student._cut(passages), PREDICTION_PIECES):
        ids = [
            piece
            for row in rows
            for piece in (student.pieces.first, *chain.from_iterable(row.pieces), student.pieces.last)
        ]
        batches.append((torch.tensor(ids), torch.tensor([row.n_pieces for row in rows])))
    jobs: dict[str, Any] = {
        "encoder alone, float32": lambda: forward(student, batches, student.bert.eval()),
        f"encoder alone, {str(student.dtype).removeprefix('torch.')}": lambda: forward(
            student, batches, student._fast().bert
        ),
    }
    for n_types in args.n_types:
        types = draw_types(n_types)

        def annotate(types: list[str] = types) -> None:
            for _ in nlp.pipe(texts, component_cfg={"universal_ner": {"labels": types}}):
                pass

        jobs[f"nlp.pipe, {n_types} types"] = annotate
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in tqdm(range(args.n_rounds + 1), unit="round", leave=False):
        for name, job in jobs.items():
            started = time.perf_counter()
            job()
            seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(values[1:]) for name, values in seconds.items()}
    base, fast = list(medians.values())[:2]
    first = medians[f"nlp.pipe, {args.n_types[0]} types"]
    rows_out = [
        (name, f"{n_words / value:,.0f}", f"{base / value:.2f}", f"{fast / value:.2f}", f"{value / first:.2f}")
        for name, value in medians.items()
    ]
    header = ("what", "words/s", "speed / float32 encoder", "speed / same precision", "time / first types")
    Printer().table(rows_out, header=header, divider=True, aligns=("l", "r", "r", "r", "r"))
    print(
        f"ready {seconds_ready:.2f} s after add_pipe (imports of spaCy not counted); {torch.get_num_threads()} threads"
    )
    if args.output:
        report = {
            "command": " ".join(["python", *sys.argv]),
            "threads": torch.get_num_threads(),
            "n_texts": len(texts),
            "n_words": n_words,
            "seconds_ready": round(seconds_ready, 2),
            "rows": [dict(zip(header, row, strict=True)) for row in rows_out],
            "seconds": {name: [round(value, 3) for value in values] for name, values in seconds.items()},
        }
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf8")


if __name__ == "__main__":
    main()
