"""A pipeline of rules that finds entities fast, and a component that makes trouble on demand, in workers too."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import spacy
from scale_world import NAMES

TROUBLE = '''
import os, signal, time
from pathlib import Path
from spacy.language import Language

@Language.factory("trouble", default_config={"folder": "", "seconds": 0.0})
def make_trouble(nlp, name, folder, seconds):
    def trouble(doc):
        """Sleep; die at KILL, and at ONCE for the first time; fail at FAIL. Where the file `off` is, only sleep."""
        time.sleep(seconds)
        folder_ = Path(folder)
        if not (folder_ / "off").exists():
            if "FAIL" in doc.text:
                raise ValueError("it says FAIL")
            once = folder_ / "once"
            if "KILL" in doc.text or ("ONCE" in doc.text and not once.exists()):
                once.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return doc
    return trouble
'''


@pytest.fixture(scope="session")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline on the disk that finds five names, without universal_ner."""
    nlp = spacy.blank("en")
    ruler: Any = nlp.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": label, "pattern": name} for name, label in NAMES.items()])
    folder = tmp_path_factory.mktemp("rules")
    nlp.to_disk(folder)
    return folder


@pytest.fixture(scope="session")
def trouble_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH with a component that makes trouble, as if it were installed."""
    site = tmp_path_factory.mktemp("site")
    info = site / "uniner_trouble-0.0.0.dist-info"
    info.mkdir()
    (site / "uniner_trouble.py").write_text(TROUBLE, encoding="utf8")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: uniner-trouble\nVersion: 0.0.0\n", encoding="utf8")
    (info / "entry_points.txt").write_text(
        "[spacy_factories]\ntrouble = uniner_trouble:make_trouble\n", encoding="utf8"
    )
    return site


@pytest.fixture
def trouble(tmp_path: Path, trouble_site: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Makes a pipeline on the disk: the rules, and a component that makes trouble; workers find it, too."""
    monkeypatch.setenv("PYTHONPATH", str(trouble_site))
    monkeypatch.syspath_prepend(str(trouble_site))
    importlib.import_module("uniner_trouble")

    def make(seconds: float = 0.0) -> Path:
        nlp = spacy.blank("en")
        ruler: Any = nlp.add_pipe("entity_ruler")
        ruler.add_patterns([{"label": label, "pattern": name} for name, label in NAMES.items()])
        nlp.add_pipe("trouble", config={"folder": str(tmp_path), "seconds": seconds})
        nlp.to_disk(tmp_path / "trouble")
        return tmp_path / "trouble"

    return make


@pytest.fixture(scope="session")
def recipes() -> dict[str, Any]:
    """What the Python of docs/scale.md defines."""
    page = Path(__file__).parents[2] / "docs" / "scale.md"
    namespace: dict[str, Any] = {"__name__": "__docs__"}
    for block in re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf8"), re.MULTILINE | re.DOTALL):
        exec(block, namespace)
    return namespace
