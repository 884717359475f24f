"""What is to be done, in parts, and what is done: a manifest that holds inputs and settings fast, and a note a part."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

from .inputs import Source, Survey, survey
from .records import Bad, Piece

MANIFEST = "manifest.json"
BAD = "bad.jsonl"
NOTES = "done"  # the folder with the notes
HALF = ".half"  # the folder with what is only half written
PACKAGES = ("spacy", "spacy-uniner")


@dataclass(frozen=True)
class Settings:
    """What decides the rows, beside inputs and pipeline.

    format: "jsonl", "spacy" or "parquet".
    part_size: the records of a part.
    text_key: where the text is in a record.
    """

    format: str
    part_size: int
    text_key: str


@dataclass(frozen=True)
class Part:
    """What is read at once and written as one file.

    name: of the file, without its ending.
    pieces: the records, from one file or several.
    """

    name: str
    pieces: tuple[Piece, ...]

    @property
    def n_records(self) -> int:
        return sum(piece.stop - piece.start for piece in self.pieces)


@dataclass(frozen=True)
class Done:
    """The note of a part that is done.

    plan: checksum of the plan it belongs to.
    n_texts: texts read.
    n_entities: entities found in them.
    n_bytes: size of the file.
    bad: what was set aside.
    """

    name: str
    plan: str
    n_texts: int
    n_entities: int
    n_bytes: int
    bad: tuple[Bad, ...] = ()


@dataclass(frozen=True)
class Plan:
    """All that a run over inputs is to do, the same on every machine that takes part.

    pipeline: its fingerprint.
    surveys: what was found of each input, by name.
    """

    output: Path
    settings: Settings
    pipeline: str
    sources: tuple[Source, ...]
    surveys: tuple[Survey, ...]
    versions: dict[str, str] = field(default_factory=lambda: {name: version(name) for name in PACKAGES})

    @cached_property
    def digest(self) -> str:
        """A checksum of all that decides the rows."""
        content = self.to_json()
        for entry in content["inputs"]:
            del entry["mtime_ns"]
        return sha256(json.dumps(content, sort_keys=True).encode("utf-8")).hexdigest()

    def to_json(self) -> dict[str, Any]:
        inputs = [
            {"name": one.name, "kind": one.kind, **asdict(of_one)} for one, of_one in zip(self.sources, self.surveys)
        ]
        return {
            "format": "spacy_uniner.apply.v1",
            "versions": self.versions,
            "settings": asdict(self.settings),
            "pipeline": self.pipeline,
            "inputs": [{**entry, "offsets": list(entry["offsets"])} for entry in inputs],
        }

    def cut_parts(self) -> list[Part]:
        """Cut the records of all inputs, one behind another, into parts."""
        size = self.settings.part_size
        parts: list[list[Piece]] = []
        n_before = 0
        for source, of_one in zip(self.sources, self.surveys):
            first = -n_before % size
            starts = sorted({0, *range(first, of_one.n_records, size)})
            for start, stop in zip(starts, [*starts[1:], of_one.n_records]):
                offset = of_one.offsets[(start - first) // size] if start and of_one.offsets else 0
                if start < stop:
                    if (n_before + start) % size == 0:
                        parts.append([])
                    parts[-1].append(Piece(source, start, stop, offset))
            n_before += of_one.n_records
        return [Part(f"part-{n:06}", tuple(pieces)) for n, pieces in enumerate(parts)]

    def file_of(self, name: str) -> Path:
        """Give the file of a part."""
        return self.output / f"{name}.{self.settings.format}"


def make_plan(output: Path, sources: Sequence[Source], settings: Settings, pipeline: str) -> Plan:
    """Look through the inputs, or hold them against the manifest of the run before; write it if there is none.

    A file that has the size and the time of the last change that the manifest says is not read again.

    pipeline: its fingerprint.
    RAISES: ValueError if the folder was begun with other inputs, settings or another pipeline.
    """
    known = read_manifest(output)
    surveys = _survey_all(sources, settings, known)
    plan = Plan(output, settings, pipeline, tuple(sources), tuple(surveys))
    if not known:
        output.mkdir(parents=True, exist_ok=True)
        write_json(plan.to_json(), output / MANIFEST, output)
    elif differences := find_differences(known, plan.to_json()):
        raise ValueError(
            f"{output} was begun with something else: {'; '.join(differences)}. "
            "Give the same again to go on, or another --output, or remove that folder to start anew."
        )
    return plan


def _survey_all(sources: Sequence[Source], settings: Settings, known: dict[str, Any]) -> list[Survey]:
    is_same = known.get("settings") == asdict(settings)
    by_name = {entry["name"]: entry for entry in known.get("inputs", ())} if is_same else {}
    surveys: list[Survey] = []
    n_before = 0
    for source in sources:
        entry, stat = by_name.get(source.name), source.path.stat()
        if entry and (entry["n_bytes"], entry["mtime_ns"], entry["kind"]) == (
            stat.st_size,
            stat.st_mtime_ns,
            source.kind,
        ):
            of_one = Survey(
                stat.st_size, stat.st_mtime_ns, entry["sha256"], entry["n_records"], tuple(entry["offsets"])
            )
        else:
            of_one = survey(source, n_before, settings.part_size, settings.text_key)
        surveys.append(of_one)
        n_before += of_one.n_records
    return surveys


def read_manifest(output: Path) -> dict[str, Any]:
    """Read the manifest of a folder.

    RETURNS: its content; nothing if there is none.
    RAISES: ValueError if it is no manifest.
    """
    path = output / MANIFEST
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as err:
        raise ValueError(f"{path} is no JSON: {err}. Give another --output, or remove it to start anew.") from err
    if not isinstance(content, dict) or content.get("format") != "spacy_uniner.apply.v1":
        raise ValueError(f"{path} is no manifest of 'apply'. Give another --output.")
    return content


def find_differences(known: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Say in what a manifest and what is wanted differ; the time of the last change of a file does not count."""
    differences = []
    for group in ("settings", "versions"):
        for name in sorted({*known[group], *wanted[group]}):
            before, now = known[group].get(name), wanted[group].get(name)
            if before != now:
                differences.append(f"{name} was {before}, and is {now}")
    if known["pipeline"] != wanted["pipeline"]:
        differences.append("the pipeline, its types or its threshold are others")
    before_by_name, now_by_name = ({one["name"]: one for one in manifest["inputs"]} for manifest in (known, wanted))
    changed = [
        name
        for name in sorted(before_by_name.keys() & now_by_name.keys())
        if any(before_by_name[name][key] != now_by_name[name][key] for key in ("sha256", "kind"))
    ]
    for what, names in (
        ("inputs changed", changed),
        ("inputs are new", sorted(now_by_name.keys() - before_by_name.keys())),
        ("inputs are gone", sorted(before_by_name.keys() - now_by_name.keys())),
    ):
        if names:
            differences.append(f"{len(names)} {what}, such as '{names[0]}'")
    return differences


