"""Benchmark datasets at hand: fetched and checked, or from a folder; read as passages, and looked over."""

from __future__ import annotations

import hashlib
import io
import json
import stat
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ..passages import Mention, Passage
from .formats import READERS, Losses, Sentence
from .specs import DatasetSpec

MAX_BYTES = 2_000_000_000
MAX_RATIO = 1.5  # by which mentions a sentence may differ from the paper's average; CrossNER's dev splits do by 1.4


@dataclass(frozen=True, slots=True)
class Gold:
    """A split of a dataset.

    name: of the dataset.
    split: "train", "dev" or "test".
    passages: all types of the dataset are asked of each.
    n_dropped: mentions of labels that are left out, such as MISC.
    losses: what the reader repaired or left out, by reason.
    """

    name: str
    split: str
    passages: tuple[Passage, ...]
    n_dropped: int
    losses: Mapping[str, int]


def fetch(spec: DatasetSpec, cache: Path, *, progress: bool = False) -> Path:
    """Fetch an open dataset over HTTP, unless it is there already, and check it.

    Where the specification states no checksum, that of the first download is written beside the file and must be the
    same ever after.

    RETURNS: the folder with its files.
    RAISES: ValueError if it is not open, cannot be fetched, has another checksum, is too large, is an archive that is
        damaged or has a path that leaves its folder, or lacks a split.
    """
    source = spec.source
    if spec.access != "open" or not source.can_be_fetched:
        raise ValueError(f"Dataset '{spec.name}' cannot be fetched. {spec.how_to_get}")
    folder = cache / spec.name
    for split, url in source.urls.items():
        fetch_file(spec, url, folder / source.files[split], progress)
    if source.archive:
        archive = folder / source.archive.rsplit("/", 1)[-1]
        fetch_file(spec, source.archive, archive, progress)
        unpack(archive, folder)
    missing = [path for path in source.files.values() if not (folder / path).exists()]
    if missing:
        raise ValueError(
            f"Dataset '{spec.name}': {', '.join(missing)} is not among what was fetched to {folder}. The source may "
            f"have changed; correct files in {spec.name}.yml by what is there."
        )
    return folder


def fetch_file(spec: DatasetSpec, url: str, path: Path, progress: bool) -> None:
    """Fetch a file, unless it is there already, and hold it against its checksum.

    RAISES: ValueError as `fetch`.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        download(spec, url, path, progress)
    check_hash(spec, url, path)


def download(spec: DatasetSpec, url: str, path: Path, progress: bool) -> None:
    """Download a file over HTTP and stop where it grows too large; what is there after a failure is removed.

    RAISES: ValueError if it cannot be fetched, is too large, or pooch is not installed.
    """
    try:
        import pooch
    except ImportError as err:
        raise ValueError("Fetching needs pooch. Install it with: pip install spacy-uniner[benchmark]") from err

    def write_some(url: str, output_file: str, source: Any) -> None:
        with LimitedFile(output_file, MAX_BYTES) as file:
            pooch.HTTPDownloader(progressbar=progress)(url, file, source)

    try:
        pooch.retrieve(url, known_hash=None, fname=path.name, path=path.parent, downloader=write_some)
    except TooLarge as err:
        raise ValueError(f"Dataset '{spec.name}': {url} is larger than {MAX_BYTES:,} bytes. Fetch it by hand.") from err
    except (OSError, ValueError) as err:  # those of requests are OSErrors
        path.unlink(missing_ok=True)
        raise ValueError(
            f"Dataset '{spec.name}': {url} cannot be fetched ({err}). Try again, or put the files into a folder "
            f"'{spec.name}' and name the folder above it by --data."
        ) from err


class TooLarge(ValueError):
    """More was written than may be."""


class LimitedFile(io.FileIO):
    """A new file that takes no more than so many bytes.

    path: where it is.
    max_bytes: how many it takes.
    RAISES: TooLarge from `write`, before there are more.
    """

    def __init__(self, path: str, max_bytes: int) -> None:
        super().__init__(path, "w")
        self.n_bytes_left = max_bytes

    def write(self, content: Any, /) -> int:
        self.n_bytes_left -= len(content)
        if self.n_bytes_left < 0:
            raise TooLarge(self.name)
        return super().write(content)


def check_hash(spec: DatasetSpec, url: str, path: Path) -> None:
    """Hold a file against the specification's checksum, or against that of the first download.

    RAISES: ValueError if they differ.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    found = digest.hexdigest()
    first = path.with_name(f"{path.name}.sha256")
    expected = spec.source.sha256.get(url) or (first.read_text(encoding="utf8").strip() if first.exists() else found)
    if expected != found:
        raise ValueError(
            f"Dataset '{spec.name}': checksum of {path} is {found}, expected {expected}. Delete the file and fetch it "
            f"again; if the source has changed, correct the specification or delete {first.name}."
        )
    first.write_text(found + "\n", encoding="utf8")


