"""One system over many datasets: predictions, scores, analyses, and what is written of them.

The form of results.json is described in docs/benchmark.md; its name is `SCHEMA`.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ..passages import Passage, passage_to_dict
from .analyses import group_by_length, measure_robustness, measure_speed
from .metrics import METRICS, Counts, macro_f1, micro, pool, strict_counts
from .statistics import bootstrap_interval, calibration
from .systems import LOWEST_THRESHOLD, Found, System

SCHEMA = "spacy_uniner.benchmark.v1"
THRESHOLDS = tuple(round(0.05 * n, 2) for n in range(1, 19))
PACKAGES = ("spacy-uniner", "spacy", "torch", "gliner", "spacy-llm")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run depends on, beside the system and the data.

    limit: sentences of each dataset, the first ones; 0 for all.
    n_robustness: sentences of each dataset that are asked in other ways, too.
    n_resamples: of the bootstrap.
    seed: of the bootstrap, of the order of types and of the choice of distractors.
    """

    limit: int = 0
    n_robustness: int = 100
    n_resamples: int = 1000
    seed: int = 0


@dataclass(frozen=True, slots=True)
class DatasetGold:
    """A dataset to be measured on.

    name: of the row, such as "crossner-ai".
    dataset: of which of the 43 datasets it is a row.
    domain: one of the nine.
    passages: with all its types asked, and its gold mentions.
    """

    name: str
    dataset: str
    domain: str
    passages: Sequence[Passage]


@dataclass
class Runner:
    """Measures a system on one dataset after the other and keeps what it has done in a folder.

    system: the system.
    output: the folder; a dataset whose file there is of the same system, settings and data is not done again.
    paraphrases: for each type its synonyms.
    distractors: types to ask beside those of a dataset.
    settings: see there.
    """

    system: System
    output: Path
    paraphrases: Mapping[str, Sequence[str]]
    distractors: Sequence[str]
    settings: Settings = field(default_factory=Settings)

    def run(
        self, datasets: Sequence[DatasetGold], progress: Callable[[Iterable[Any]], Iterable[Any]] = iter
    ) -> dict[str, Any]:
        """Measure the system on all datasets, and write results.json.

        progress: wraps the datasets that are gone through, for a progress bar.
        RETURNS: what results.json holds.
        """
        rows = []
        system = self.system.fingerprint()  # once, since it hashes all weights
        for gold in progress(datasets):
            path = self.output / "datasets" / f"{gold.name}.json"
            key = self.fingerprint(system, gold)
            row = read_row(path, key)
            if row is None:
                row = {"fingerprint": key} | self.measure(gold)
                path.parent.mkdir(parents=True, exist_ok=True)
                partial = path.with_suffix(".partial")
                partial.write_text(json.dumps(row), encoding="utf8")
                partial.replace(path)
            rows.append(row)
        report = {
            "schema": SCHEMA,
            "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            "system": self.system.name,
            "settings": asdict(self.settings),
            "versions": find_versions(),
            "peak_memory_mb": find_peak_memory(),
            "means": find_means(rows),
            "datasets": rows,
        }
        content = json.dumps(report)
        (self.output / "results.json").write_text(content + "\n", encoding="utf8")
        return dict(json.loads(content))

    def fingerprint(self, system: str, gold: DatasetGold) -> str:
        """Tell one measurement from another: by system, settings, what is asked, and data."""
        parts = [system, asdict(self.settings), find_versions(), sorted(self.distractors)]
        parts += [{name: list(others) for name, others in sorted(self.paraphrases.items())}]
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode("utf8"))
        for passage in gold.passages[: self.settings.limit or None]:
            digest.update(json.dumps(passage_to_dict(passage)).encode("utf8"))
        return digest.hexdigest()

    def measure(self, gold: DatasetGold) -> dict[str, Any]:
        """Measure the system on one dataset.

        RETURNS: what results.json holds of it.
        """
        passages = gold.passages[: self.settings.limit or None]
        before = Counter(self.system.left_out)
        found = self.system.find(passages)
        left_out = dict(self.system.left_out - before)
        counts = [micro(strict_counts(passage, of_one)) for passage, of_one in zip(passages, found, strict=True)]
        interval = bootstrap_interval(counts, n_resamples=self.settings.n_resamples, seed=self.settings.seed)
        row: dict[str, Any] = {
            "name": gold.name,
            "dataset": gold.dataset,
            "domain": gold.domain,
            "n_sentences": len(passages),
            "n_words": sum(len(passage.words) for passage in passages),
            "types": list(passages[0].types),
            "metrics": {name: score(metric, passages, found) for name, metric in METRICS.items()},
            "strict_f1_interval": [round(100 * bound, 2) for bound in interval],
            "by_length": {name: counts_to_dict(of_one) for name, of_one in group_by_length(passages, counts).items()},
            "per_passage": [[int(c.n_correct), c.n_found, c.n_gold] for c in counts],
            "left_out": left_out,
            "found": [[[m.start, m.end, m.type, round(m.score, 4)] for m in of_one] for of_one in found],
        }
        if self.system.has_scores:
            row |= self._measure_scores(passages)
        part = passages[: self.settings.n_robustness]
        robustness = measure_robustness(self.system, part, self.paraphrases, self.distractors, seed=self.settings.seed)
        types = [*part[0].types, *(type_ for type_ in self.distractors if type_ not in part[0].types)]
        row["robustness"] = asdict(robustness)
        row["speed"] = [asdict(speed) for speed in measure_speed(self.system, part, types)]
        return row

    def _measure_scores(self, passages: Sequence[Passage]) -> dict[str, Any]:
        """Look at the scores of all that is found with a very low threshold, and at what each threshold gives."""
        lowest, *others = self.system.find_at(passages, (LOWEST_THRESHOLD, *THRESHOLDS))
        scores, is_correct = [], []
        for passage, mentions in zip(passages, lowest, strict=True):
            gold = {(m.start, m.end, m.type) for m in passage.mentions}
            scores += [mention.score for mention in mentions]
            is_correct += [(m.start, m.end, m.type) in gold for m in mentions]
        curve = [
            {"threshold": threshold} | score(strict_counts, passages, found)["micro"]
            for threshold, found in zip(THRESHOLDS, others, strict=True)
        ]
        return {"calibration": asdict(calibration(scores, is_correct)), "threshold_curve": curve}


