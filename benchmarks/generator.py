"""Types of one passage asked of a causal language model: with a shared key/value cache, and one full prompt per type.

OMP_WAIT_POLICY=PASSIVE python benchmarks/generator.py --output benchmarks/results/generator.json

The model is a LLaMA of 100 M parameters with random weights, which never stops by itself: both ways write the same
number of tokens per answer. Both ways run in turns in one process. Where a machine is shared with others, the time of
the processors tells more than that of the clock, if threads do not spin while they wait (OMP_WAIT_POLICY).
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch

from spacy_uniner.passages import Passage
from spacy_uniner.students.answers import Asking
from spacy_uniner.students.causal import CausalSettings
from spacy_uniner.students.generator import GeneratorStudent

CORPUS = Path("assets/corpus/passages.jsonl")
TYPES = [
    *("person", "organization", "city", "country", "event", "date", "protein", "chemical compound", "disease", "song"),
    *("album", "band", "book", "writer", "politician", "political party", "university", "academic journal", "award"),
    "astronomical object",
]


def read_words(n_words: int) -> tuple[str, ...]:
    """Give the first words of the corpus."""
    words: list[str] = []
    with CORPUS.open(encoding="utf8") as file:
        for line in file:
            words += json.loads(line)["text"].split()
            if len(words) >= n_words:
                break
    return tuple(words[:n_words])


def make_model(folder: Path) -> int:
    """Save a random model with a tokenizer trained on the corpus. RETURNS: its number of parameters."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    with CORPUS.open(encoding="utf8") as file:
        texts = [json.loads(line)["text"] for line in file]
    trainer = trainers.BpeTrainer(
        vocab_size=16_000, special_tokens=["</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>")
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=768,
        intermediate_size=2048,
        num_hidden_layers=12,
        num_attention_heads=12,
        num_key_value_heads=12,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        eos_token_id=fast.eos_token_id,
    )
    model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    return sum(parameter.numel() for parameter in model.parameters())


class Peak:
    """The most resident memory of this process while it is entered, in bytes; looked at every 5 ms."""

    def __enter__(self) -> Peak:
        self.n_bytes = 0
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        process = psutil.Process()
        while not self._is_over.wait(0.005):
            self.n_bytes = max(self.n_bytes, process.memory_info().rss)


def make_ways(student: GeneratorStudent, passage: Passage, n_new: int) -> dict[str, Callable[[], list[str]]]:
    """Give both ways to ask the types of a passage."""
    made, decoder = student.get(), student._get_decoder()
    decoder.stops = frozenset()
    (part,), (prompts,), _ = student._cut(0, passage)

    def write(prompt: str) -> str:
        asked = made.tokenizer(prompt, return_tensors="pt")
        said = made.model.generate(
            input_ids=asked["input_ids"],
            attention_mask=asked["attention_mask"],
            do_sample=False,
            max_new_tokens=n_new,
            min_new_tokens=n_new,
            pad_token_id=0,
        )
        return made.tokenizer.decode(said[0, asked["input_ids"].shape[1] :], clean_up_tokenization_spaces=False)

    return {
        "shared cache": lambda: [answer.text for answer in decoder.answer([prompts])[0]],
        "one full prompt per type": lambda: [write(prompt) for prompt in part.prompts],
    }


def measure(ways: dict[str, Callable[[], list[str]]], n_rounds: int) -> list[dict[str, Any]]:
    """Measure both ways: seconds by the clock and of the processors (medians), and memory over that of the model."""
    process = psutil.Process()
    clock: dict[str, list[float]] = {way: [] for way in ways}
    processor: dict[str, list[float]] = {way: [] for way in ways}
    memory = dict.fromkeys(ways, 0.0)
    said: dict[str, list[str]] = {}
    for _ in range(n_rounds):
        for way, run in ways.items():
            gc.collect()
            before, times, start = process.memory_info().rss, process.cpu_times(), time.perf_counter()
            with Peak() as peak:
                said[way] = run()
            clock[way].append(time.perf_counter() - start)
            after = process.cpu_times()
            processor[way].append(after.user + after.system - times.user - times.system)
            memory[way] = max(memory[way], (peak.n_bytes - before) / 1e6)
    plain = said["one full prompt per type"]
    return [
        {
            "way": way,
            "seconds": round(statistics.median(clock[way]), 2),
            "processor_seconds": round(statistics.median(processor[way]), 2),
            "mb_over_model": round(memory[way]),
            "answers_as_plain": sum(a == b for a, b in zip(said[way], plain)),
        }
        for way in ways
    ]


def main() -> None:
    """Print a table, and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n-types", type=int, nargs="+", default=[1, 5, 20])
    parser.add_argument("--n-words", type=int, default=200)
    parser.add_argument("--n-new", type=int, default=16, help="tokens of each answer")
    parser.add_argument("--n-rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=None)
    args = parser.parse_args()
    torch.set_num_threads(2)
    words, rows = read_words(args.n_words), []
    with tempfile.TemporaryDirectory() as folder:
        n_parameters = make_model(Path(folder))
        settings = CausalSettings(folder, dtype="float32", device="cpu")
        student = GeneratorStudent(settings, Asking(max_new_tokens=args.n_new))
        measure(make_ways(student, Passage(words[:20], ("warm up",)), args.n_new), 1)
        for n_types in args.n_types:
            passage = Passage(words, tuple(TYPES[:n_types]))
            ((prompts,),) = (student._cut(0, passage)[1],)
            both = measure(make_ways(student, passage, args.n_new), args.n_rounds)
            ratios = {
                f"{time} ratio": round(both[1][time] / both[0][time], 2) for time in ("seconds", "processor_seconds")
            }
            rows.append({"n_types": n_types, "n_shared_tokens": len(prompts.shared), **ratios, "ways": both})
            print(json.dumps(rows[-1]), flush=True)
    report = {
        "command": " ".join(["python", *sys.argv]),
        "threads": 2,
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "not set"),
        "n_parameters": n_parameters,
        "n_words": args.n_words,
        "n_new_tokens": args.n_new,
        "rows": rows,
    }
    if args.output:
        args.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf8")


if __name__ == "__main__":
    main()
