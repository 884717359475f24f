"""How to mix distilled and original data: every schedule of a config, for several numbers of original sentences and
several seeds, with the same number of updates; the paper's phases 2 and 3 (Huang et al. 2024).

python benchmarks/regimens.py tok2vec --annotations FILE --data ../shared/datasets/conll2003

The distilled sentences are annotated by a teacher; the original ones are drawn, anew for each seed, from those of the
training data that the teacher did not annotate. Nothing is chosen on the dev sentences that are scored: the last
pipeline of each training counts. What the working folder holds already is not done again.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import random
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import spacy
import srsly
from forgetting import write_docs
from matplotlib.figure import Figure
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from spacy.training.initialize import init_nlp
from spacy.training.loop import train
from spacy.util import load_config
from thinc.api import require_cpu
from tqdm import tqdm
from wasabi import Printer

from spacy_uniner.benchmark.formats import Losses, read_jsonl_tokens
from spacy_uniner.benchmark.metrics import Counts, micro, strict_counts
from spacy_uniner.benchmark.statistics import paired_test_of_means
from spacy_uniner.passages import Mention, Passage
from spacy_uniner.teacher.annotations import read_annotations

REGIMENS = ("original_only", "distilled_only", "union", "simple_mix", "reversed", "multi_stage")
BLENDS = ("linear", "cosine", "sigmoid", "power_decay", "exponential")
COLORS = {
    "original_only": "black",
    "simple_mix": "tab:red",
    "distilled_only": "tab:gray",
    "union": "tab:blue",
    "reversed": "tab:green",
    "multi_stage": "tab:purple",
    "linear": "tab:blue",
    "cosine": "tab:cyan",
    "sigmoid": "tab:green",
    "power_decay": "tab:purple",
    "exponential": "tab:orange",
}


@dataclass(frozen=True)
class Setting:
    """One training.

    schedule: its name in the config.
    n_original: how many original sentences there are; 0 where the schedule asks for none.
    seed: of the sentences, the weights and the order.
    """

    schedule: str
    n_original: int
    seed: int

    def __str__(self) -> str:
        return f"{self.schedule}-{self.n_original}-{self.seed}"


def read_passages(folder: Path, split: str) -> list[Passage]:
    """Read a split under its own labels."""
    labels = tuple(json.loads((folder / "labels.json").read_text(encoding="utf8")))
    return [
        Passage(s.words, labels, tuple(Mention(start, end, label) for start, end, label in s.spans))
        for s in read_jsonl_tokens(folder / f"{split}.jsonl", {}, Losses())
    ]


def read_distilled(path: Path, labels: Sequence[str]) -> list[Passage]:
    """Read what a teacher annotated, cut into words at the blanks, as the dataset has them; say what was lost."""
    nlp = spacy.blank("en")
    nlp.tokenizer = lambda text: Doc(nlp.vocab, words=text.split(" "))
    passages, losses = read_annotations(path, labels, nlp)
    print(f"{len(passages)} distilled sentences; lost: {dict(losses) or 'nothing'}")
    return passages


def find_label_data(labels: Sequence[str]) -> Any:
    """Give labels in the form in which spaCy's `ner` is initialized with them."""
    nlp = spacy.blank("en")
    component: Any = nlp.add_pipe("ner")
    doc = Doc(nlp.vocab, words=list(labels), ents=[f"B-{label}" for label in labels])
    nlp.initialize(lambda: [Example(doc, doc)])
    return component.label_data


def draw_original(pool: Sequence[Passage], setting: Setting) -> list[Passage]:
    """Draw original sentences; fewer ones of a seed are among the more."""
    return random.Random(setting.seed).sample(pool, len(pool))[: setting.n_original]


def train_pipeline(
    config: Path, setting: Setting, files: Mapping[str, Path], variables: Mapping[str, Any], more: Mapping[str, Any]
) -> Language:
    """Train without a checkpoint and without looking at scores; give the last pipeline."""
    never = 10**6
    overrides = {f"paths.{name}": str(path) for name, path in files.items()}
    overrides |= {f"variables.{name}": value for name, value in variables.items()}
    overrides |= {"paths.log": None, "system.seed": setting.seed, "training.eval_frequency": never}
    overrides |= {"corpora.dev.limit": 1, "training.before_update": None, "initialize.after_init": None, **more}
    overrides["variables.schedule"] = setting.schedule
    nlp = init_nlp(load_config(config, overrides, interpolate=False))
    train(nlp, None, stdout=io.StringIO(), stderr=sys.stderr)
    return nlp


