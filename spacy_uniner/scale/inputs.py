"""Which files are read, of what kind they are, and where in them the parts begin."""

from __future__ import annotations

import glob
import hashlib
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal
from uuid import uuid4

import numpy
from spacy.tokens import DocBin

Kind = Literal["jsonl", "lines", "text", "spacy", "parquet"]

KINDS: dict[str, Kind] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".txt": "text",
    ".spacy": "spacy",
    ".parquet": "parquet",
}
BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Source:
    """A file to read.

    name: what it is called in ids and in the manifest: its path below the folder that was given.
    path: where it is on this machine.
    kind: "jsonl"; "lines": a text a line; "text": a text a file; "spacy"; "parquet".
    """

    name: str
    path: Path
    kind: Kind


@dataclass(frozen=True)
class Survey:
    """What one look at a file found.

    n_bytes: its size.
    mtime_ns: when it was changed last, in nanoseconds.
    sha256: of its content.
    n_records: lines, Docs or rows; 1 for a text a file. Blank lines count.
    offsets: of a file of lines, the byte at which each part begins that does not begin before it.
    """

    n_bytes: int
    mtime_ns: int
    sha256: str
    n_records: int
    offsets: tuple[int, ...] = ()


def find_sources(inputs: Sequence[str], output: Path, lines: bool) -> list[Source]:
    """Find the files to read: those named, those that a pattern matches, and those below a folder.

    What lies in the output folder, is hidden or has another ending is passed over, unless it is named.

    inputs: files, folders and patterns such as `corpus/**/*.jsonl`.
    output: the folder that is written to.
    lines: whether a .txt file holds a text a line; else it is one text.
    RETURNS: the files, sorted by name.
    RAISES: ValueError if an input is not there, has no file to read or an unknown ending, or two share a name.
    """
    sources: dict[str, Source] = {}
    for given in inputs:
        for root, path in _find_paths(given, output):
            kind = KINDS.get(path.suffix.lower())
            if kind is None:
                raise ValueError(f"Input {path} has an unknown ending. Known are: {', '.join(KINDS)}.")
            name = path.relative_to(root).as_posix()
            source = Source(name, path.resolve(), "lines" if kind == "text" and lines else kind)
            if sources.setdefault(name, source).path != source.path:
                raise ValueError(
                    f"Two inputs are called '{name}': {sources[name].path} and {source.path}. "
                    "Give the folder above both, or a pattern."
                )
    names: dict[Path, str] = {}
    for source in sources.values():
        if (other := names.setdefault(source.path, source.name)) != source.name:
            raise ValueError(f"{source.path} is given twice, as '{other}' and as '{source.name}'. Give it once.")
    return [sources[name] for name in sorted(sources)]


def _find_paths(given: str, output: Path) -> list[tuple[Path, Path]]:
    """Find the files of one input, each with the folder below which it is named."""
    path = Path(given)
    if path.is_file():
        return [(path.parent, path)]
    if path.is_dir():
        root, found = path, sorted(path.rglob("*"))
    else:
        root = path
        while glob.has_magic(str(root)):
            root = root.parent
        found = [Path(match) for match in sorted(glob.glob(given, recursive=True))]
    taken = [
        (root, one)
        for one in found
        if one.is_file()
        and one.suffix.lower() in KINDS
        and not any(part.startswith(".") for part in one.relative_to(root).parts)
        and output.resolve() not in one.resolve().parents
    ]
    if not taken:
        raise ValueError(
            f"Input '{given}' has no file to read. Give a file, a folder or a pattern of {', '.join(KINDS)}."
        )
    return taken


