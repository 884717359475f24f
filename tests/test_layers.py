"""The rooms of the package and who may import whom, held by a walk over each module's imports."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = "spacy_uniner"
ROOT = Path(__file__).parent.parent / PACKAGE


@dataclass(frozen=True)
class Room:
    """Where a module stands.

    layer: its imports point to rooms of lower layers.
    outside: the packages beside the standard library that it may import.
    step: its place among the modules of its folder; there, imports point to earlier steps.
    """

    layer: int
    outside: frozenset[str] = frozenset()
    step: int = 0


def name_packages(names: str) -> frozenset[str]:
    return frozenset(names.split())


TENSORS = name_packages("torch tokenizers safetensors numpy")

ROOMS = {
    "__init__": Room(-1),
    "passages": Room(0),
    "spans": Room(1),
    "hierarchy": Room(1),
    "conversation": Room(1),
    "schedules": Room(1),
    "draw_log": Room(2),
    "distill": Room(2),
    "docs": Room(2, name_packages("spacy")),
    "students": Room(2, TENSORS),
    "students.bert": Room(2, TENSORS, step=1),
    "students.heads": Room(2, TENSORS, step=2),
    "students.sizes": Room(2, TENSORS, step=2),
    "students.rows": Room(2, TENSORS, step=2),
    "students.losses": Room(2, TENSORS, step=3),
    "students.encoder": Room(2, TENSORS, step=4),
    "students.weights": Room(2, TENSORS, step=5),
    "students.answers": Room(2, step=1),
    "students.greedy": Room(2, TENSORS | name_packages("transformers"), step=2),
    "students.causal": Room(2, TENSORS | name_packages("transformers"), step=3),
    "students.generator": Room(2, step=4),
    "students.server": Room(2, name_packages("httpx tenacity"), step=2),
    "architectures": Room(3, name_packages("torch thinc numpy")),
    "corpus": Room(3, name_packages("spacy srsly")),
    "curriculum": Room(3, name_packages("spacy")),
    "teacher": Room(3),
    "teacher.cache": Room(3, name_packages("filelock"), step=1),
    "teacher.usage": Room(3, step=2),
    "teacher.http": Room(3, name_packages("httpx tenacity"), step=2),
    "teacher.models": Room(3, name_packages("tqdm"), step=3),
    "teacher.entries": Room(3, step=1),
    "teacher.json_replies": Room(3, step=2),
    "teacher.line_replies": Room(3, step=2),
    "teacher.replies": Room(3, step=3),
    "teacher.prompts": Room(3, step=4),
    "teacher.tasks": Room(3, name_packages("spacy"), step=5),
    "teacher.annotations": Room(3, name_packages("spacy"), step=6),
    "teacher.recordings": Room(3, step=7),
    "pipeline": Room(4, name_packages("spacy thinc"), step=3),
    "pipeline.settings": Room(4, step=1),
    "pipeline.scorer": Room(4, name_packages("spacy"), step=1),
    "pipeline.component": Room(4, name_packages("spacy thinc numpy"), step=2),
    "curation": Room(4),
    "curation.ledger": Room(4, step=1),
    "curation.quality": Room(4, name_packages("spacy"), step=1),
    "curation.agreement": Room(4, name_packages("spacy"), step=2),
    "curation.filters": Room(4, step=2),
    "curation.files": Room(4, name_packages("spacy"), step=1),
    "curation.gold": Room(4, name_packages("spacy srsly"), step=2),
    "curation.curate": Room(4, name_packages("spacy"), step=3),
    "curation.page": Room(4, step=4),
    "configs_folder": Room(1),
    "benchmark": Room(6),
    "benchmark.specs": Room(6, name_packages("srsly"), step=1),
    "benchmark.formats": Room(6, name_packages("spacy"), step=1),
    "benchmark.datasets": Room(6, name_packages("pooch"), step=2),
    "benchmark.leakage": Room(6, step=1),
    "benchmark.metrics": Room(6, step=1),
    "benchmark.statistics": Room(6, name_packages("numpy"), step=2),
    "benchmark.errors": Room(6, step=1),
    "benchmark.systems": Room(6, name_packages("spacy gliner"), step=1),
    "benchmark.analyses": Room(6, step=2),
    "benchmark.run": Room(6, step=3),
    "benchmark.report": Room(6, name_packages("srsly"), step=4),
    "benchmark.plots": Room(6, name_packages("matplotlib"), step=5),
    "benchmark.mixing": Room(6, name_packages("matplotlib"), step=1),
    "benchmark.curves": Room(6, name_packages("matplotlib"), step=6),
    "benchmark.page": Room(6, name_packages("spacy"), step=5),
    "recipe": Room(4),
    "recipe.texts": Room(4, name_packages("spacy tokenizers"), step=1),
    "recipe.filters": Room(4, step=1),
    "recipe.duplicates": Room(4, name_packages("datasketch"), step=1),
    "recipe.frequencies": Room(4, name_packages("matplotlib"), step=1),
    "recipe.sources": Room(4, name_packages("spacy"), step=1),
    "recipe.tagging": Room(4, step=1),
    "recipe.conversations": Room(4, step=2),
    "recipe.build": Room(4, step=3),
    "tuning": Room(5),
    "tuning.settings": Room(5, step=1),
    "tuning.rows": Room(5, name_packages("torch transformers"), step=2),
    "tuning.run": Room(5, name_packages("torch transformers accelerate peft"), step=3),
    "tuning.curves": Room(5, name_packages("matplotlib"), step=1),
    "thresholds": Room(5, name_packages("spacy")),
    "service": Room(5),
    "service.limits": Room(5, step=1),
    "service.batching": Room(5, step=1),
    "service.bodies": Room(5, name_packages("starlette"), step=1),
    "service.metrics": Room(5, name_packages("prometheus_client starlette"), step=1),
    "service.finding": Room(5, name_packages("spacy"), step=1),
    "service.schema": Room(5, name_packages("fastapi pydantic"), step=2),
    "service.app": Room(5, name_packages("fastapi prometheus_client spacy"), step=3),
    "checkpoints": Room(4, name_packages("spacy thinc numpy srsly")),
    "learning_curve": Room(5, name_packages("spacy")),
    "cli": Room(7, name_packages("spacy typer"), step=3),
    "cli.pipelines": Room(7, name_packages("spacy srsly typer wasabi tqdm"), step=1),
    "cli.teacher": Room(7, name_packages("spacy typer tqdm wasabi confection"), step=1),
    "cli.curation": Room(7, name_packages("spacy srsly typer wasabi"), step=1),
    "cli.datasets": Room(7, name_packages("typer wasabi"), step=1),
    "cli.mixing": Room(7, name_packages("typer wasabi"), step=1),
    "cli.benchmark": Room(7, name_packages("srsly typer tqdm wasabi"), step=2),
    "scale": Room(4),
    "scale.inputs": Room(4, name_packages("spacy numpy pyarrow"), step=1),
    "scale.records": Room(4, name_packages("spacy"), step=2),
    "scale.outputs": Room(4, name_packages("spacy"), step=3),
    "scale.rows": Room(4, name_packages("spacy pandas"), step=3),
    "scale.shards": Room(4, step=3),
    "scale.parts": Room(4, step=4),
    "scale.processes": Room(4, step=5),
    "scale.on_ray": Room(4, name_packages("ray"), step=6),
    "scale.run": Room(4, step=7),
    "cli.apply": Room(6, name_packages("typer wasabi tqdm"), step=1),
    "cli.serve": Room(6, name_packages("typer wasabi uvicorn"), step=2),
    "cli.distill": Room(6, name_packages("spacy typer wasabi"), step=1),
    "cli.tune": Room(6, name_packages("typer wasabi"), step=1),
}

# The config joins these by registered name. The names of their types may be read under `if TYPE_CHECKING`.
APART = {"pipeline": ("students", "architectures")}


@dataclass(frozen=True)
class Import:
    """One import of a module.

    target: the dotted name imported; without the package's own name if it is `inside`.
    line: where it stands.
    inside: whether it is a module of this package.
    for_types: whether it stands under `if TYPE_CHECKING`.
    """

    target: str
    line: int
    inside: bool
    for_types: bool


def find_modules() -> dict[str, Path]:
    """Find the modules by dotted name; a folder goes by its own name, the package itself by `__init__`."""
    paths = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        paths[".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)] = path
    return paths


MODULES = find_modules()


def find_imports(source: str, module: str) -> list[Import]:
    """Find all imports, those inside functions too.

    source: the text of the module.
    module: its dotted name, as `find_modules` gives it.
    """
    is_folder = module == "__init__" or any(name.startswith(f"{module}.") for name in (*ROOMS, *MODULES))
    parts = [PACKAGE, *([] if module == "__init__" else module.split("."))]
    found = []
    for node, for_types in walk(ast.parse(source), for_types=False):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            n_up = node.level if not is_folder else node.level - 1
            base = ".".join(parts[: len(parts) - n_up]) if node.level else ""
            base = ".".join(filter(None, [base, node.module]))
            names = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        found.extend(make_import(name, node.lineno, for_types) for name in names)
    return found


def walk(node: ast.AST, for_types: bool) -> Iterator[tuple[ast.AST, bool]]:
    """Walk the tree, and say of each node whether it stands under `if TYPE_CHECKING`."""
    yield node, for_types
    if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
        branches = [(child, True) for child in node.body] + [(child, for_types) for child in node.orelse]
    else:
        branches = [(child, for_types) for child in ast.iter_child_nodes(node)]
    for child, child_for_types in branches:
        yield from walk(child, child_for_types)


def make_import(name: str, line: int, for_types: bool) -> Import:
    """Tell a module from what is taken out of it: `spacy_uniner.passages.Mention` is `passages`."""
    top, *parts = name.split(".")
    if top != PACKAGE:
        return Import(top, line, inside=False, for_types=for_types)
    while parts and ".".join(parts) not in ROOMS and ".".join(parts) not in MODULES:
        parts.pop()
    return Import(".".join(parts) or "__init__", line, inside=True, for_types=for_types)


def find_violations(source: str, module: str) -> list[str]:
    """Say of each import that breaks a rule which rule that is.

    source: the text of the module.
    module: its dotted name.
    """
    if module not in ROOMS:
        return [f"'{module}' has no room. Add it to ROOMS in tests/test_layers.py and to the table in the design."]
    return [
        f"{module}, line {an_import.line}: {reason}"
        for an_import in find_imports(source, module)
        if (reason := judge(an_import, module))
    ]


def judge(an_import: Import, module: str) -> str:
    """Say why the module may not have this import; an empty string if it may."""
    room, target = ROOMS[module], an_import.target
    if not an_import.inside:
        if target in sys.stdlib_module_names or target in room.outside:
            return ""
        return f"may import {', '.join(sorted(room.outside)) or 'the standard library only'}, not {target}."
    if target.split(".")[0] == "cli" and module.split(".")[0] != "cli":
        return "nothing imports cli."
    if target not in ROOMS:
        return f"imports '{target}', which has no room."
    if target.split(".")[0] in APART.get(module.split(".")[0], ()) and not an_import.for_types:
        return f"may import {target} under `if TYPE_CHECKING` only."
    if target.split(".")[0] == module.split(".")[0]:
        is_down = ROOMS[target].step < room.step
    else:
        is_down = ROOMS[target].layer < room.layer
    return "" if is_down else f"imports point down, and {target} does not lie below."


@pytest.mark.parametrize("module", MODULES)
def test_module_imports_only_what_its_room_may(module):
    violations = find_violations(MODULES[module].read_text(encoding="utf-8"), module)
    assert not violations, "\n".join(violations)


def test_init_imports_the_standard_library_only():
    imports = find_imports(MODULES["__init__"].read_text(encoding="utf-8"), "__init__")
    assert [found.target for found in imports if found.inside or found.target not in sys.stdlib_module_names] == []


def test_only_architectures_may_import_torch_and_thinc():
    assert [name for name, room in ROOMS.items() if {"torch", "thinc"} <= room.outside] == ["architectures"]


@pytest.mark.parametrize(
    "module, source",
    [
        ("passages", "import json\nfrom collections.abc import Iterable"),
        ("spans", "from .passages import Mention"),
        ("spans", "from spacy_uniner.passages import Mention"),
        ("cli", "from .. import passages, __version__"),
        ("students", "from ..passages import Passage"),
        ("students.encoder", "import torch.nn.functional as F\nfrom . import StudentOutput\nfrom .bert import Bert"),
        (
            "pipeline.component",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..students import StudentOutput",
        ),
        ("architectures", "import torch\nfrom thinc.api import Model\nfrom .students import encoder"),
    ],
)
def test_checker_lets_a_good_import_pass(module, source):
    assert find_violations(source, module) == []


@pytest.mark.parametrize(
    "module, source, reason",
    [
        ("passages", "import torch", "standard library only, not torch"),
        ("passages", "from .spans import Window", "spans does not lie below"),  # up
        ("spans", "from .hierarchy import Hierarchy", "hierarchy does not lie below"),  # sideways
        ("spans", "from . import hierarchy", "hierarchy does not lie below"),
        ("spans", "import spacy_uniner.hierarchy", "hierarchy does not lie below"),
        ("spans", "def cut():\n    import numpy", "line 2: may import the standard library only, not numpy"),
        ("students", "from .bert import Bert", "students.bert does not lie below"),  # up inside the folder
        ("students.bert", "from .encoder import EncoderStudent", "students.encoder does not lie below"),
        ("students.server", "from .generator import GeneratorStudent", "students.generator does not lie below"),
        ("students.encoder", "from ..docs import to_passage", "docs does not lie below"),
        ("students.encoder", "import spacy", "not spacy"),
        ("students.encoder", "from thinc.api import Model", "not thinc"),
        ("docs", "from .students import StudentOutput", "students does not lie below"),
        ("corpus", "from torch import Tensor", "not torch"),
        ("pipeline.component", "from ..students import StudentOutput", "students under `if TYPE_CHECKING` only"),
        (
            "pipeline.component",
            "def load():\n    from ..architectures import Encoder",
            "architectures under `if TYPE_CHECKING`",
        ),
        (
            "pipeline.component",
            "if TYPE_CHECKING:\n    pass\nelse:\n    from ..students import bert",
            "students.bert under `if",
        ),
        ("pipeline.component", "from ..cli import app", "nothing imports cli"),
        ("__init__", "from .passages import Passage", "passages does not lie below"),
        ("__init__", "import spacy", "standard library only, not spacy"),
        ("helpers", "import json", "'helpers' has no room. Add it"),
    ],
)
def test_checker_catches_a_bad_import(module, source, reason):
    (violation,) = find_violations(source, module)
    assert reason in violation
