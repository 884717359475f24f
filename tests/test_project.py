"""The workflows of project.yml: valid for weasel, and made of things that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import srsly
from weasel.util.config import load_project_config

ROOT = Path(__file__).parent.parent
COMMANDS = srsly.read_yaml(ROOT / "project.yml")["commands"]


def test_weasel_accepts_the_project():
    assert set(load_project_config(ROOT)["workflows"]) == {"demo", "distill"}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command["name"])
def test_a_command_needs_files_that_are_there_or_that_another_makes(command):
    made = {output for other in COMMANDS for output in other["outputs"]}
    missing = [dep for dep in command["deps"] if dep not in made and not (ROOT / dep).exists()]
    scripts = re.findall(r"(?:benchmarks|configs|assets)/[\w./-]+", " ".join(command["script"]))
    assert not missing
    assert all((ROOT / script).exists() for script in scripts)
