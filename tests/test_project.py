"""The workflows of project.yml: valid for weasel, and made of things that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from weasel.cli.document import project_document
from weasel.util.config import load_project_config

ROOT = Path(__file__).parent.parent
PROJECT = load_project_config(ROOT)
COMMANDS = PROJECT["commands"]
# Other people's data and what is trained by hand; a test cannot count on them.
ELSEWHERE = ("../shared/",)


def test_weasel_accepts_the_project():
    assert set(PROJECT["workflows"]) == {"all", "demo", "compare", "distill"}


def test_the_page_of_the_project_is_up_to_date(tmp_path):
    page = ROOT / "PROJECT.md"
    copy = tmp_path / "project.md"
    copy.write_text(page.read_text(encoding="utf8"), encoding="utf8")
    project_document(ROOT, copy)
    assert copy.read_text(encoding="utf8") == page.read_text(encoding="utf8"), (
        "Run: weasel document --output PROJECT.md"
    )


def test_every_command_of_a_workflow_comes_after_those_that_make_what_it_needs():
    commands = {command["name"]: command for command in COMMANDS}
    for name, steps in PROJECT["workflows"].items():
        made: set[str] = set()
        for step in steps:
            needed = {dep for dep in commands[step]["deps"] if not exists(dep)}
            assert needed <= made, f"{name}: {step}"
            made |= {*commands[step].get("outputs", ()), *commands[step].get("outputs_no_cache", ())}
            made |= {str(parent) for path in made for parent in Path(path).parents}


def exists(path: str) -> bool:
    """Tell whether a path is in a clone, or somebody else's."""
    is_made = path.startswith(("annotations/", "corpus/", "training/", "demo/", "packages/"))
    return path.startswith(ELSEWHERE) or (not is_made and (ROOT / path).exists())


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command["name"])
def test_a_command_needs_files_that_are_there_or_that_another_makes(command):
    made = {output for other in COMMANDS for output in other.get("outputs", ())}
    made |= {str(parent) for path in made for parent in Path(path).parents}
    missing = [dep for dep in command["deps"] if dep not in made and not exists(dep)]
    scripts = re.findall(r"(?<![\w/])(?:benchmarks|configs|assets)/[\w./-]+", " ".join(command["script"]))
    assert not missing
    assert all(script in made or (ROOT / script).exists() for script in scripts)
    assert command["help"]
    assert command.get("outputs") or command.get("outputs_no_cache")
