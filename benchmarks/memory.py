"""Resident memory while many short Docs pass through the component.

python benchmarks/memory.py --output benchmarks/results/memory.json

New words go into spaCy's vocabulary, which keeps them; `--n-corpus-words` bounds how many there are to meet.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import spacy
from tqdm import tqdm


def main() -> None:
    """Print and write the resident memory after every tenth of the Docs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n-docs", type=int, default=100_000)
    parser.add_argument("--n-words", type=int, default=12, help="words of each text")
    parser.add_argument("--n-corpus-words", type=int, default=0, help="make texts of the first so many words; 0: all")
    parser.add_argument("--output", type=Path, default=None)
    args = parser.parse_args()
    nlp = spacy.blank("en")
    nlp.add_pipe("universal_ner", config={"labels": ["person", "city", "protein", "space mission", "dish"]})
    with Path("assets/corpus/passages.jsonl").open(encoding="utf8") as file:
        words = [word for line in file for word in json.loads(line)["text"].split()]
    words = words[: args.n_corpus_words or None]

    def texts() -> Iterator[str]:
        stream = itertools.cycle(words)
        for _ in range(args.n_docs):
            yield " ".join(itertools.islice(stream, args.n_words))

    process = psutil.Process()
    points = []
    for n, _ in enumerate(tqdm(nlp.pipe(texts()), total=args.n_docs, unit="doc", leave=False), start=1):
        if n % max(1, args.n_docs // 10) == 0:
            points.append({"n_docs": n, "resident_mb": round(process.memory_info().rss / 1e6, 1)})
    for point in points:
        print(f"{point['n_docs']:>8} Docs  {point['resident_mb']:>8.1f} MB")
    if args.output:
        report = {"command": " ".join(["python", *sys.argv]), "n_words": args.n_words, "points": points}
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf8")


if __name__ == "__main__":
    main()