def unpack(path: Path, folder: Path) -> None:
    """Unpack an archive, after its names were checked.

    RAISES: ValueError if a name leaves the folder, is a link, all together are too large, or it is damaged.
    """
    try:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                members = [(m.filename, m.file_size, stat.S_ISLNK(m.external_attr >> 16)) for m in archive.infolist()]
                check_members(path, members)
                archive.extractall(folder)
        else:
            with tarfile.open(path) as tar:
                check_members(path, [(m.name, m.size, not (m.isfile() or m.isdir())) for m in tar.getmembers()])
                safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # not in every 3.10 and 3.11
                tar.extractall(folder, **safe)  # type: ignore[arg-type]
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, RuntimeError) as err:  # the last: encrypted
        raise ValueError(
            f"{path} cannot be unpacked ({type(err).__name__}: {err}). If it is cut, delete it and fetch it again."
        ) from err


def check_members(path: Path, members: Sequence[tuple[str, int, bool]]) -> None:
    """Check names, sizes and kinds of what is in an archive.

    RAISES: ValueError if a name leaves the folder, is no plain file, or all together are too large.
    """
    for name, _, is_special in members:
        parts = PurePosixPath(name.replace("\\", "/"))
        if is_special or parts.is_absolute() or ".." in parts.parts or ":" in name:
            raise ValueError(f"{path} holds '{name}', which is a link or leaves its folder. It is not unpacked.")
    total = sum(size for _, size, _ in members)
    if total > MAX_BYTES:
        raise ValueError(f"{path} unpacks to {total:,} bytes, more than {MAX_BYTES:,}. It is not unpacked.")


def load(spec: DatasetSpec, split: str, data: Path | None, cache: Path) -> Gold:
    """Load a split: from the folder with data, as NAME/SPLIT.jsonl or in the dataset's own form, else from what was
    fetched.

    data: a folder with a folder for each dataset, or with such folders one level deeper.
    RAISES: FileNotFoundError with what to do if it is not at hand; ValueError if it is damaged, empty, or has a label
        of which the specification does not say what it is.
    """
    for folder in (*find_folders(spec.name, data), cache / spec.name):
        tokens = folder / f"{split}.jsonl"
        own = folder / spec.source.files[split] if split in spec.source.files else None
        if tokens.exists() and (tokens != own or spec.format == "jsonl-tokens"):
            types = read_labels(spec, folder / "labels.json")
            return read_gold(spec, split, tokens, "jsonl-tokens", types)
        if own is not None and own.exists():
            return read_gold(spec, split, own, spec.format, spec.types)
    fetching = f"Fetch it: uniner datasets get --suite {spec.name}" if spec.source.can_be_fetched else spec.how_to_get
    raise FileNotFoundError(f"no {split} split at hand. {fetching}")


def find_folders(name: str, data: Path | None) -> list[Path]:
    """Give the folders in which a dataset may be."""
    if data is None:
        return []
    return [folder for folder in (data / name, *sorted(data.glob(f"*/{name}"))) if folder.is_dir()]