def count_by_sentence(nlp: Language, gold: Sequence[Passage]) -> list[list[float]]:
    """Give, of each sentence, how many mentions are correct, found, and in the gold."""
    docs = nlp.pipe((Doc(nlp.vocab, words=list(passage.words)) for passage in gold), batch_size=128)
    rows = []
    for passage, doc in zip(gold, docs, strict=True):
        found = tuple(Mention(ent.start, ent.end, ent.label_) for ent in doc.ents)
        counts = micro(strict_counts(passage, found))
        rows.append([counts.n_correct, counts.n_found, counts.n_gold])
    return rows


def to_counts(rows: Sequence[Sequence[float]]) -> list[Counts]:
    return [Counts(correct, int(found), int(gold)) for correct, found, gold in rows]


def f1_of(rows: Sequence[Sequence[float]]) -> float:
    """Give micro-F1 in percent."""
    correct, found, gold = (sum(column) for column in zip(*rows, strict=True))
    return 200 * correct / max(1, found + gold)


def summarize(runs: Mapping[Setting, Sequence[Sequence[float]]]) -> list[dict[str, Any]]:
    """Give mean and deviation over seeds of each schedule and size, and the paired difference from original only."""
    rows = []
    for schedule, n_original in sorted({(s.schedule, s.n_original) for s in runs}, key=lambda key: (key[1], key[0])):
        of_seed = {s.seed: counts for s, counts in runs.items() if (s.schedule, s.n_original) == (schedule, n_original)}
        f1 = [f1_of(counts) for counts in of_seed.values()]
        row: dict[str, Any] = {"schedule": schedule, "n_original": n_original, "n_seeds": len(f1)}
        row |= {"f1": round(mean(f1), 2), "deviation": round(stdev(f1), 2) if len(f1) > 1 else None}
        base = {seed: runs.get(Setting("original_only", n_original, seed)) for seed in of_seed}
        if schedule != "original_only" and all(base.values()):
            test = paired_test_of_means(
                {str(seed): to_counts(counts) for seed, counts in base.items() if counts},
                {str(seed): to_counts(counts) for seed, counts in of_seed.items()},
                n_resamples=2000,
            )
            row["gain"] = round(100 * test.difference, 2)
            row["gain_interval"] = [round(100 * test.low, 2), round(100 * test.high, 2)]
            row["p_value"] = round(test.p_value, 4)
        rows.append(row)
    return rows


def to_markdown(rows: Sequence[Mapping[str, Any]], sizes: Sequence[int]) -> str:
    """Write a table: a line for each schedule, a column for each number of original sentences."""
    cells = {(row["schedule"], row["n_original"]): row for row in rows}
    lines = ["| Schedule | " + " | ".join(f"{n:,} original" for n in sizes) + " |", "| --- |" + " --- |" * len(sizes)]
    for schedule in (*REGIMENS, *BLENDS):
        found = [cells.get((schedule, n)) or cells.get((schedule, 0)) for n in sizes]
        if any(found):
            lines.append(f"| {schedule.replace('_', ' ')} | " + " | ".join(map(to_cell, found)) + " |")
    return "\n".join(lines) + "\n"


