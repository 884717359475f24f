"""What an import of the package, and its mere presence, load. Modules are counted, not seconds."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ["torch", "thinc", "spacy", "transformers", "tokenizers", "requests"]

BLANK = "import spacy; spacy.blank('en')"

# In front of other code, it hides installed packages from whoever looks for entry points.
HIDE = """
import importlib.metadata as metadata
find_all = metadata.distributions
metadata.distributions = lambda **params: (d for d in find_all(**params) if d.metadata["Name"] not in {names})
"""


def hide(*names: str) -> str:
    return HIDE.format(names=names)


def list_loaded(code: str) -> set[str]:
    """Run code in an interpreter of its own and list the modules loaded when it is done."""
    report = "\nimport json, sys; json.dump(sorted(sys.modules), sys.stdout)"
    done = subprocess.run([sys.executable, "-c", code + report], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"{code!r} failed:\n{done.stderr}")
    return set(json.loads(done.stdout))


def test_importing_the_package_loads_nothing_heavy():
    loaded = list_loaded("import spacy_uniner")
    assert "spacy_uniner" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_importing_the_package_loads_no_other_module_of_it():
    loaded = list_loaded("import spacy_uniner")
    assert {name for name in loaded if name.startswith("spacy_uniner")} == {"spacy_uniner"}


def test_blank_pipeline_loads_nothing_more_than_without_the_package():
    # spaCy-llm imports torch and all that its models need for every pipeline, and would hide that we did so.
    with_package, without = (list_loaded(hide("spacy-llm", *name) + BLANK) for name in ([], ["spacy-uniner"]))
    assert "spacy_uniner.pipeline" in with_package, "Install the package first: its entry points are what is tested."
    assert "spacy_llm" not in with_package
    assert not any(name.startswith("spacy_uniner") for name in without)
    assert {name for name in with_package - without if not name.startswith("spacy_uniner")} == set()


def test_blank_pipeline_with_spacy_llm_loads_no_teacher():
    loaded, without = list_loaded(BLANK), list_loaded(hide("spacy-uniner") + BLANK)
    assert "spacy_llm" in loaded
    assert not any(name.startswith("spacy_uniner.teacher") for name in loaded)
    assert {name for name in loaded - without if not name.startswith("spacy_uniner")} == set()
