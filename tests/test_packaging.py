"""What is registered is found by its name, and a pipeline becomes a wheel that needs nothing else."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import spacy
import spacy_llm.registry  # noqa: F401 - makes the registries of models and tasks
from confection import Config
from spacy import registry
from spacy.cli._util import app
from spacy.language import Language
from typer.testing import CliRunner

ENTRY_POINTS = list(importlib.metadata.distribution("spacy-uniner").entry_points)

# A config for every registered name; that nothing is read before it is needed, missing files show.
BUILT = {
    "spacy_uniner.Encoder.v1": {"name": "en_uniner_sm"},
    "spacy_uniner.Distilled.v1": {"passages": "nowhere.jsonl", "names": "nowhere.tsv"},
    "spacy_uniner.HeldOut.v1": {"passages": "nowhere.jsonl", "names": "nowhere.tsv"},
    "spacy_uniner.Mixed.v1": {
        "gold": {"@readers": "spacy.JsonlCorpus.v1", "path": None},
        "distilled": {
            "@readers": "spacy_uniner.Distilled.v1",
            "passages": "nowhere.jsonl",
            "names": "nowhere.tsv",
        },
    },
    "spacy_uniner.Curriculum.v1": {
        "original": {"@readers": "spacy.JsonlCorpus.v1", "path": None},
        "distilled": {"@readers": "spacy.JsonlCorpus.v1", "path": None},
        "schedule": {"@misc": "spacy_uniner.StepShare.v1"},
        "n_examples": 1000,
    },
    "spacy_uniner.Generator.v1": {"name": "nobody"},
    "spacy_uniner.Server.v1": {"url": "http://localhost:8000/v1", "model": "nobody"},
    "spacy_uniner.ConstantShare.v1": {"share": 0.5},
    "spacy_uniner.ChosenShare.v1": {"name": "a", "schedules": {"a": {"@misc": "spacy_uniner.CosineShare.v1"}}},
    "spacy_uniner.UnionShare.v1": {"n_distilled": 3, "n_original": 1},
    "spacy_uniner.StepShare.v1": {"switch": 0.25, "before": 0.0, "after": 1.0},
    "spacy_uniner.StagedShare.v1": {"stages": [[1.0, 0.5], [0, 1]]},
    "spacy_uniner.CosineShare.v1": {},
    "spacy_uniner.SigmoidShare.v1": {"steepness": 10.0},
    "spacy_uniner.PowerDecayShare.v1": {"exponent": 2},
    "spacy_uniner.ExponentialShare.v1": {"rate": 3.0},
    "spacy_uniner.OpenAICompatible.v1": {"name": "nobody"},
    "spacy_uniner.Recorded.v1": {"path": "nowhere.jsonl"},
    "spacy_uniner.NER.v1": {
        "labels": {"PER": "people"},
        "examples": {"@misc": "spacy.FewShotReader.v1", "path": "nowhere.jsonl"},
    },
    "spacy_uniner.OpenNER.v1": {"style": "definition"},
    "spacy_uniner.universal_ner_scorer.v1": {},
    "spacy_uniner.SaveCheckpoint.v1": {"path": "nowhere", "every_n_steps": 10},
    "spacy_uniner.ContinueFromCheckpoint.v1": {"path": "nowhere"},
    "spacy_uniner.CurveLogger.v1": {"path": "nowhere.jsonl"},
    "spacy_uniner.warmup_cosine.v1": {"rate": 0.001, "n_warmup_steps": 1, "n_steps": 2},
    "spacy_uniner.continued.v1": {"schedule": 0.001, "n_steps_before": 1},
}


def group_of(name: str) -> str:
    """Give the registry of a name, as configs write it."""
    (group,) = {point.group for point in ENTRY_POINTS if point.name == name}
    return group.removeprefix("spacy_").removeprefix("thinc_")


# Entry points


@pytest.mark.parametrize("point", ENTRY_POINTS, ids=lambda point: point.name)
def test_entry_point_leads_to_something(point):
    assert callable(point.load())


def test_every_registered_name_is_built_by_a_test():
    names = {point.name for point in ENTRY_POINTS if point.name.startswith("spacy_uniner.")}
    assert names == set(BUILT), "Give each name a config in BUILT."


@pytest.mark.parametrize("name", BUILT)
def test_registered_name_is_built_by_a_config(name):
    config = Config({"thing": {f"@{group_of(name)}": name, **BUILT[name]}})
    assert registry.resolve(Config().from_str(config.to_str()))["thing"] is not None


def test_factory_is_found_without_an_import():
    assert Language.has_factory("universal_ner")
    assert spacy.blank("de").has_factory("universal_ner"), "It is for every language."
    assert Language.get_factory_meta("universal_ner").default_config["spans_key"] == "universal_ner"


def test_command_stands_beside_those_of_spacy():
    registry.cli.get_all()  # as `python -m spacy` does first
    result = CliRunner().invoke(app, ["uniner", "--help"])
    assert result.exit_code == 0, result.output
    assert {"find", "thresholds", "export"} <= set(result.output.split())


def test_every_folder_of_the_package_is_named_for_the_wheel():
    root = Path(__file__).parent.parent
    listed = re.search(r"^packages = \[(.*?)\]", (root / "pyproject.toml").read_text("utf8"), re.DOTALL | re.MULTILINE)
    modules = {path.parent.relative_to(root) for path in (root / "spacy_uniner").rglob("*.py")}
    data = {"spacy_uniner.en_uniner_sm", "spacy_uniner.configs", "spacy_uniner.configs.datasets"}
    assert set(re.findall(r'"(.+?)"', listed[1])) == {".".join(folder.parts) for folder in modules} | data


# A wheel

LOADED = """
import sys
import spacy

