"""What README and docs say can be done can be done: code runs, configs resolve, commands, files and links are there."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
import spacy.cli
import spacy_llm.registry  # noqa: F401 - makes the registries of models and tasks
import typer.main
from spacy import registry
from spacy.util import load_config
from thinc.api import Config

import spacy_uniner
from spacy_uniner.architectures import Encoder
from spacy_uniner.cli import app
from spacy_uniner.corpus import Distilled, HeldOut, Mixed
from spacy_uniner.pipeline import DEFAULT_CONFIG
from spacy_uniner.teacher.models import OpenAICompatible, Recorded

ROOT = Path(__file__).parent.parent
CARD = ROOT / "spacy_uniner" / "en_uniner_sm" / "README.md"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), CARD, ROOT / "CHANGELOG.md"]

FENCE = re.compile(r"^((?:> )?)```(\w+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
COMMAND = re.compile(r"(?:python|\$\(PY\)) -m spacy ([^`\n]+)")
OUR_FILES = re.compile(r"(?<![\w./])(?:(?:assets|benchmarks|configs|docs|tests)/[\w./-]+|constraints\.txt)")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    page: the file.
    line: where its first line stands.
    language: what is written behind the fence.
    text: what is inside, without the sign of a quotation.
    """

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def find_blocks(page: Path) -> Iterator[Block]:
    content = page.read_text(encoding="utf8")
    for match in FENCE.finditer(content):
        quote, language, text = match.groups()
        if quote:
            text = re.sub(r"^> ?", "", text, flags=re.MULTILINE)
        yield Block(page, content.count("\n", 0, match.start()) + 2, language, text)


def strip_blocks(content: str) -> str:
    return re.sub(r"`[^`\n]+`", "", FENCE.sub("", content))


BLOCKS = [block for page in PAGES for block in find_blocks(page)]


def blocks_of(*languages: str) -> list[Block]:
    return [block for block in BLOCKS if block.language in languages]


def name_page(page: Path) -> str:
    return str(page.relative_to(ROOT))


def test_the_embedded_student_is_there():
    folder = Path(spacy_uniner.__file__).parent / "en_uniner_sm"
    assert (folder / "student.safetensors").is_file()