def to_cell(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return ""
    deviation = "" if row["deviation"] is None else f" ± {row['deviation']:.1f}"
    sign = "*" if row.get("p_value", 1.0) < 0.05 else ""
    return f"{row['f1']:.1f}{deviation}{sign}"


def draw(rows: Sequence[Mapping[str, Any]], sizes: Sequence[int], path: Path) -> None:
    """Draw F1 over the number of original sentences, a line for each schedule."""
    figure = Figure(figsize=(9.0, 3.8))
    for axes, schedules in zip(
        figure.subplots(1, 2, sharey=True), (REGIMENS, ("original_only", "simple_mix", *BLENDS))
    ):
        for schedule in schedules:
            of_one = {row["n_original"]: row for row in rows if row["schedule"] == schedule}
            points = [(n, of_one.get(n) or of_one.get(0)) for n in sizes]
            known = [(n, row["f1"], row["deviation"] or 0.0) for n, row in points if row]
            if known:
                color = COLORS[schedule]
                axes.errorbar(
                    *zip(*known),
                    color=color,
                    linestyle="--" if schedule == "original_only" else "-",
                    marker="o",
                    markersize=3,
                    capsize=2,
                    linewidth=1.2,
                    label=schedule.replace("_", " "),
                )
        axes.set_xscale("log")
        axes.set_xticks(sizes, [f"{n:,}" for n in sizes])
        axes.minorticks_off()
        axes.set_xlabel("original sentences")
        axes.legend(frameon=False, fontsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("F1 on dev, percent")
    figure.axes[0].set_title("regimens", fontsize=9)
    figure.axes[1].set_title("blends", fontsize=9)
    figure.savefig(path, bbox_inches="tight")


def main() -> None:
    """Train what is missing; print and write the table after every training."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="of the results: NAME.json, NAME.md, NAME.svg")
    parser.add_argument("--config", type=Path, default=Path("configs/curriculum.cfg"))
    parser.add_argument("--encoder", default=None, help="folder of the encoder, for configs/transformer.cfg")
    parser.add_argument("--annotations", type=Path, required=True, help="of sentences, by `uniner annotate`")
    parser.add_argument("--data", type=Path, required=True, help="folder with train.jsonl, dev.jsonl, labels.json")
    parser.add_argument("--sizes", type=int, nargs="+", default=[50, 100, 250, 1000], help="original sentences")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--schedules", nargs="+", default=[*REGIMENS, *BLENDS])
    parser.add_argument("--n-steps", type=int, default=400)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--limit", type=int, default=None, help="dev sentences to score; left out: all")
    parser.add_argument("--work", type=Path, default=Path("training/regimens"))
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/regimens"))
    args = parser.parse_args()
    require_cpu()
    gold = read_passages(args.data, "dev")[: args.limit]
    distilled = read_distilled(args.annotations, gold[0].types)
    annotated = {passage.words for passage in distilled}
    pool = [passage for passage in read_passages(args.data, "train") if passage.words not in annotated]
    work = args.work / args.name
    work.mkdir(parents=True, exist_ok=True)
    same = {"config": args.config, "annotations": args.annotations}
    settings_of_runs = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in same.items()}
    settings_of_runs |= {"n_steps": args.n_steps, "batch_size": args.batch_size, "n_dev": len(gold)}
    if (work / "settings.json").exists() and srsly.read_json(work / "settings.json") != settings_of_runs:
        parser.error(f"{work} has trainings with other settings, see its settings.json. Give another name or --work.")
    srsly.write_json(work / "settings.json", settings_of_runs)
    srsly.write_json(work / "labels.json", find_label_data(gold[0].types))
    write_docs(gold[:1], work / "dev.spacy")
    write_docs(distilled, work / "distilled.spacy")
    settings = [
        Setting(schedule, 0 if schedule == "distilled_only" else n, seed)
        for seed in args.seeds
        for n in args.sizes
        for schedule in args.schedules
        if schedule != "distilled_only" or n == args.sizes[0]
    ]
    runs: dict[Setting, list[list[float]]] = {}
    for setting in tqdm(settings, unit="training"):
        path = work / f"{setting}.json"
        if not path.exists():
            original = draw_original(pool, setting)
            write_docs(original or pool[:1], work / "original.spacy")
            files = {"train": work / "original.spacy", "distilled": work / "distilled.spacy", "dev": work / "dev.spacy"}
            files |= {"labels": work / "labels.json", "curve": work / "curve.jsonl"}
            if args.encoder:
                files["encoder"] = Path(args.encoder)
            variables = {"n_steps": args.n_steps, "batch_size": args.batch_size}
            variables |= {"n_examples": args.n_steps * args.batch_size}
            variables |= {"n_distilled": len(distilled), "n_original": len(original)}
            started = time.perf_counter()
            nlp = train_pipeline(args.config, setting, files, variables, {})
            seconds = round(time.perf_counter() - started, 1)
            content = json.dumps({"seconds": seconds, "counts": count_by_sentence(nlp, gold)})
            path.with_suffix(".part").write_text(content, encoding="utf8")
            path.with_suffix(".part").rename(path)
        runs[setting] = json.loads(path.read_text(encoding="utf8"))["counts"]
    rows = summarize(runs)
    args.output.mkdir(parents=True, exist_ok=True)
    report = {"command": " ".join(["python", *sys.argv]), "n_dev": len(gold), "n_distilled": len(distilled)}
    report |= {"n_steps": args.n_steps, "batch_size": args.batch_size, "rows": rows}
    (args.output / f"{args.name}.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf8")
    table = to_markdown(rows, args.sizes)
    (args.output / f"{args.name}.md").write_text(table, encoding="utf8")
    draw(rows, args.sizes, args.output / f"{args.name}.svg")
    Printer().text(table)


if __name__ == "__main__":
    main()