nlp = spacy.load("en_tiny_ner")
doc = nlp("Sally met Alan in Rome .")
print([(ent.text, ent.label_, round(ent._.entity_score, 1)) for ent in doc.ents])
print(nlp.meta["requirements"], nlp.path)
"""


def run(arguments: list[str], **environment: str) -> str:
    """Run Python in a process of its own.

    RETURNS: what it printed.
    """
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=110.0,
        check=False,
        env={**os.environ, **environment},
    )
    if done.returncode:
        pytest.fail(f"{arguments} failed:\n{done.stdout}\n{done.stderr}")
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("build") is None, reason="the package `build` is missing")
def test_packaged_pipeline_works_where_its_folders_are_gone(tiny_folder: Path, tmp_path: Path):
    source, packaged, installed = (tmp_path / name for name in ("pipeline", "packaged", "installed"))
    shutil.copytree(tiny_folder, tmp_path / "student")
    nlp = spacy.blank("en")
    model = {"name": str(tmp_path / "student"), "precision": "float32"}
    nlp.add_pipe("universal_ner", config={"model": model, "labels": {"GPE": "city", "PER": "person"}, "threshold": 0.3})
    nlp.to_disk(source)
    packaged.mkdir()
    # Without an index, `build` takes setuptools from a local folder of wheels, or spaCy the one that is installed.
    arguments = ["package", str(source), str(packaged), "--build", "wheel", "--name", "tiny_ner", "--version", "1.2.3"]
    run(["-m", "spacy", *arguments], PIP_NO_INDEX="1")
    (wheel,) = packaged.rglob("*.whl")
    arguments = ["install", "--no-deps", "--no-index", "--target", str(installed), str(wheel)]
    run(["-m", "pip", *arguments])
    for folder in (source, packaged, tmp_path / "student"):
        shutil.rmtree(folder)
    found, origin = run(["-c", LOADED], PYTHONPATH=str(installed)).splitlines()
    assert found == "[('Sally', 'PER', 1.0), ('Alan', 'PER', 1.0), ('Rome', 'GPE', 1.0)]"
    assert "spacy-uniner>=" in origin
    assert str(installed) in origin