@pytest.mark.parametrize("page", [page for page in PAGES if "```python" in page.read_text("utf8")], ids=name_page)
def test_python_blocks_run_in_order(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("assets", "configs"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    namespace: dict[str, Any] = {"__name__": "__docs__"}
    for block in blocks_of("python"):
        if block.page == page:  # the line breaks let a traceback name the line of the page
            exec(compile("\n" * (block.line - 1) + block.text, str(page), "exec"), namespace)


@pytest.mark.parametrize("block", blocks_of("ini", "cfg"), ids=str)
def test_config_blocks_resolve(block):
    config = Config().from_str(add_parents(block.text))
    for section in find_registered(config):
        registry.fill({"section": section})  # raises for an unknown name or setting, or a value of another type


def add_parents(text: str) -> str:
    """Put the headers that a piece of a config leaves out before it."""
    headers = re.findall(r"^\[([\w.]+)\]$", text, re.MULTILINE)
    parents = {parent for header in headers for parent in accumulate(header.split("."), "{}.{}".format)}
    return "\n".join(f"[{parent}]" for parent in sorted(parents - set(headers))) + "\n" + text


def find_registered(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Find the outermost sections with a registered name."""
    for section in config.values():
        if isinstance(section, dict):
            is_registered = any(key.startswith("@") for key in section)
            yield from [section] if is_registered else find_registered(section)


@pytest.mark.parametrize("block", blocks_of("ini", "cfg"), ids=str)
def test_component_blocks_have_known_settings(block):
    config = Config().from_str(add_parents(block.text))
    known = Config().from_str(DEFAULT_CONFIG)["universal_ner"]
    settings = config.get("components", {}).get("universal_ner", {})
    assert set(settings) <= {"factory", *known}


def find_commands() -> list[tuple[str, list[str]]]:
    """Find what stands behind `python -m spacy`, in blocks, in running text and in the Makefile, as (place, words)."""
    found = []
    for path in (*PAGES, ROOT / "Makefile"):
        content = path.read_text(encoding="utf8").replace("\\\n", " ")
        for match in COMMAND.finditer(content):
            words = re.sub(r"\s#.*|[…\"'()]", "", match[1]).split()
            found.append((f"{path.relative_to(ROOT)}: spacy {' '.join(words[:3])}", words))
    return found


@pytest.mark.parametrize("words", [pytest.param(words, id=place) for place, words in find_commands()])
def test_commands_and_their_options_exist(words):
    command: Any = typer.main.get_command(spacy.cli.app)
    while hasattr(command, "commands") and words:
        assert words[0] in command.commands
        command, words = command.commands[words[0]], words[1:]
    options = {name for parameter in command.params for name in parameter.opts}
    asked = {word for word in words if word.startswith("--")}
    overrides = {word for word in asked if "." in word}
    assert asked - overrides <= options
    if overrides:
        config = load_config(ROOT / words[0], interpolate=False)
        for override in overrides:
            section: Any = config
            for key in override.removeprefix("--").split("."):
                assert key in section
                section = section[key]


def test_every_command_of_ours_is_documented():
    content = "\n".join(page.read_text(encoding="utf8") for page in PAGES)
    for command in typer.main.get_command(app).commands:  # type: ignore[attr-defined]
        assert f"python -m spacy uniner {command}" in content


@pytest.mark.parametrize("block", blocks_of("bash"), ids=str)
def test_files_named_in_shell_blocks_exist(block):
    made = set(re.findall(r"--output (\S+)", block.text))
    missing = [name for name in OUR_FILES.findall(block.text) if name not in made and not (ROOT / name).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=name_page)
def test_links_lead_somewhere(page):
    for link in LINK.findall(strip_blocks(page.read_text(encoding="utf8"))):
        if not link.startswith("https://"):
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            assert target.exists(), link
            if anchor:
                assert anchor in find_anchors(target), link


def find_anchors(page: Path) -> set[str]:
    """Give the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^(?:> )?#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf8")), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def read_defaults(page: str, marker: str) -> dict[str, str]:
    """Read the defaults from the first table of settings after a marker, as written; "" where there is none."""
    _, found, rest = (ROOT / "docs" / page).read_text(encoding="utf8").partition(marker)
    assert found
    table = re.search(r"^\| Setting .*\n.*\n((?:\|.*\n)+)", rest, re.MULTILINE)
    assert table
    rows = [re.split(r"(?<!\\)\|", row)[1:-1] for row in table[1].splitlines()]
    return {row[0].strip().strip("`"): row[-1].strip().strip("`") for row in rows}


def test_the_table_of_settings_states_the_defaults_of_the_factory():
    known = Config().from_str(DEFAULT_CONFIG)["universal_ner"]
    expected = {name: json.dumps(value) for name, value in known.items() if not isinstance(value, dict)}
    expected |= {"model": known["model"]["@architectures"], "scorer": known["scorer"]["@scorers"]}
    assert read_defaults("component.md", "The settings of the factory") == expected


@pytest.mark.parametrize(
    "page, marker, function",
    [
        ("component.md", "The architecture `spacy_uniner.Encoder.v1`", Encoder),
        ("training.md", '@readers = "spacy_uniner.Distilled.v1"', Distilled),
        ("training.md", '@readers = "spacy_uniner.HeldOut.v1"', HeldOut),
        ("training.md", '@readers = "spacy_uniner.Mixed.v1"', Mixed),
        ("teacher.md", "\nThe settings:", OpenAICompatible),
        ("teacher.md", "The settings of `spacy_uniner.Recorded.v1`", Recorded),
    ],
)
def test_tables_of_settings_state_the_defaults_of_the_code(page, marker, function):
    parameters = inspect.signature(function).parameters.values()
    expected = {p.name: "" if p.default is p.empty else json.dumps(p.default) for p in parameters}
    assert read_defaults(page, marker) == expected


def test_demo_texts_ask_for_many_types_of_many_domains():
    records = [json.loads(line) for line in (ROOT / "assets" / "demo.jsonl").read_text(encoding="utf8").splitlines()]
    assert len({record["title"] for record in records}) >= 6
    assert len({label for record in records for label in record["labels"]}) >= 10
    assert all(record["text"].strip() and len(set(record["labels"])) == len(record["labels"]) for record in records)
