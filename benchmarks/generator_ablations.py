"""What one choice in the recipe is worth: builds the data of each arm, tunes a model on it, scores held-out passages.

All arms are scored on the same held-out passages with the same types, each asked in the form that it was tuned with.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import spacy
import srsly
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from spacy_uniner.configs_folder import find_configs
from spacy_uniner.conversation import parse_reply, parse_reply_to_all, prompt_of, prompt_of_all, write_turns
from spacy_uniner.hierarchy import Hierarchy, read_hierarchy
from spacy_uniner.passages import Passage
from spacy_uniner.recipe.build import Recipe, distill
from spacy_uniner.recipe.conversations import Form
from spacy_uniner.recipe.sources import read_source
from spacy_uniner.recipe.tagging import make_tagging_turns, parse_tagging
from spacy_uniner.tuning.run import tune
from spacy_uniner.tuning.settings import Tuning

Answers = dict[str, tuple[str, ...]]


def write_prompts(passage: Passage, form: Form) -> list[str]:
    """Write what a model tuned in a form is asked about a passage."""
    if form == "one-by-one":
        return [prompt_of(passage, type_) for type_ in passage.types]
    if form == "all-in-one":
        return [prompt_of_all(passage)]
    return [write_turns(make_tagging_turns(passage)[:1]) + "ASSISTANT:"]


def read_replies(replies: Sequence[str], passage: Passage, form: Form) -> Answers:
    """Read the surface forms of each type from the replies to `write_prompts`."""
    if form == "one-by-one":
        return {type_: parse_reply(reply).surfaces for type_, reply in zip(passage.types, replies)}
    if form == "all-in-one":
        found = parse_reply_to_all(replies[0], passage.types)
        return {type_: reply.surfaces for type_, reply in zip(passage.types, found)}
    return parse_tagging(replies[0], passage.types)


def generate(model: Any, tokenizer: Any, prompts: Sequence[str], max_new_tokens: int) -> list[str]:
    """Write greedy replies to prompts, as one batch."""
    device = model.device
    batch = tokenizer(list(prompts), return_tensors="pt", padding=True, padding_side="left").to(device)
    batch.pop("token_type_ids", None)
    with torch.no_grad():
        written = model.generate(
            **batch, max_new_tokens=max_new_tokens, do_sample=False, pad_token_id=tokenizer.pad_token_id
        )
    return list(tokenizer.batch_decode(written[:, batch["input_ids"].shape[1] :], skip_special_tokens=True))


def score(model: Any, tokenizer: Any, passages: Sequence[Passage], form: Form, max_new_tokens: int) -> dict[str, float]:
    """Score a model on passages: micro precision, recall and F1 of pairs of type and surface form, in percent."""
    n_found = n_gold = n_correct = 0
    for passage in passages:
        replies = generate(model, tokenizer, write_prompts(passage, form), max_new_tokens)
        answers = read_replies(replies, passage, form)
        found = {(type_, surface) for type_, surfaces in answers.items() for surface in surfaces}
        gold = {(m.type, " ".join(passage.words[m.start : m.end])) for m in passage.mentions}
        n_found, n_gold, n_correct = n_found + len(found), n_gold + len(gold), n_correct + len(found & gold)
    return {
        "precision": 100 * n_correct / max(1, n_found),
        "recall": 100 * n_correct / max(1, n_gold),
        "f1": 200 * n_correct / max(1, n_found + n_gold),
    }


def run(name: str, sources: dict[str, Path], names: Path | None, model: str, output: Path, args: Any) -> dict[str, Any]:
    """Run all arms of an ablation.

    RETURNS: for each arm the recipe, what was counted in the data, the losses and the scores.
    """
    arms = srsly.read_yaml(find_configs() / "generator_ablations.yml")[name]
    nlp = spacy.blank("en")
    results = {}
    for arm, changes in arms.items():
        source = changes.pop("source", "types")
        if source not in sources:
            raise SystemExit(f"The arm '{arm}' needs the teacher's {source}. Give the file with --{source}.")
        read = read_source(sources[source], nlp)
        read = replace(read, passages=read.passages[: args.limit or None])
        hierarchy = read_hierarchy(names, read.passages) if names else Hierarchy()
        made = distill(read, hierarchy, replace(Recipe(seed=args.seed), **changes))
        held_out = distill(
            read,
            hierarchy,
            replace(Recipe(seed=args.seed), **{**changes, "negatives": "frequency", "other_names": 0.0}),
        ).held_out
        tuning = Tuning(**json.loads(args.tuning), seed=args.seed)
        folder = output / arm.replace(" ", "-")
        losses = tune(made.conversations, model, folder, tuning)
        student = AutoModelForCausalLM.from_pretrained(folder).eval()
        if torch.cuda.is_available():
            student = student.cuda()
        tokenizer = AutoTokenizer.from_pretrained(folder)
        tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
        scores = score(
            student, tokenizer, held_out[: args.n_scored], made.report["recipe"]["form"], args.max_new_tokens
        )
        results[arm] = {
            "recipe": made.report["recipe"],
            "data": made.report["conversations"],
            "losses": losses,
            "scores": scores,
        }
        print(f"{arm:16} P {scores['precision']:5.1f}  R {scores['recall']:5.1f}  F1 {scores['f1']:5.1f}", flush=True)
    return {"ablation": name, "model": model, "tuning": asdict(tuning), "arms": results}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=list(srsly.read_yaml(find_configs() / "generator_ablations.yml")))
    parser.add_argument("--model", required=True, help="folder or name of a LLaMA-like causal model")
    parser.add_argument("--output", type=Path, required=True, help="folder for a model of each arm, and results.json")
    parser.add_argument("--types", type=Path, default=Path("assets/corpus/passages.jsonl"), help="what a teacher gave")
    parser.add_argument("--definitions", type=Path, help="the same, with definitions as types")
    parser.add_argument("--names", type=Path, default=Path("assets/corpus/types.tsv"), help="other names of types")
    parser.add_argument("--tuning", default="{}", help="settings that differ from the paper's, as JSON")
    parser.add_argument("--limit", type=int, default=0, help="read so many passages; 0 for all")
    parser.add_argument("--n-scored", type=int, default=500, help="score so many held-out passages")
    parser.add_argument("--max-new-tokens", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    sources = {"types": args.types} | ({"definitions": args.definitions} if args.definitions else {})
    results = run(args.name, sources, args.names, args.model, args.output, args)
    (args.output / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf8")


if __name__ == "__main__":
    main()