def choose_shard(parts: Sequence[Part], shard: str) -> list[Part]:
    """Choose the parts of one shard: every n-th, from the i-th on.

    shard: such as "2/8"; "" for all.
    RAISES: ValueError if it is no such pair.
    """
    if not shard:
        return list(parts)
    i, slash, n = shard.partition("/")
    if not (slash and i.isdecimal() and n.isdecimal() and 1 <= int(i) <= int(n)):
        raise ValueError(f"The shard is '{shard}', expected i/n with 1 <= i <= n, such as 2/8.")
    return list(parts[int(i) - 1 :: int(n)])


def note_done(plan_output: Path, done: Done) -> None:
    """Note that a part is done."""
    folder = plan_output / NOTES
    folder.mkdir(exist_ok=True)
    write_json(asdict(done), folder / f"{done.name}.json", plan_output)


def read_done(plan: Plan) -> dict[str, Done]:
    """Read which parts are done, by name. A part whose file is gone, or not as long as the note says, is not."""
    found = {}
    for path in sorted((plan.output / NOTES).glob("part-*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        done = Done(**{**content, "bad": tuple(Bad(**bad) for bad in content["bad"])})
        file = plan.file_of(done.name)
        if done.plan == plan.digest and file.is_file() and file.stat().st_size == done.n_bytes:
            found[done.name] = done
    return found


def collect(plan: Plan, n_parts: int) -> dict[str, Done]:
    """Write what was set aside as one file, and into the manifest what is done.

    n_parts: of the whole plan; when all are done, what was left half written is removed.
    RETURNS: what is done, by any shard.
    """
    found: dict[str, Done] = {}
    while (now := read_done(plan)) != found or not (plan.output / BAD).exists():  # another shard may write them, too
        found = now
        with replace(plan.output / BAD, plan.output) as file:
            for done in found.values():
                for bad in done.bad:
                    file.write(json.dumps(asdict(bad), ensure_ascii=False).encode("utf-8") + b"\n")
        counts = {
            name: {"n_texts": one.n_texts, "n_entities": one.n_entities, "n_bad": len(one.bad)}
            for name, one in found.items()
        }
        write_json({**plan.to_json(), "done": counts}, plan.output / MANIFEST, plan.output)
    if len(found) == n_parts:
        for half in (plan.output / HALF).glob("part-*"):  # not what another shard is about to finish
            half.unlink(missing_ok=True)
        with suppress(OSError):
            (plan.output / HALF).rmdir()
    return found


def write_json(content: dict[str, Any], path: Path, output: Path) -> None:
    """Write JSON all at once."""
    with replace(path, output) as file:
        file.write(json.dumps(content, ensure_ascii=False, indent=1).encode("utf-8"))


@contextmanager
def replace(path: Path, output: Path) -> Iterator[IO[bytes]]:
    """Give a file that takes the place of another when all of it is on the disk, and leaves nothing if that fails."""
    half = output / HALF / f"{path.name}.{uuid4().hex}"
    half.parent.mkdir(parents=True, exist_ok=True)
    try:
        with half.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(half, path)
    finally:
        half.unlink(missing_ok=True)
    if os.name == "posix":  # the new name, too
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
