"""Throughput beside GLiNER's, on the same texts and types, and the latency of a single text.

python benchmarks/throughput.py --encoder FOLDER --output benchmarks/results/throughput.json

GLiNER is made from a config, with the same MiniLM as backbone and random weights elsewhere, since only its speed is
asked; it finds next to nothing at a threshold of 0.99, which spares it the work on what is found. Its uni-encoder reads
the types before the text, so it is asked in groups of types that fit the backbone's 512 positions. Its bi-encoder has
the vectors of the types beforehand, as ours has after the first text. "gliner-spacy" is the uni-encoder in the way in
which that package calls it, one text after the other. Everything is measured in turns within one run: compare ratios.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import spacy
import torch
from gliner.config import BiEncoderSpanConfig, UniEncoderSpanConfig
from gliner.model import BiEncoderSpanGLiNER, UniEncoderSpanGLiNER
from speed import draw_types, read_texts
from tqdm import tqdm
from wasabi import Printer

THRESHOLD = 0.99
TYPES_IN_PROMPT = 50  # of about six pieces each, so that a passage fits behind them


def make_gliner(encoder: str, *, bi_encoder: bool) -> Any:
    """Make a GLiNER on an encoder."""
    sizes = {"model_name": encoder, "hidden_size": 384, "max_width": 12, "dropout": 0.0, "span_mode": "markerV0"}
    config = BiEncoderSpanConfig(labels_encoder=encoder, **sizes) if bi_encoder else UniEncoderSpanConfig(**sizes)
    return (BiEncoderSpanGLiNER if bi_encoder else UniEncoderSpanGLiNER).load_from_config(config).eval()


def ask_in_groups(model: Any, texts: list[str], types: list[str], batch_size: int) -> None:
    """Ask a uni-encoder for types, as many at once as it can read."""
    for first in range(0, len(types), TYPES_IN_PROMPT):
        model.inference(texts, types[first : first + TYPES_IN_PROMPT], threshold=THRESHOLD, batch_size=batch_size)


def time_once(job: Callable[[], Any]) -> float:
    started = time.perf_counter()
    job()
    return time.perf_counter() - started


def main() -> None:
    """Print a table, and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", required=True, help="folder of the MiniLM that GLiNER gets")
    parser.add_argument("--n-texts", type=int, default=64)
    parser.add_argument("--n-types", type=int, nargs="+", default=[5, 25, 100, 1000])
    parser.add_argument("--n-rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=None)
    args = parser.parse_args()
    pipelines = {}
    for precision in ("auto", "float32"):
        nlp = spacy.blank("en")
        nlp.add_pipe("universal_ner", config={"labels": ["person"], "model": {"precision": precision}})
        pipelines[precision] = nlp
    uni, bi = make_gliner(args.encoder, bi_encoder=False), make_gliner(args.encoder, bi_encoder=True)
    texts = read_texts(args.n_texts)
    n_words = sum(len(pipelines["auto"].make_doc(text)) for text in texts)
    rows = []
    for n_types in args.n_types:
        types = draw_types(n_types)
        vectors = bi.encode_labels(types, batch_size=64)

        def ours(nlp: Any, types: list[str] = types) -> None:
            for _ in nlp.pipe(texts, component_cfg={"universal_ner": {"labels": types}}):
                pass

        jobs: dict[str, Callable[[], Any]] = {
            "universal_ner": lambda: ours(pipelines["auto"]),
            "universal_ner, float32": lambda: ours(pipelines["float32"]),
            "GLiNER bi-encoder": lambda types=types, vectors=vectors: bi.batch_predict_with_embeds(
                texts, vectors, types, threshold=THRESHOLD, batch_size=8
            ),
            "GLiNER uni-encoder": lambda types=types: ask_in_groups(uni, texts, types, 8),
            "gliner-spacy's way": lambda types=types: [ask_in_groups(uni, [text], types, 1) for text in texts],
        }
        slow = n_types > 100  # these take minutes
        seconds: dict[str, list[float]] = {name: [] for name in jobs}
        for n_round in tqdm(range(args.n_rounds + 1), desc=f"{n_types} types", unit="round", leave=False):
            for name, job in jobs.items():
                if not (slow and n_round > 1 and name in ("GLiNER uni-encoder", "gliner-spacy's way")):
                    seconds[name].append(time_once(job))
        medians = {name: statistics.median(values[1:]) for name, values in seconds.items()}
        base = medians["universal_ner"]
        rows += [
            {
                "types": n_types,
                "system": name,
                "words_per_second": round(n_words / value),
                "ours_is_faster_by": round(value / base, 2),
                "ours_in_float32_is_faster_by": round(value / medians["universal_ner, float32"], 2),
            }
            for name, value in medians.items()
        ]
    words = [token.text_with_ws for token in pipelines["auto"].make_doc(" ".join(texts))]
    latencies = {}
    for precision, nlp in pipelines.items():
        short = ["".join(words[n : n + 20]) for n in range(0, 4000, 20)]
        nlp.get_pipe("universal_ner").labels = draw_types(10)
        times = [time_once(lambda text=text, nlp=nlp: nlp(text)) for text in short]
        latencies[precision] = round(1000 * statistics.median(times[20:]), 2)
    Printer().table([tuple(row.values()) for row in rows], header=tuple(rows[0]), divider=True)
    print(f"median milliseconds of a text of 20 words with 10 types: {latencies}")
    if args.output:
        report = {"command": " ".join(["python", *sys.argv]), "threads": torch.get_num_threads(), "n_texts": len(texts)}
        report |= {"n_words": n_words, "rows": rows, "latency_ms_20_words_10_types": latencies}
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf8")


if __name__ == "__main__":
    main()
