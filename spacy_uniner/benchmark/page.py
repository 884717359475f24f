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
    "wrong type": ("#e9bdf7", "right words, wrong type"),
    "wrong boundary": ("#a5d3ff", "right type, but other words"),
}
CORRECT = "#d3f0d3"
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
article { border: 1px solid var(--line); border-radius: 6px; padding: 0.4rem 0.9rem; margin: 0.6rem 0; display: grid;
  grid-template-columns: 3.5rem 1fr; align-items: baseline; }
article[hidden] { display: none; }
mark { color: #000; }
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
        if kinds_of(errors):
            sorted_errors.append((passage, errors))
    n_shown = min(MAX_PASSAGES, len(sorted_errors))
    note = f"{len(sorted_errors)} of {row['n_sentences']} sentences have errors; shown are {n_shown}."
    parts = [f"<h3>{escape(row['name'])}</h3><p><small>{note}</small></p>"]
    return parts + [render_passage(passage, errors) for passage, errors in sorted_errors[:n_shown]]


def kinds_of(errors: Errors) -> list[str]:
    """Give the kinds of errors that there are."""
    found = (errors.missed, errors.spurious, errors.wrong_type, errors.wrong_boundary)
    return [kind for kind, of_kind in zip(KINDS, found, strict=True) if of_kind]


def render_passage(passage: Passage, errors: Errors) -> str:
    """Write a passage with its gold mentions, and again with those found, both colored by what became of them."""
    pairs = [("wrong type", pair) for pair in errors.wrong_type]
    pairs += [("wrong boundary", pair) for pair in errors.wrong_boundary]
    sides: dict[str, list[tuple[Mention, str]]] = {
        "gold": [(mention, KINDS["missed"][0]) for mention in errors.missed],
        "found": [(mention, KINDS["spurious"][0]) for mention in errors.spurious],
    }
    for n, marks in enumerate(sides.values()):
        marks += [(mention, CORRECT) for mention in errors.correct]
        marks += [(pair[n], KINDS[kind][0]) for kind, pair in pairs]
    lines = [
        f"<small>{side if n == 0 else ''}</small>{render_line(passage, layer, with_scores=side == 'found')}"
        for side, marks in sides.items()
        for n, layer in enumerate(lay_flat(marks))
    ]
    return f'<article data-kinds="{";".join(kinds_of(errors))}">{"".join(lines)}</article>'


def lay_flat(marks: Sequence[tuple[Mention, str]]) -> list[list[tuple[Mention, str]]]:
    """Put marks into layers in which no two overlap, as many as it takes, at least one."""
    layers: list[list[tuple[Mention, str]]] = [[]]
    for mark in sorted(marks, key=lambda mark: (mark[0].start, -mark[0].end)):
        layer = next((one for one in layers if not one or one[-1][0].end <= mark[0].start), None)
        if layer is None:
            layer = []
            layers.append(layer)
        layer.append(mark)
    return layers


def render_line(passage: Passage, marks: Sequence[tuple[Mention, str]], *, with_scores: bool) -> str:
    """Write a passage with mentions marked. displaCy escapes the words, but not the labels."""
    ends = [0]
    for word in passage.words:
        ends.append(ends[-1] + len(word) + 1)
    entities = [
        {
            "start": ends[mention.start],
            "end": ends[mention.end] - 1,
            "label": escape(f"{mention.type} {mention.score:.2f}" if with_scores else mention.type),
            "params": {"bg": color},
        }
        for mention, color in marks
    ]
    content = {"text": " ".join(passage.words), "ents": entities}
    return str(displacy.render(content, style="ent", manual=True, jupyter=False))
