"""What people read of a run: tables for the terminal and in Markdown, with published numbers beside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import srsly

from .metrics import Counts
from .run import read_results
from .statistics import paired_test, paired_test_of_means

Row = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table: a title, its header, its rows; the first column is text, the others numbers."""

    title: str
    header: Row
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Published:
    """What others published; never measured here.

    system: its name.
    metric: what was measured: "strict", "string-set", "token".
    scores: F1 in percent, by dataset.
    mean: over the seven zero-shot datasets, as published; None if it was not.
    source: where it was read.
    """

    system: str
    metric: str
    scores: Mapping[str, float]
    mean: float | None
    source: str


def read_published(path: Path) -> list[Published]:
    """Read published numbers.

    RAISES: ValueError if an entry lacks a field.
    """
    published = []
    for n, entry in enumerate(srsly.read_yaml(path)["published"], start=1):
        try:
            published.append(
                Published(entry["system"], entry["metric"], entry.get("scores", {}), entry.get("mean"), entry["source"])
            )
        except (KeyError, TypeError) as err:
            raise ValueError(f"{path}, entry {n}: needs system, metric, scores and source ({err}).") from err
    return published


def make_tables(report: Mapping[str, Any], published: Sequence[Published] = ()) -> list[Table]:
    """Make all tables of a run."""
    return [
        table
        for table in (
            tabulate_accuracy(report),
            tabulate_domains(report),
            tabulate_robustness(report),
            tabulate_scores(report),
            tabulate_lengths(report),
            tabulate_speed(report),
            tabulate_published(report, published),
        )
        if table.rows
    ]


def tabulate_accuracy(report: Mapping[str, Any]) -> Table:
    """One row a dataset: all metrics, the strict one with its interval; means below."""
    rows = []
    for row in report["datasets"]:
        metrics = row["metrics"]
        strict = metrics["strict"]["micro"]
        low, high = row["strict_f1_interval"]
        rows.append(
            (
                row["name"],
                f"{row['n_sentences']:,}",
                *(f"{strict[key]:.1f}" for key in "prf"),
                f"{low:.1f} to {high:.1f}",
                f"{metrics['strict']['macro_f1']:.1f}",
                f"{metrics['partial']['micro']['f']:.1f}",
                f"{metrics['string-set']['micro']['f']:.1f}",
            )
        )
    for name, key in (("mean over rows", "over_rows"), ("mean over datasets", "over_datasets")):
        means = [report["means"][metric][key] for metric in ("strict", "partial", "string-set")]
        strict, partial, strings = (f"{value:.1f}" for value in means)
        rows.append((name, "", "", "", strict, "", "", partial, strings))
    header = ("dataset", "sentences", "P", "R", "strict F1", "95 %", "macro F1", "partial F1", "string-set F1")
    return Table("Accuracy, in percent", header, tuple(rows))


def tabulate_domains(report: Mapping[str, Any]) -> Table:
    """The mean of each domain's rows."""
    domains = report["means"]["strict"]["by_domain"]
    rows = tuple(
        (domain, *(f"{report['means'][metric]['by_domain'][domain]:.1f}" for metric in ("strict", "string-set")))
        for domain in domains
    )
    return Table("By domain, mean over rows", ("domain", "strict F1", "string-set F1"), rows if len(rows) > 1 else ())


def tabulate_robustness(report: Mapping[str, Any]) -> Table:
    """Strict F1 if types are asked by other names, in another order, among distractors."""
    rows = []
    for row in report["datasets"]:
        robust = row["robustness"]
        other = robust["paraphrase_f1"]
        rows.append(
            (
                row["name"],
                str(robust["n_passages"]),
                f"{100 * robust['f1']:.1f}",
                f"{100 * sum(other) / len(other):.1f}" if other else "",
                f"{100 * min(other):.1f}" if other else "",
                f"{robust['agreement']:.2f}" if other else "",
                f"{100 * robust['shuffled_f1']:.1f}",
                *(f"{100 * f1:.1f}" for f1 in robust["distractor_f1"].values()),
            )
        )
    many = [f"{n} more types" for n in report["datasets"][0]["robustness"]["distractor_f1"]]
    header = ("dataset", "sentences", "own names", "synonyms, mean", "worst", "agreement", "shuffled", *many)
    return Table("Robustness, strict F1", header, tuple(rows))


def tabulate_scores(report: Mapping[str, Any]) -> Table:
    """How far scores are probabilities, and which threshold would have been best."""
    rows = []
    for row in report["datasets"]:
        if "calibration" in row:
            best = max(row["threshold_curve"], key=lambda point: point["f"])
            error = f"{row['calibration']['expected_error']:.3f}"
            rows.append((row["name"], error, f"{best['threshold']:.2f}", f"{best['f']:.1f}"))
    header = ("dataset", "calibration error", "best threshold", "strict F1 there")
    return Table("Scores (the best threshold of a test set is for information only)", header, tuple(rows))


