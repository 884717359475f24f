"""Specifications of datasets, the committed ones and broken ones."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import srsly

from spacy_uniner.benchmark.formats import READERS
from spacy_uniner.benchmark.specs import FORMATS, ZERO_SHOT, choose_suite, read_spec, read_specs
from spacy_uniner.configs_folder import find_configs

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "datasets"
GOOD = {
    "name": "notes",
    "dataset": "notes",
    "title": "Notes",
    "collection": "extra",
    "domain": "Clinics",
    "paper": "none",
    "licence": "ours",
    "access": "open",
    "source": {"files": {"test": "test.txt"}, "urls": {"test": "https://example.org/test.txt"}},
    "format": "columns",
    "types": {"MED": "drug"},
}


@pytest.fixture(scope="module")
def specs():
    return read_specs(find_configs() / "datasets")


def write(folder, content, name="notes"):
    path = folder / f"{name}.yml"
    srsly.write_yaml(path, content)
    return path


def test_collection_has_the_papers_rows_datasets_and_domains(specs):
    rows = [spec for spec in specs if spec.collection == "universalner"]
    assert (len(rows), len({spec.dataset for spec in rows}), len({spec.domain for spec in rows})) == (49, 43, 9)
    assert sorted(spec.name for spec in specs if spec.collection == "extra") == ["skillspan", "wnut2017"]
    assert all(spec.expected and set(spec.expected.sentences) == {"train", "dev", "test"} for spec in rows)


def test_number_of_types_is_the_papers_or_a_note_says_why_not(specs):
    for spec in specs:
        if spec.expected and len(set(spec.types.values())) != spec.expected.n_types:
            assert "types" in spec.note or spec.name == "stackoverflow-ner", spec.name


def test_every_format_has_a_reader():
    assert set(FORMATS) == set(READERS)


def test_committed_urls_are_of_https(specs):
    for spec in specs:
        for url in {*spec.source.urls.values(), spec.source.archive} - {None}:
            assert url.startswith("https://"), spec.name


@pytest.mark.skipif(not SHARED.exists(), reason="datasets that are not ours are not at hand")
def test_type_names_are_those_beside_the_data(specs):
    by_name = {spec.name: spec for spec in specs}
    folders = [path.parent for path in SHARED.glob("*-dev/*/labels.json")]
    assert len(folders) >= 19
    for folder in folders:
        assert dict(by_name[folder.name].types) == json.loads((folder / "labels.json").read_text(encoding="utf8"))


def test_specification_in_the_docs_is_one(tmp_path):
    page = (ROOT / "docs" / "datasets.md").read_text(encoding="utf8")
    (block,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "my-notes.yml").write_text(block, encoding="utf8")
    assert read_spec(tmp_path / "my-notes.yml").types == {"MED": "drug", "SYMP": "symptom"}


def test_suites(specs):
    assert tuple(spec.name for spec in choose_suite(specs, "zero-shot-7")) == ZERO_SHOT
    assert len(choose_suite(specs, "all")) == 49
    assert {spec.domain for spec in choose_suite(specs, "social-media")} == {"Social media"}
    assert [spec.name for spec in choose_suite(specs, "wnut2017, genia")] == ["wnut2017", "genia"]
    sizes = {name: len(choose_suite(specs, name)) for name in ("general", "biomed", "clinics", "stem", "law")}
    assert sizes == {"general": 16, "biomed": 8, "clinics": 7, "stem": 7, "law": 3}


@pytest.mark.parametrize("suite", ["nothing", "genia,nothing", ""])
def test_unknown_suite_is_refused_with_the_choices(specs, suite):
    with pytest.raises(ValueError, match=r"No suite or dataset '.*'\. Suites: all, biomed.*Datasets: ace04"):
        choose_suite(specs, suite)


def test_good_specification_is_read(tmp_path):
    spec = read_spec(write(tmp_path, GOOD))
    assert spec.source.can_be_fetched
    assert (spec.expected, spec.dropped, spec.options) == (None, (), {})


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"colour": "red"}, r"notes.yml: unknown colour. Known: access"),
        ({"source": {"files": {}, "path": "x"}}, r"notes.yml, source: unknown path"),
        ({"source": {"urls": {}}}, r"notes.yml, source: .*'files'. Add the field"),
        ({"source": "there"}, r"notes.yml, source: unknown 'there'"),
        ({"expected": {"sentences": {}}}, r"notes.yml, expected: .*n_types.*Add the field"),
        ({"access": "free"}, r"access is 'free', expected one of: open, registered, licensed"),
        ({"format": "xml"}, r"format is 'xml', expected one of: columns"),
        ({"domain": "Sports"}, r"domain is 'Sports'"),
        ({"collection": "mine"}, r"collection is 'mine'"),
        ({"name": "others"}, r"name is 'others', expected that of the file, 'notes'"),
        ({"dropped": ["MED"]}, r"labels both typed and dropped: MED"),
        ({"types": {}}, r"types is empty"),
        ({"types": ["MED"]}, r"types: \['MED'\] is no mapping of text to text"),
        ({"types": {"MED": ""}}, r"types: 'MED': '' is not text to text"),
        ({"types": {"MED": "drug", True: "yes"}}, r"types: True: 'yes' is not text to text. Put both in quotes"),
        ({"dropped": "MISC"}, r"dropped is 'MISC', expected a list of labels"),
        ({"dropped": None}, r"dropped is None, expected a list of labels"),
        ({"licence": None}, r"licence is None, expected text"),
        ({"options": {"seperator": ","}}, r"format 'columns' has no option 'seperator'. It has: word, tag, separator"),
        ({"options": {"scheme": "bmes"}}, r"scheme is 'bmes', expected one of: bio, iob1, io"),
        ({"options": ["word"]}, r"options is \['word'\], expected a mapping"),
        ({"format": "brat", "options": {"word": 0}}, r"format 'brat' has no option 'word'. It has: none"),
        ({"source": None}, r"notes.yml, source: unknown None"),
        ({"source": {"files": {"tset": "a"}}}, r"split 'tset' is unknown, expected one of: train, dev, test"),
        ({"source": {"files": {"test": "../a"}}}, r"'../a' leaves its folder"),
        ({"source": {"files": {"test": "/a"}}}, r"'/a' leaves its folder"),
        ({"source": {"files": {"test": 3}}}, r"source: files: 'test': 3 is not text to text"),
        ({"source": {"files": {}, "urls": {"test": "https://a"}}}, r"urls of test, but no files of these"),
        ({"source": {"files": {"test": "a"}, "urls": {"test": "file:///a"}}}, r"'file:///a' is no https or http URL"),
        ({"source": {"files": {"test": "a"}, "archive": "ftp://a"}}, r"'ftp://a' is no https or http URL"),
        ({"source": {"files": {"test": "a"}, "sha256": {"https://b": "0"}}}, r"sha256 of https://b, which is none of"),
        (
            {"expected": {"sentences": {"tset": 1}, "n_types": 1, "words_per_sentence": 1, "mentions_per_sentence": 1}},
            r"expected: sentences is {'tset': 1}, expected numbers of train, dev, test",
        ),
        (
            {
                "expected": {
                    "sentences": {"dev": "1"},
                    "n_types": 1,
                    "words_per_sentence": 1,
                    "mentions_per_sentence": 1,
                }
            },
            r"expected: \['1', 1, 1, 1\] are not all numbers above 0",
        ),
        ({"access": "licensed"}, r"how_to_get is missing"),
        ({"source": {"files": {}}}, r"how_to_get is missing"),
    ],
)
def test_broken_specification_is_refused(tmp_path, change, reason):
    with pytest.raises(ValueError, match=reason):
        read_spec(write(tmp_path, GOOD | change))


def test_missing_field_is_named(tmp_path):
    content = {key: value for key, value in GOOD.items() if key != "licence"}
    with pytest.raises(ValueError, match=r"notes.yml: .*'licence'. Add the field"):
        read_spec(write(tmp_path, content))


@pytest.mark.parametrize("content, reason", [("- a\n- b\n", "mapping of fields, got a list"), ("a: [", "is not YAML")])
def test_file_that_is_no_mapping_is_refused(tmp_path, content, reason):
    (tmp_path / "notes.yml").write_text(content, encoding="utf8")
    with pytest.raises(ValueError, match=rf"notes.yml.*{reason}"):
        read_spec(tmp_path / "notes.yml")


def test_folder_without_specifications_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"holds no .yml file"):
        read_specs(tmp_path)
