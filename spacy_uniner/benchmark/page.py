"""A self-contained HTML page of a run: tables, pictures, and errors to browse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from spacy import displacy

from ..passages import Mention, Passage
from .errors import Errors, sort_errors
from .report import Table

KINDS = {
    "missed": ("#ffb3b3", "gold that was not found"),
    "spurious": ("#ffcf99", "found, but no gold"),
    "wrong type": ("#e9bdf7", "right words, wrong type: found → gold"),
    "wrong boundary": ("#a5d3ff", "right type, wrong words: found, and where gold is"),
}
MAX_PASSAGES = 60

STYLE = """
:root { color-scheme: light dark; --line: #8885; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2, h3 { line-height: 1.2; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.9rem; margin: 0.5rem 0 1.5rem; }
th, td { padding: 0.2rem 0.7rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
figure { margin: 1rem 0; background: #fff; border-radius: 6px; padding: 0.5rem; display: inline-block;
  max-width: 100%; }
figure svg { max-width: 100%; height: auto; }
article { border: 1px solid var(--line); border-radius: 6px; padding: 0.6rem 0.9rem; margin: 0.6rem 0;
  overflow-x: auto; }
nav { position: sticky; top: 0; background: Canvas; padding: 0.6rem 0; border-bottom: 1px solid var(--line);
  z-index: 20; }
button { font: inherit; border: 2px solid var(--color); border-radius: 1rem; padding: 0.1rem 0.8rem; margin: 0.15rem;
  background: transparent; color: inherit; cursor: pointer; }
button[aria-pressed="true"] { background: var(--color); color: #000; }
small { opacity: 0.75; }
"""
SCRIPT = """
const buttons = [...document.querySelectorAll("nav button")];
function show() {
  const kinds = buttons.filter((b) => b.getAttribute("aria-pressed") === "true").map((b) => b.dataset.kind);
  for (const article of document.querySelectorAll("article"))
    article.hidden = !article.dataset.kinds.split(";").some((kind) => kinds.includes(kind));
}
for (const button of buttons)
  button.addEventListener("click", () => {
    button.setAttribute("aria-pressed", button.getAttribute("aria-pressed") !== "true");
    show();
  });
"""


def render_page(
    report: Mapping[str, Any], tables: Sequence[Table], pictures: Sequence[Path], gold: Mapping[str, Sequence[Passage]]
) -> str:
    """Write a run as one HTML page that needs nothing else.

    pictures: SVG files, which are put inside.
    gold: the passages of each dataset, in the order of the run.
    """
    parts = [f"<h1>{escape(report['system'])}</h1><p><code>{escape(report['command'])}</code></p>"]
    parts += [f"<h2>{escape(table.title)}</h2>{render_table(table)}" for table in tables]
    parts += [f"<figure>{read_svg(path)}</figure>" for path in pictures]
    buttons = "".join(
        f'<button data-kind="{kind}" aria-pressed="true" title="{escape(text)}" style="--color: {color}">'
        f"{kind}</button>"
        for kind, (color, text) in KINDS.items()
    )
    parts.append(f'<h2>Errors</h2><nav aria-label="Kinds of errors">{buttons}</nav>')
    for row in report["datasets"]:
        parts += render_errors(row, gold[row["name"]])
    body = "\n".join(parts)
    title = f"Benchmark of {escape(report['system'])}"
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}<style>{STYLE}</style></head>\n'
        f"<body>\n{body}\n<script>{SCRIPT}</script></body></html>\n"
    )


def render_table(table: Table) -> str:
    """Write a table as HTML."""
    head = "".join(f"<th>{escape(name)}</th>" for name in table.header)
    rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def read_svg(path: Path) -> str:
    """Give an SVG without what stands before its first element."""
    content = path.read_text(encoding="utf8")
    return content[content.index("<svg") :]


def render_errors(row: Mapping[str, Any], gold: Sequence[Passage]) -> list[str]:
    """Write the passages of a dataset that have errors, the first `MAX_PASSAGES` of them."""
    sorted_errors = []
    for passage, found in zip(gold, row["found"], strict=False):
        errors = sort_errors(passage, [Mention(*mention) for mention in found])
        if marks_of(errors):
            sorted_errors.append((passage, errors))
    n_shown = min(MAX_PASSAGES, len(sorted_errors))
    note = f"{len(sorted_errors)} of {row['n_sentences']} sentences have errors; shown are {n_shown}."
    parts = [f"<h3>{escape(row['name'])}</h3><p><small>{note}</small></p>"]
    return parts + [render_passage(passage, errors) for passage, errors in sorted_errors[:n_shown]]


def marks_of(errors: Errors) -> list[tuple[str, Mention, str]]:
    """Give what is to be marked: the kind of error, where, and what is written on it."""
    marks = [("missed", mention, mention.type) for mention in errors.missed]
    marks += [("spurious", mention, f"{mention.type} {mention.score:.2f}") for mention in errors.spurious]
    marks += [("wrong type", found, f"{found.type} → {gold.type}") for gold, found in errors.wrong_type]
    for gold, found in errors.wrong_boundary:
        marks += [("wrong boundary", found, f"{found.type}: found"), ("wrong boundary", gold, f"{gold.type}: gold")]
    return marks


def render_passage(passage: Passage, errors: Errors) -> str:
    """Mark the errors of a passage. displaCy escapes the words, but not the labels."""
    marks = marks_of(errors)
    labels = [f"{kind}: {text}" for kind, _, text in marks]
    spans = [
        {"start_token": mention.start, "end_token": mention.end, "label": escape(label)}
        for (_, mention, _), label in zip(marks, labels, strict=True)
    ]
    spans.sort(key=lambda span: (span["start_token"], span["end_token"]))
    colors = {escape(label).upper(): KINDS[kind][0] for (kind, _, _), label in zip(marks, labels, strict=True)}
    content = {"text": " ".join(passage.words), "spans": spans, "tokens": list(passage.words)}
    html = displacy.render(content, style="span", manual=True, jupyter=False, options={"colors": colors})
    kinds = ";".join(sorted({kind for kind, _, _ in marks}))
    return f'<article data-kinds="{kinds}">{html}</article>'
