"""What a benchmark dataset is: a file of configs/datasets, checked when it is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path, PurePosixPath
from typing import Any

import srsly

ACCESS = ("open", "registered", "licensed")
COLLECTIONS = ("universalner", "extra")
DOMAINS = (
    "General",
    "Biomed",
    "Clinics",
    "STEM",
    "Programming",
    "Social media",
    "Law",
    "Finance",
    "Transportation",
)
OPTIONS = {  # of each format; see its reader
    "columns": ("word", "tag", "separator", "comment", "word_prefix", "label_prefix_only", "scheme"),
    "brat": (),
    "pubtator": (),
    "json-spans": ("text", "spans", "start", "end", "label", "is_sentence"),
    "jsonl-tokens": (),
    "conversations": (),
    "spacy": ("spans_key",),
}
FORMATS = tuple(OPTIONS)
SCHEMES = ("bio", "iob1", "io")
SPLITS = ("train", "dev", "test")
TEXTS = (
    "name",
    "dataset",
    "title",
    "collection",
    "domain",
    "paper",
    "licence",
    "access",
    "format",
    "how_to_get",
    "note",
)
ZERO_SHOT = (
    "crossner-ai",
    "crossner-literature",
    "crossner-music",
    "crossner-politics",
    "crossner-science",
    "mit-movie",
    "mit-restaurant",
)


@dataclass(frozen=True, slots=True)
class Source:
    """Where a dataset comes from.

    files: the path of each split, a file or a folder, in the folder with the data.
    urls: of each split's file, if they can be fetched one by one.
    archive: the URL of a .zip or .tar.gz with all of them, if that can be fetched.
    sha256: of each URL, where known.
    """

    files: Mapping[str, str]
    urls: Mapping[str, str] = field(default_factory=dict)
    archive: str | None = None
    sha256: Mapping[str, str] = field(default_factory=dict)

    @property
    def can_be_fetched(self) -> bool:
        """Whether there is a URL."""
        return bool(self.urls) or self.archive is not None


@dataclass(frozen=True, slots=True)
class Expected:
    """What the paper counts (Zhou et al. 2023, Table 6).

    sentences: of each split.
    n_types: entity types.
    words_per_sentence, mentions_per_sentence: averages, of which splits it does not say. Its words are a language
        model's pieces, about 1.4 times ours.
    """

    sentences: Mapping[str, int]
    n_types: int
    words_per_sentence: float
    mentions_per_sentence: float


@dataclass(frozen=True, slots=True)
class DatasetSpec:
    """A row of the benchmark.

    name: of the row, and of its file and folder.
    dataset: of which dataset it is a row.
    title, paper, licence, note: for people.
    collection: "universalner" for the 49 rows of the paper, else "extra".
    domain: one of `DOMAINS`.
    access: "open", "registered" (free, after a form) or "licensed".
    source: where it comes from.
    format: one of `FORMATS`.
    options: of that format.
    types: for each label of the source, the type that is asked.
    dropped: labels that are left out, such as MISC.
    expected: what the paper counts; None where it does not.
    how_to_get: what a person has to do; needed where the dataset cannot be fetched.
    """

    name: str
    dataset: str
    title: str
    collection: str
    domain: str
    paper: str
    licence: str
    access: str
    source: Source
    format: str
    types: Mapping[str, str]
    options: Mapping[str, Any] = field(default_factory=dict)
    dropped: Sequence[str] = ()
    expected: Expected | None = None
    how_to_get: str = ""
    note: str = ""


def read_spec(path: Path) -> DatasetSpec:
    """Read a specification.

    RAISES: ValueError with the file and the field if it is not one.
    """
    try:
        content = srsly.read_yaml(path)
    except ValueError as err:
        raise ValueError(f"{path} is not YAML: {err}") from err
    if not isinstance(content, dict):
        raise ValueError(f"{path}: a specification is a mapping of fields, got a {type(content).__name__}.")
    parts = {"source": Source, "expected": Expected}
    for name, kind in parts.items():
        if name in content and not (name == "expected" and content[name] is None):
            content[name] = build(kind, content[name], f"{path}, {name}")
    spec: DatasetSpec = build(DatasetSpec, content, str(path))
    check(spec, path)
    return spec


def build(kind: Any, content: Any, where: str) -> Any:
    """Make a dataclass of a mapping.

    RAISES: ValueError if a field is unknown or missing.
    """
    known = {one.name for one in fields(kind)}
    if not isinstance(content, Mapping) or not set(content) <= known:
        unknown = sorted(set(content) - known) if isinstance(content, Mapping) else [repr(content)]
        raise ValueError(f"{where}: unknown {', '.join(unknown)}. Known: {', '.join(sorted(known))}.")
    try:
        return kind(**content)
    except TypeError as err:
        raise ValueError(f"{where}: {err}. Add the field.") from err


def check(spec: DatasetSpec, path: Path) -> None:
    """Check what the fields say.

    RAISES: ValueError with the file and the field.
    """
    for name in TEXTS:
        if not isinstance(getattr(spec, name), str):
            raise ValueError(f"{path}: {name} is {getattr(spec, name)!r}, expected text. Put it in quotes.")
    check_texts(spec.types, f"{path}: types")
    if not isinstance(spec.dropped, (list, tuple)) or not all(isinstance(label, str) for label in spec.dropped):
        raise ValueError(f"{path}: dropped is {spec.dropped!r}, expected a list of labels.")
    choices = {"access": ACCESS, "collection": COLLECTIONS, "domain": DOMAINS, "format": FORMATS}
    for name, allowed in choices.items():
        if getattr(spec, name) not in allowed:
            raise ValueError(f"{path}: {name} is '{getattr(spec, name)}', expected one of: {', '.join(allowed)}.")
    if spec.name != path.stem:
        raise ValueError(f"{path}: name is '{spec.name}', expected that of the file, '{path.stem}'.")
    both = sorted(set(spec.types) & set(spec.dropped))
    if both:
        raise ValueError(f"{path}: labels both typed and dropped: {', '.join(both)}. Choose one.")
    if not spec.types:
        raise ValueError(f"{path}: types is empty. Give each label of the source the type that is asked.")
    check_options(spec, path)
    check_source(spec.source, path)
    check_expected(spec.expected, path)
    if not spec.how_to_get and (spec.access != "open" or not spec.source.can_be_fetched):
        raise ValueError(f"{path}: how_to_get is missing. Say what a person has to do to get the data.")


def check_texts(content: Any, where: str) -> None:
    """Check that a mapping is from text to text; YAML reads a bare number or yes as something else.

    RAISES: ValueError if it is not.
    """
    if not isinstance(content, Mapping):
        raise ValueError(f"{where}: {content!r:.60} is no mapping of text to text.")
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, str) or not value.strip():
            raise ValueError(
                f"{where}: {key!r}: {value!r} is not text to text. Put both in quotes, and leave none blank."
            )


def check_options(spec: DatasetSpec, path: Path) -> None:
    """Check that the format has such options.

    RAISES: ValueError with the file and the option.
    """
    known = OPTIONS[spec.format]
    if not isinstance(spec.options, Mapping):
        raise ValueError(f"{path}: options is {spec.options!r:.60}, expected a mapping.")
    for name in spec.options:
        if name not in known:
            raise ValueError(
                f"{path}: format '{spec.format}' has no option '{name}'. It has: {', '.join(known) or 'none'}."
            )
    if spec.options.get("scheme", "bio") not in SCHEMES:
        raise ValueError(f"{path}: scheme is '{spec.options['scheme']}', expected one of: {', '.join(SCHEMES)}.")


def check_source(source: Source, path: Path) -> None:
    """Check that splits are named, paths stay in their folder, and URLs are of the web.

    RAISES: ValueError with the file and what is wrong.
    """
    for name in ("files", "urls", "sha256"):
        check_texts(getattr(source, name), f"{path}, source: {name}")
    for split, file in source.files.items():
        if split not in SPLITS:
            raise ValueError(f"{path}, source: split '{split}' is unknown, expected one of: {', '.join(SPLITS)}.")
        if PurePosixPath(file).is_absolute() or ".." in PurePosixPath(file).parts or "\\" in file or ":" in file:
            raise ValueError(f"{path}, source: '{file}' leaves its folder. Give a path inside, with '/'.")
    without_file = sorted(set(source.urls) - set(source.files))
    if without_file:
        raise ValueError(f"{path}, source: urls of {', '.join(without_file)}, but no files of these. Add them.")
    urls = [*source.urls.values(), *([source.archive] if source.archive is not None else [])]
    for url in urls:
        if not str(url).startswith(("https://", "http://")):
            raise ValueError(f"{path}, source: '{url}' is no https or http URL.")
    of_none = sorted(set(source.sha256) - set(urls))
    if of_none:
        raise ValueError(f"{path}, source: sha256 of {', '.join(of_none)}, which is none of its URLs.")


def check_expected(expected: Expected | None, path: Path) -> None:
    """Check that what the paper counts are numbers, and of splits.

    RAISES: ValueError with the file and the field.
    """
    if expected is None:
        return
    counts = expected.sentences
    if not isinstance(counts, Mapping) or not set(counts) <= set(SPLITS):
        raise ValueError(f"{path}, expected: sentences is {counts!r:.60}, expected numbers of {', '.join(SPLITS)}.")
    numbers = [*counts.values(), expected.n_types, expected.words_per_sentence, expected.mentions_per_sentence]
    if not all(type(number) in (int, float) and number > 0 for number in numbers):
        raise ValueError(f"{path}, expected: {numbers} are not all numbers above 0.")


def read_specs(folder: Path) -> list[DatasetSpec]:
    """Read all specifications of a folder, sorted by name.

    RAISES: ValueError if there are none, or one is not right.
    """
    paths = sorted(folder.glob("*.yml"))
    if not paths:
        raise ValueError(f"{folder} holds no .yml file. Name the folder with the dataset specifications.")
    return [read_spec(path) for path in paths]


def choose_suite(specs: Sequence[DatasetSpec], suite: str) -> list[DatasetSpec]:
    """Choose datasets: "zero-shot-7"; a domain, such as "social-media"; "all" 49 rows of the paper; or names with
    commas between.

    RAISES: ValueError with the choices if there is no such suite or dataset.
    """
    by_name = {spec.name: spec for spec in specs}
    collection = [spec for spec in specs if spec.collection == "universalner"]
    suites = {domain.lower().replace(" ", "-"): [s for s in collection if s.domain == domain] for domain in DOMAINS}
    suites |= {"all": collection, "zero-shot-7": [by_name[name] for name in ZERO_SHOT if name in by_name]}
    if suite in suites:
        return suites[suite]
    names = [name.strip() for name in suite.split(",") if name.strip()]
    unknown = [name for name in names if name not in by_name]
    if unknown or not names:
        raise ValueError(
            f"No suite or dataset '{', '.join(unknown) or suite}'. Suites: {', '.join(sorted(suites))}. "
            f"Datasets: {', '.join(by_name)}."
        )
    return [by_name[name] for name in names]