def tabulate_lengths(report: Mapping[str, Any]) -> Table:
    """Strict F1 by length of the text, over all datasets."""
    totals: dict[str, Counts] = {}
    for row in report["datasets"]:
        for name, counts in row["by_length"].items():
            of_one = Counts(counts["n_correct"], counts["n_found"], counts["n_gold"])
            totals[name] = totals[name] + of_one if name in totals else of_one
    rows = tuple((name, f"{counts.n_gold:,}", f"{100 * counts.f1:.1f}") for name, counts in totals.items())
    return Table("By length of text, all datasets together", ("words", "gold mentions", "strict F1"), rows)


def tabulate_speed(report: Mapping[str, Any]) -> Table:
    """Words a second by number of types, over all datasets."""
    seconds: dict[int, float] = {}
    words: dict[int, int] = {}
    for row in report["datasets"]:
        for speed in row["speed"]:
            n_types, rate = speed["n_types"], speed["words_per_second"]
            words[n_types] = words.get(n_types, 0) + row["n_words"]
            seconds[n_types] = seconds.get(n_types, 0.0) + row["n_words"] / rate
    rows = tuple((str(n_types), f"{words[n_types] / seconds[n_types]:,.0f}") for n_types in words)
    peak = report["peak_memory_mb"]
    title = "Speed" if peak is None else f"Speed; {peak:,.0f} MB of memory at most"
    return Table(title, ("types asked", "words a second"), rows)


def tabulate_published(report: Mapping[str, Any], published: Sequence[Published]) -> Table:
    """This run on the datasets that others published numbers of, and theirs."""
    strict = {row["name"]: row["metrics"]["strict"]["micro"]["f"] for row in report["datasets"]}
    names = [name for name in strict if any(name in other.scores for other in published)]
    if not names:
        return Table("", (), ())
    ours = f"{report['system']} (measured here)"
    rows = [
        (ours, "strict", *(f"{strict[name]:.1f}" for name in names), f"{report['means']['strict']['over_rows']:.1f}")
    ]
    for other in published:
        scores = (f"{other.scores[name]:.1f}" if name in other.scores else "" for name in names)
        mean = "" if other.mean is None else f"{other.mean:.1f}"
        rows.append((f"{other.system} (published)", other.metric, *scores, mean))
    title = "Beside published numbers: other metrics, other splits (theirs are test files)"
    return Table(title, ("system", "metric", *names, "mean"), tuple(rows))


def write_markdown(report: Mapping[str, Any], tables: Sequence[Table]) -> str:
    """Write a run as Markdown."""
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    settings = ", ".join(f"{name} {value}" for name, value in report["settings"].items())
    lines = [f"# {report['system']}", "", f"`{report['command']}`", "", f"{versions}. {settings}.", ""]
    for table in tables:
        lines += [f"## {table.title}", ""]
        lines += ["| " + " | ".join(row) + " |" for row in (table.header, ("---",) * len(table.header), *table.rows)]
        lines.append("")
    return "\n".join(lines)


def compare(one: Path, other: Path, *, n_resamples: int = 10_000, seed: int = 0) -> Table:
    """Compare the strict micro-F1 of two runs on the datasets that both have.

    RAISES: ValueError if they have none in common, or not of the same sentences.
    """
    reports = [read_results(path) for path in (one, other)]
    first, second = ({row["name"]: row for row in report["datasets"]} for report in reports)
    common = [name for name in first if name in second]
    if not common:
        raise ValueError(f"{one} and {other} have no dataset in common. Run both on the same suite.")
    for name in common:
        gold = [[passage[2] for passage in rows[name]["per_passage"]] for rows in (first, second)]
        if gold[0] != gold[1]:
            raise ValueError(
                f"{one} and {other}: '{name}' is not of the same sentences ({len(gold[0])} and {len(gold[1])}). "
                "Run both with the same data and limit."
            )
    counts = [
        {name: [Counts(float(c), f, g) for c, f, g in rows[name]["per_passage"]] for name in common}
        for rows in (first, second)
    ]
    tests = [
        (name, paired_test(counts[0][name], counts[1][name], n_resamples=n_resamples, seed=seed)) for name in common
    ]
    if len(common) > 1:
        tests.append(("mean", paired_test_of_means(counts[0], counts[1], n_resamples=n_resamples, seed=seed)))
    f1 = [[rows[name]["metrics"]["strict"]["micro"]["f"] for name in common] for rows in (first, second)]
    for scores in f1:
        scores.append(sum(scores) / len(scores))
    rows = tuple(
        (
            name,
            f"{before:.1f}",
            f"{after:.1f}",
            f"{100 * test.difference:+.1f}",
            f"{100 * test.low:+.1f} to {100 * test.high:+.1f}",
            f"{test.p_value:.4f}",
        )
        for (name, test), before, after in zip(tests, *f1, strict=False)
    )
    systems = [f"{report['system']} ({path.parent.name})" for report, path in zip(reports, (one, other), strict=True)]
    return Table("Strict F1, paired over sentences", ("dataset", *systems, "difference", "95 %", "p"), rows)
