"""Commands under `python -m spacy uniner`, and under `uniner`: thin, over plain functions."""

from __future__ import annotations

import typer
from spacy.cli._util import app as spacy_app

from . import apply, benchmark, curation, datasets, distill, mixing, pipelines, teacher, tune
from .serve import serve

app = typer.Typer(name="uniner", help="Open named entity recognition for spaCy.", no_args_is_help=True)
app.command()(pipelines.find)
app.command()(pipelines.thresholds)
app.command()(pipelines.export)
app.command()(pipelines.export_encoder)
app.command("annotate", context_settings=teacher.OVERRIDES)(teacher.annotate_texts)
app.command(context_settings=teacher.OVERRIDES)(teacher.record)
app.command()(curation.curate)
app.command()(curation.derive_gold)
app.command()(mixing.mixing)
app.command()(mixing.curves)
app.command()(apply.apply)
app.command()(serve)
app.command()(tune.tune)
app.add_typer(datasets.app, name="datasets")
app.add_typer(benchmark.app, name="benchmark")
app.add_typer(distill.app, name="distill")
spacy_app.add_typer(app, name="uniner")