def read_labels(spec: DatasetSpec, path: Path) -> Mapping[str, str]:
    """Read the type names beside the data; some of those of the specification, and no others.

    RAISES: ValueError if one is another or of a label that the specification does not ask, or the file is no JSON
        object of strings.
    """
    if not path.exists():
        return spec.types
    try:
        types = dict(json.loads(path.read_text(encoding="utf8")))
    except (ValueError, TypeError) as err:
        raise ValueError(f"{path} is no JSON object of labels: {err}.") from err
    for label, type_ in types.items():
        if not isinstance(type_, str):
            raise ValueError(f"{path} is no JSON object of labels: the type of '{label}' is {type_!r}.")
        if label not in spec.types:
            state = "drops it" if label in spec.dropped else "does not know it"
            raise ValueError(
                f"{path}: label '{label}' is asked as '{type_}', but the specification {state}. Take it out, or add "
                f"it to types in {spec.name}.yml."
            )
        if spec.types[label] != type_:
            raise ValueError(
                f"{path}: label '{label}' is asked as '{type_}', but the specification says '{spec.types[label]}'. "
                "Type names are fixed, since rewording them changes scores; correct one of the two."
            )
    return types


def read_gold(spec: DatasetSpec, split: str, path: Path, form: str, types: Mapping[str, str]) -> Gold:
    """Read a split as passages.

    RAISES: ValueError if it is empty, damaged, or has a label without a type.
    """
    losses = Losses()
    asked = tuple(sorted(set(types.values())))
    passages = []
    n_dropped = 0
    options = spec.options if form == spec.format else {}
    for sentence in READERS[form](path, options, losses):
        if not sentence.words:
            losses.count("sentences without words")
            continue
        kept = [span for span in sentence.spans if span[2] not in spec.dropped]
        n_dropped += len(sentence.spans) - len(kept)
        passages.append(
            Passage(sentence.words, asked, to_mentions(spec, path, sentence, kept, types), source=sentence.id)
        )
    if not passages:
        raise ValueError(f"{path} holds no sentence. Is it the right file for '{spec.name}', {split}?")
    return Gold(spec.name, split, tuple(passages), n_dropped, {r: n for r, n in losses.counts.items() if n})


def to_mentions(
    spec: DatasetSpec, path: Path, sentence: Sentence, spans: Sequence[tuple[int, int, str]], types: Mapping[str, str]
) -> tuple[Mention, ...]:
    """Give spans their types.

    RAISES: ValueError if a label has none and is not dropped.
    """
    for _, _, label in spans:
        if label not in types:
            raise ValueError(
                f"{path}, {sentence.id}: label '{label}' has no type name. Add it to types, or to dropped, in "
                f"{spec.name}.yml."
            )
    return tuple(Mention(start, end, types[label]) for start, end, label in dict.fromkeys(spans))


def check(spec: DatasetSpec, golds: Sequence[Gold]) -> list[str]:
    """Look for what is not as it should be.

    RETURNS: in words: counts that differ from those of the paper, what readers lost, sentences or ids in two splits.
        Mentions are held against the paper's average only if the whole split is at hand, and loosely, since that is
        an average over all splits.
    """
    problems = []
    for gold in golds:
        expected = spec.expected.sentences.get(gold.split) if spec.expected else None
        if expected is not None and expected != len(gold.passages):
            problems.append(f"{gold.split} has {len(gold.passages):,} sentences, expected {expected:,}.")
        elif spec.expected and expected is not None:
            found = sum(len(passage.mentions) for passage in gold.passages) / expected
            wanted = spec.expected.mentions_per_sentence
            if not wanted / MAX_RATIO - 0.05 <= found <= wanted * MAX_RATIO + 0.05:  # the paper rounds to 0.1
                problems.append(f"{gold.split} has {found:.1f} mentions a sentence, expected about {wanted}.")
        problems += [f"{gold.split}: {n:,} {reason}." for reason, n in sorted(gold.losses.items())]
        n_twice = sum(n - 1 for n in Counter(passage.source for passage in gold.passages).values())
        if n_twice:
            problems.append(f"{gold.split}: {n_twice:,} ids stand twice.")
    for n, gold in enumerate(golds):
        for other in golds[n + 1 :]:
            words = {passage.words for passage in gold.passages}
            n_shared = sum(passage.words in words for passage in other.passages)
            if n_shared:
                problems.append(f"leakage: {n_shared:,} sentences of {other.split} are in {gold.split}, too.")
            ids = {passage.source for passage in gold.passages}
            n_ids = sum(passage.source in ids for passage in other.passages)
            if n_ids:
                problems.append(f"leakage: {n_ids:,} ids of {other.split} are in {gold.split}, too.")
    return problems
