"""A self-contained HTML page of the texts on which runs, or runs and gold, disagree."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape

from ..passages import Passage
from .agreement import join
from .curate import Curation, report_agreement, report_scores
from .quality import Place, places_of, text_of

COLORS = ("#a5d8ff", "#ffd8a8", "#b2f2bb", "#eebefa", "#ffec99", "#99e9f2", "#ffc9c9", "#d0bfff", "#c0eb75", "#fcc2d7")
MAX_TEXTS = 500

STYLE = """
:root { color-scheme: light dark; --line: #8885; }
body { font: 16px/1.6 system-ui, sans-serif; max-width: 64rem; margin: 1.5rem auto; padding: 0 1rem;
  overflow-wrap: anywhere; }
h1, h2, h3 { line-height: 1.25; }
h3 { font-size: 0.9rem; margin: 0; font-weight: 600; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.9rem; margin: 0.5rem 0 1.5rem; overflow-wrap: normal; }
th, td { padding: 0.2rem 0.7rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; white-space: normal; }
article { border: 1px solid var(--line); border-radius: 6px; padding: 0.5rem 0.9rem; margin: 0.8rem 0; }
article[hidden] { display: none; }
dl { margin: 0.3rem 0 0; display: grid; grid-template-columns: minmax(4rem, 9rem) 1fr; gap: 0.2rem 0.9rem; }
dt { font-size: 0.85rem; opacity: 0.8; padding-top: 0.15rem; }
dd { margin: 0; line-height: 2; }
mark { background: none; color: inherit; border-bottom: 2px solid var(--color); }
mark.differs { background: var(--color); color: #000; border: 2px solid #000; border-radius: 5px; padding: 0 0.2rem;
  box-decoration-break: clone; -webkit-box-decoration-break: clone; }
mark b { font-size: 0.65rem; letter-spacing: 0.03em; padding-left: 0.3rem; }
nav { position: sticky; top: 0; background: Canvas; padding: 0.5rem 0; border-bottom: 1px solid var(--line); }
fieldset { border: 0; padding: 0; margin: 0; }
legend { font-size: 0.85rem; padding: 0; }
label { display: inline-block; margin-right: 1rem; padding: 0.2rem 0; cursor: pointer; }
label span { border-bottom: 3px solid var(--color); }
@media (max-width: 40rem) {
  dl { grid-template-columns: 1fr; gap: 0; }
  dt { padding-top: 0.5rem; }
}
"""
SCRIPT = """
const boxes = [...document.querySelectorAll("nav input")];
const shown = document.querySelector("output");
function show() {
  const labels = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
  let n = 0;
  for (const article of document.querySelectorAll("article")) {
    article.hidden = !JSON.parse(article.dataset.labels).some((label) => labels.has(label));
    n += !article.hidden;
  }
  shown.value = `${n} texts shown`;
}
for (const box of boxes) box.addEventListener("change", show);
show();
"""


def render_page(curation: Curation, gold: Sequence[Passage] | None = None) -> str:
    """Write the disagreements as one HTML page that needs nothing else: the texts with the most of them first.

    gold: gold passages of some of the texts, found as in `quality`.
    """
    texts = find_disagreements(curation, gold or ())
    color_of = {label: COLORS[n % len(COLORS)] for n, label in enumerate(curation.labels)}
    names = ", ".join(run.name for run in curation.runs)
    n_shown = min(MAX_TEXTS, len(texts))
    n_texts = curation.steps[0].n_texts
    note = (
        f"{len(texts):,} of {n_texts:,} texts have mentions that one side has and another has not; "
        f"the {n_shown:,} with most of them follow. Such mentions are framed. “kept” is what stands in the corpus."
    )
    boxes = "".join(
        f'<label style="--color: {color}"><input type="checkbox" value="{escape(label)}" checked> '
        f"<span>{escape(label)}</span></label>"
        for label, color in color_of.items()
    )
    body = [
        f"<h1>Disagreements</h1><p>Runs: {escape(names)}.</p>",
        *render_tables(curation),
        f"<h2>Texts</h2><p>{note}</p>",
        f"<nav><fieldset><legend>Show texts that differ in</legend>{boxes}</fieldset><output></output></nav>",
        "<main>",
        *(render_text(source, sides, color_of) for source, sides in texts[:MAX_TEXTS]),
        "</main>",
    ]
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Disagreements of {escape(names)}</title><style>{STYLE}</style>"
    )
    content = "\n".join(body)
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{content}\n<script>{SCRIPT}</script></body>'
        "</html>\n"
    )


def find_disagreements(curation: Curation, gold: Sequence[Passage]) -> list[tuple[str, dict[str, Passage]]]:
    """Give the texts on which runs, or runs and gold, differ: those with most differences first, then by source.

    RETURNS: for each, its source and its sides by name: the runs that annotated it, gold, and what was kept.
    """
    gold_of = {text_of(passage): passage for passage in reversed(gold)}
    kept_of = {passage.source: passage for passage in curation.corpus}
    found = []
    for source, runs in join(curation.runs).items():
        sides = {curation.runs[n].name: passage for n, passage in runs.items()}
        of_gold = gold_of.get(text_of(next(iter(sides.values()))))
        if of_gold is not None:
            sides["gold"] = of_gold
        differing = find_differing(sides)
        if source in kept_of:
            sides["kept"] = kept_of[source]
        if differing:
            found.append((len(differing), source, sides))
    found.sort(key=lambda text: (-text[0], text[1]))
    return [(source, sides) for _, source, sides in found]


def find_differing(sides: Mapping[str, Passage]) -> set[Place]:
    """Give the mentions that some sides have and others have not; what was kept is no side."""
    places = [places_of(passage) for name, passage in sides.items() if name != "kept"]
    return places[0].union(*places) - places[0].intersection(*places)


def render_text(source: str, sides: Mapping[str, Passage], color_of: Mapping[str, str]) -> str:
    """Write a text, once for all sides that have the same mentions."""
    differing = find_differing(sides)
    labels = escape(json.dumps(sorted({label for _, _, label in differing})))
    names_of: dict[frozenset[Place], list[str]] = {}
    for name, passage in sides.items():
        names_of.setdefault(frozenset(places_of(passage)), []).append(name)
    rows = "".join(
        f"<dt>{escape(', '.join(names))}</dt><dd>{render_side(sides[names[0]], differing, color_of)}</dd>"
        for names in names_of.values()
    )
    plural = "s" * (len(differing) > 1)
    return (
        f'<article data-labels="{labels}"><h3>{escape(source)}: {len(differing)} difference{plural}</h3>'
        f"<dl>{rows}</dl></article>"
    )


def render_side(passage: Passage, differing: set[Place], color_of: Mapping[str, str]) -> str:
    """Write a text with its mentions, which do not overlap; those that other sides have not are framed."""
    parts, end = [], 0
    places = sorted(places_of(passage))
    for mention, place in zip(sorted(passage.mentions, key=lambda m: m.start), places, strict=True):
        parts.append(escape(" ".join(passage.words[end : mention.start])))
        words = escape(" ".join(passage.words[mention.start : mention.end]))
        state = ' class="differs"' if place in differing else ""
        parts.append(
            f'<mark{state} style="--color: {color_of[mention.type]}">{words}<b>{escape(mention.type)}</b></mark>'
        )
        end = mention.end
    parts.append(escape(" ".join(passage.words[end:])))
    return " ".join(filter(None, parts))


def render_tables(curation: Curation) -> list[str]:
    """Write agreement and quality by label, and what was lost on the way to the corpus."""
    parts = []
    columns = [*curation.labels, "all"]
    if curation.agreement:
        rows = [
            (" and ".join(one.runs), one.n_texts, *(percent(report_agreement(one)[name]["f1"]) for name in columns))
            for one in curation.agreement
        ]
        parts += ["<h2>Agreement, F1 in %</h2>", render_table(("runs", "texts", *columns), rows)]
    if curation.quality:
        rows = [
            (one.name, one.n_texts, *(percent(report_scores(one.scores)[name]["f1"]) for name in columns))
            for one in curation.quality
        ]
        parts += ["<h2>Against gold, F1 in %</h2>", render_table(("annotation", "texts", *columns), rows)]
        header = ("annotation", *curation.quality[0].errors)
        errors = [(one.name, *map(str, one.errors.values())) for one in curation.quality]
        parts += ["<h2>Errors against gold</h2>", render_table(header, errors)]
    losses = [
        (f"{step.name}: {reason}", f"{loss.n_texts:,}", f"{loss.n_mentions:,}")
        for step in curation.steps
        for reason, loss in sorted(step.losses.items())
    ]
    if losses:
        parts += ["<h2>Left out</h2>", render_table(("reason", "texts", "mentions"), losses)]
    return parts


def percent(score: float | int | None) -> str:
    """Write a score; a dash where there was nothing to score."""
    return "–" if score is None else f"{100 * score:.1f}"


def render_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Write a table; it scrolls by itself where it is wider than the page."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
