"""Whether the student knows which type implies which, for types that no training passage mentions.

python benchmarks/implication.py --output benchmarks/results/implication.json

Pairs are of types that only held-out passages mention, with names that assets/corpus/types.tsv gives them; these rows
of the table were kept out of training. "wider": is it told that the type implies its wider name? The others ask for
what is not so: "reversed", the wider name implying the type; "sibling", a type under the same nearest wider name;
"stranger", a wider name of another held-out type that is none of its own.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from pathlib import Path
from typing import Any

import spacy
import torch
from wasabi import Printer

from spacy_uniner.corpus import DistilledPassages
from spacy_uniner.hierarchy import Hierarchy, read_hierarchy

CORPUS = Path("assets/corpus")


def make_pairs(hierarchy: Hierarchy, unseen: frozenset[str], seed: int) -> dict[str, list[tuple[str, str]]]:
    """Make pairs (narrow, wide) of each kind; the wide ones and the siblings as many as there are types."""
    rng = random.Random(seed)
    types = sorted(type_ for type_ in unseen if hierarchy.wider.get(type_))
    all_wider = sorted({name for type_ in types for name in hierarchy.wider[type_]})
    pairs: dict[str, list[tuple[str, str]]] = {"wider": [], "reversed": [], "sibling": [], "stranger": []}
    for type_ in types:
        wide = rng.choice(hierarchy.wider[type_])
        pairs["wider"].append((type_, wide))
        pairs["reversed"].append((wide, type_))
        siblings = sorted(hierarchy.siblings(type_))
        if siblings:
            pairs["sibling"].append((type_, rng.choice(siblings)))
        strangers = [name for name in all_wider if name not in hierarchy.names(type_)]
        pairs["stranger"].append((type_, rng.choice(strangers)))
    return pairs


@torch.no_grad()
def main() -> None:
    """Print a table, and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pipeline", default=None, help="a pipeline; left out: the embedded student")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=None)
    args = parser.parse_args()
    nlp = spacy.load(args.pipeline) if args.pipeline else spacy.blank("en")
    if not args.pipeline:
        nlp.add_pipe("universal_ner")
    component: Any = nlp.get_pipe("universal_ner")
    student = component.model.shims[0]._model.get()
    student._forget_if_changed()
    corpus = DistilledPassages(CORPUS / "passages.jsonl", CORPUS / "types.tsv", spacy.blank("en"))
    pairs = make_pairs(read_hierarchy(CORPUS / "types.tsv", corpus.all), corpus.unseen, args.seed)
    rows = []
    for kind, of_kind in pairs.items():
        names = tuple(sorted({name for pair in of_kind for name in pair}))
        number = {name: n for n, name in enumerate(names)}
        implies = student._implication_logits(student._remembered(names)) > 0.0
        n_right = sum(bool(implies[number[a], number[b]]) == (kind == "wider") for a, b in of_kind)
        rows.append({"kind": kind, "n_pairs": len(of_kind), "right": round(100 * n_right / len(of_kind), 1)})
    table = [(row["kind"], row["n_pairs"], f"{row['right']:.1f}") for row in rows]
    Printer().table(table, header=("pairs", "number", "right, percent"), divider=True, aligns=("l", "r", "r"))
    if args.output:
        report = {"command": " ".join(["python", *sys.argv]), "rows": rows}
        args.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf8")


if __name__ == "__main__":
    main()