def keep_stream(stream: IO[bytes], output: Path, lines: bool) -> Source:
    """Write a stream, such as the standard input, to the output folder, so that it can be read again.

    lines: whether it holds a text a line; else it is JSONL.
    RAISES: ValueError if another stream was kept there before.
    """
    path = output / ("stdin.txt" if lines else "stdin.jsonl")
    part = path.with_name(f".{path.name}.{uuid4().hex}")
    output.mkdir(parents=True, exist_ok=True)
    with part.open("wb") as file:
        for block in _blocks(stream):
            file.write(block)
    if path.exists() and hash_file(path) != hash_file(part):
        part.unlink()
        raise ValueError(
            f"The standard input is not what {path} holds from the run before. "
            "Give the same once more to go on, or another --output to start anew."
        )
    part.replace(path)
    return Source(path.name, path.resolve(), "lines" if lines else "jsonl")


def survey(source: Source, n_before: int, part_size: int, text_key: str) -> Survey:
    """Look through a file once.

    n_before: the records of all files before it.
    part_size: the records of a part.
    text_key: the column that a Parquet file must have.
    RAISES: ValueError if the file cannot be read as what its ending says.
    """
    stat = source.path.stat()
    n_records = 1
    offsets: tuple[int, ...] = ()
    if source.kind in ("jsonl", "lines"):
        with source.path.open("rb") as file:
            n_records, offsets = find_offsets(_blocks(file), -n_before % part_size, part_size)
    elif source.kind == "spacy":
        n_records = len(load_doc_bin(source))
    elif source.kind == "parquet":
        columns, n_records = _read_parquet_meta(source)
        if text_key not in columns:
            raise ValueError(
                f"{source.path} has no column '{text_key}'. It has: {', '.join(columns)}. Give --text-key."
            )
    return Survey(stat.st_size, stat.st_mtime_ns, hash_file(source.path), n_records, offsets)


def find_offsets(blocks: Iterable[bytes], first: int, every: int) -> tuple[int, tuple[int, ...]]:
    """Count lines, and find the bytes at which some of them begin.

    blocks: the content.
    first: the first line to be found, counted from 0.
    every: from there, each so many-th.
    RETURNS: the number of lines, and the offsets.
    """
    n_lines = n_bytes = 0  # of the blocks before; lines that ended there
    offsets = [0] if first == 0 else []
    is_open = False
    for block in blocks:
        ends = numpy.flatnonzero(numpy.frombuffer(block, dtype=numpy.uint8) == 10)
        wanted = first + every * len(offsets)  # that line begins behind the newline of this number, counted from 1
        picked = ends[wanted - n_lines - 1 :: every]
        offsets.extend((picked + n_bytes + 1).tolist())
        n_lines += len(ends)
        n_bytes += len(block)
        is_open = not block.endswith(b"\n")
    n_lines += is_open
    n_parts = len(range(first, n_lines, every))
    return n_lines, tuple(offsets[:n_parts])


def load_doc_bin(source: Source) -> DocBin:
    """Read a .spacy file.

    RAISES: ValueError if it is none.
    """
    try:
        return DocBin().from_disk(source.path)
    except (ValueError, KeyError, TypeError, zlib.error) as err:
        raise ValueError(f"{source.path} is no .spacy file, or it is cut: {err}. Write it again.") from err


def open_parquet(source: Source) -> Any:
    """Open a Parquet file.

    RAISES: ValueError if it is none, ImportError without pyarrow.
    """
    pyarrow, parquet = import_parquet()
    try:
        return parquet.ParquetFile(source.path)
    except pyarrow.ArrowInvalid as err:
        raise ValueError(f"{source.path} is no Parquet file, or it is cut: {err} Write it again.") from err


def import_parquet() -> tuple[Any, Any]:
    """Import pyarrow when it is needed.

    RAISES: ImportError if it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as err:
        raise ImportError(
            "Parquet needs pyarrow, which is not installed. Run: pip install 'spacy-uniner[parquet]'"
        ) from err
    return pyarrow, pyarrow.parquet


def _read_parquet_meta(source: Source) -> tuple[list[str], int]:
    with open_parquet(source) as file:
        return list(file.schema_arrow.names), file.metadata.num_rows


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    yield from iter(lambda: file.read(BLOCK_BYTES), b"")


def hash_file(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in _blocks(file):
            digest.update(block)
    return digest.hexdigest()
