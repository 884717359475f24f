"""Types of one passage asked of a causal language model: with a shared key/value cache, and one full prompt per type.

python benchmarks/generator.py --output benchmarks/results/generator.json

The model is a LLaMA of 100 M parameters with random weights, which never stops by itself: both ways write the same
number of tokens per answer. Each way and number of types runs in a process of its own, whose peak memory is read.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch

CORPUS = Path("assets/corpus/passages.jsonl")
WAYS = ("shared cache", "full prompts, one by one", "full prompts, one batch")
TYPES = [
    "person",
    "organization",
    "city",
    "country",
    "event",
    "date",
    "protein",
    "chemical compound",
    "disease",
    "song",
    "album",
    "band",
    "book",
    "writer",
    "politician",
    "political party",
    "university",
    "academic journal",
    "award",
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


def measure(folder: str, way: str, n_types: int, n_words: int, n_new: int, n_rounds: int) -> dict[str, Any]:
    """Measure one way in this process: seconds by the clock and of the processors, and memory."""
    from spacy_uniner.passages import Passage
    from spacy_uniner.students.answers import Asking
    from spacy_uniner.students.causal import CausalSettings
    from spacy_uniner.students.generator import GeneratorStudent

    torch.set_num_threads(2)
    student = GeneratorStudent(CausalSettings(folder, dtype="float32", device="cpu"), Asking(max_new_tokens=n_new))
    passage = Passage(read_words(n_words), tuple(TYPES[:n_types]))
    made = student.get()
    (part,), (prompts,), _ = student._cut(0, passage)
    decoder = student._get_decoder()
    decoder.stops = frozenset()
    made.tokenizer.pad_token, made.tokenizer.padding_side = "</s>", "left"

    def generate(texts: list[str]) -> list[list[int]]:
        asked = made.tokenizer(texts, return_tensors="pt", padding=True)
        length = asked["input_ids"].shape[1]
        said = made.model.generate(
            input_ids=asked["input_ids"],
            attention_mask=asked["attention_mask"],
            do_sample=False,
            max_new_tokens=n_new,
            min_new_tokens=n_new,
            pad_token_id=0,
        )
        return said[:, length:].tolist()

    run: Callable[[], Any] = {
        WAYS[0]: lambda: [answer.text for answer in decoder.answer([prompts])[0]],
        WAYS[1]: lambda: [made.tokenizer.decode(generate([prompt])[0]) for prompt in part.prompts],
        WAYS[2]: lambda: list(map(made.tokenizer.decode, generate(list(part.prompts)))),
    }[way]
    process = psutil.Process()
    generate(["Warm up."])
    before = process.memory_info().rss
    clock, processor, said = [], [], None
    for _ in range(n_rounds):
        times = process.cpu_times()
        start = time.perf_counter()
        said = run()
        clock.append(time.perf_counter() - start)
        after = process.cpu_times()
        processor.append(after.user + after.system - times.user - times.system)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "seconds": round(statistics.median(clock), 2),
        "processor_seconds": round(statistics.median(processor), 2),
        "peak_mb": round(peak / 1e6),
        "peak_mb_over_model": round((peak - before) / 1e6),
        "n_shared_tokens": len(prompts.shared),
        "n_rest_tokens": prompts.n_rest,
        "said": said,
    }


def main() -> None:
    """Print a table, and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n-types", type=int, nargs="+", default=[1, 5, 20])
    parser.add_argument("--n-words", type=int, default=200)
    parser.add_argument("--n-new", type=int, default=16, help="tokens of each answer")
    parser.add_argument("--n-rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=None)
    parser.add_argument("--only", type=json.loads, default=None, help="used by the script itself")
    args = parser.parse_args()
    if args.only:
        print(json.dumps(measure(**args.only)))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        n_parameters = make_model(Path(folder))
        for n_types in args.n_types:
            said = None
            for way in WAYS:
                only = {"folder": folder, "way": way, "n_types": n_types, "n_words": args.n_words}
                only |= {"n_new": args.n_new, "n_rounds": args.n_rounds}
                command = [sys.executable, __file__, "--only", json.dumps(only)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                row = {"n_types": n_types, "way": way, **json.loads(done.stdout.splitlines()[-1])}
                answers = row.pop("said")
                said = said or answers
                row["says_the_same"] = answers == said
                rows.append(row)
                print(row, flush=True)
    report = {
        "command": " ".join(["python", *sys.argv]),
        "threads": 2,
        "n_parameters": n_parameters,
        "n_words": args.n_words,
        "n_new_tokens": args.n_new,
        "rows": rows,
    }
    if args.output:
        args.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf8")


if __name__ == "__main__":
    main()
