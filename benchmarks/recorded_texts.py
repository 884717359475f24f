"""The texts of which a teacher's annotations are recorded, in the order of the dataset they are from.

python benchmarks/recorded_texts.py RECORDING DATASET.jsonl OUTPUT.jsonl --id-prefix conll-train-
"""

from __future__ import annotations

import argparse
from pathlib import Path

import srsly

from spacy_uniner.teacher.annotations import read_texts


def main() -> None:
    """Write id and text of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recording", type=Path, help="JSONL with the id of each text")
    parser.add_argument("dataset", type=Path, help="JSONL with tokens")
    parser.add_argument("output", type=Path)
    parser.add_argument("--id-prefix", default="")
    args = parser.parse_args()
    recorded = {record["id"] for record in srsly.read_jsonl(args.recording)}
    texts = [text for text in read_texts(args.dataset, args.id_prefix) if text.id in recorded]
    args.output.parent.mkdir(parents=True, exist_ok=True)
    srsly.write_jsonl(args.output, [{"id": text.id, "text": text.text} for text in texts])
    print(f"{len(texts)} of {len(recorded)} recorded texts written: {args.output}")


if __name__ == "__main__":
    main()