def score(metric: Callable[[Passage, Any], dict[str, Counts]], gold: Sequence[Passage], found: Found) -> dict[str, Any]:
    """Score by one metric: micro, macro over types, and each type."""
    by_type = pool(metric(passage, mentions) for passage, mentions in zip(gold, found, strict=True))
    return {
        "micro": counts_to_dict(micro(by_type)),
        "macro_f1": round(100 * macro_f1(by_type), 2),
        "types": {type_: counts_to_dict(counts) for type_, counts in sorted(by_type.items())},
    }


def counts_to_dict(counts: Counts) -> dict[str, float]:
    """Write counts with precision, recall and F1, these in percent."""
    return {
        "p": round(100 * counts.precision, 2),
        "r": round(100 * counts.recall, 2),
        "f": round(100 * counts.f1, 2),
        "n_correct": counts.n_correct,
        "n_found": counts.n_found,
        "n_gold": counts.n_gold,
    }


def find_means(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Average the micro-F1 of each metric: over rows; over datasets, several rows of which count once; by domain,
    over rows."""
    means = {}
    for metric in METRICS:
        by_dataset: dict[str, list[float]] = {}
        by_domain: dict[str, list[float]] = {}
        for row in rows:
            f1 = row["metrics"][metric]["micro"]["f"]
            by_dataset.setdefault(row["dataset"], []).append(f1)
            by_domain.setdefault(row["domain"], []).append(f1)
        means[metric] = {
            "over_rows": mean([row["metrics"][metric]["micro"]["f"] for row in rows]),
            "over_datasets": mean([mean(scores) for scores in by_dataset.values()]),
            "by_domain": {domain: mean(scores) for domain, scores in sorted(by_domain.items())},
        }
    return means


def mean(values: Sequence[float]) -> float:
    """Give the mean, to two places; 0.0 of nothing."""
    return round(sum(values) / len(values), 2) if values else 0.0


def find_versions() -> dict[str, str]:
    """Give the versions of what a result depends on."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def find_peak_memory() -> float | None:
    """Give the most memory that this process held, in MB; None on Windows, where Python does not say."""
    try:
        import resource
    except ImportError:
        return None
    unit = 1e6 if sys.platform == "darwin" else 1e3  # bytes there, kilobytes elsewhere
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)


def read_row(path: Path, fingerprint: str) -> dict[str, Any] | None:
    """Read what an earlier run has measured, if it is of the same fingerprint."""
    if not path.exists():
        return None
    row: dict[str, Any] = json.loads(path.read_text(encoding="utf8"))
    return row if row["fingerprint"] == fingerprint else None


def read_results(path: Path) -> dict[str, Any]:
    """Read a results.json.

    RAISES: ValueError if it is none, or of another schema.
    """
    try:
        report = json.loads(path.read_text(encoding="utf8"))
    except ValueError as err:
        raise ValueError(f"{path} is not JSON: {err}. Is it cut? Run the benchmark again.") from err
    found = report.get("schema") if isinstance(report, dict) else None
    if found != SCHEMA:
        raise ValueError(f"{path}: the schema is '{found}', expected '{SCHEMA}'. Name a results.json of a run.")
    return dict(report)
