"""Datasets at hand: fetched from a server on loopback, unpacked, loaded and checked."""

from __future__ import annotations

import functools
import http.server
import io
import json
import sys
import tarfile
import threading
import zipfile

import pytest

from spacy_uniner.benchmark import datasets
from spacy_uniner.benchmark.datasets import check, fetch, load
from spacy_uniner.benchmark.specs import DatasetSpec, Expected, Source
from spacy_uniner.passages import Mention

BIO = "Alan B-PER\nflew O\n\nRome B-LOC\n\nJazz B-MISC\n"


def make_spec(**changes):
    values = {
        "name": "travels",
        "dataset": "travels",
        "title": "Travels",
        "collection": "extra",
        "domain": "General",
        "paper": "none",
        "licence": "ours",
        "access": "open",
        "source": Source({"test": "test.txt"}),
        "format": "columns",
        "types": {"PER": "person", "LOC": "location"},
        "dropped": ["MISC"],
        "how_to_get": "Ask Alan.",
    }
    return DatasetSpec(**{**values, **changes})


@pytest.fixture
def server(tmp_path):
    """A server on loopback over a folder; gives the folder and its URL."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        running.handle_error = lambda *args: None  # a download that is stopped hangs up
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


# Fetching


def test_files_are_fetched_once_and_read(server, tmp_path):
    folder, url = server
    (folder / "a.txt").write_text(BIO, encoding="utf8")
    spec = make_spec(source=Source({"test": "test.txt"}, urls={"test": f"{url}/a.txt"}))
    cache = tmp_path / "cache"
    assert fetch(spec, cache) == cache / "travels"
    (folder / "a.txt").unlink()
    fetch(spec, cache)
    gold = load(spec, "test", None, cache)
    assert [passage.words for passage in gold.passages] == [("Alan", "flew"), ("Rome",), ("Jazz",)]
    assert gold.passages[0].mentions == (Mention(0, 1, "person"),)
    assert gold.passages[0].types == ("location", "person")
    assert (gold.n_dropped, dict(gold.losses)) == (1, {})


def test_file_that_changed_after_the_first_download_is_refused(server, tmp_path):
    folder, url = server
    (folder / "a.txt").write_text(BIO, encoding="utf8")
    spec = make_spec(source=Source({"test": "test.txt"}, urls={"test": f"{url}/a.txt"}))
    path = fetch(spec, tmp_path) / "test.txt"
    path.write_text("other", encoding="utf8")
    with pytest.raises(ValueError, match=r"checksum of .*test.txt is .*, expected .*Delete the file and fetch it"):
        fetch(spec, tmp_path)


def test_checksum_of_the_specification_is_held(server, tmp_path):
    folder, url = server
    (folder / "a.txt").write_text(BIO, encoding="utf8")
    address = f"{url}/a.txt"
    spec = make_spec(source=Source({"test": "test.txt"}, urls={"test": address}, sha256={address: "0" * 64}))
    with pytest.raises(ValueError, match=r"'travels': checksum of .* expected 0000"):
        fetch(spec, tmp_path)


def test_what_is_not_there_is_said_with_what_to_do(server, tmp_path):
    _, url = server
    spec = make_spec(source=Source({"test": "test.txt"}, urls={"test": f"{url}/missing.txt"}))
    with pytest.raises(ValueError, match=r"missing.txt cannot be fetched .*name the folder above it by --data"):
        fetch(spec, tmp_path)
    assert not (tmp_path / "travels" / "test.txt").exists()


def test_too_large_a_file_is_refused_and_removed(server, tmp_path, monkeypatch):
    folder, url = server
    (folder / "a.txt").write_text(BIO, encoding="utf8")
    monkeypatch.setattr(datasets, "MAX_BYTES", 10)
    spec = make_spec(source=Source({"test": "test.txt"}, urls={"test": f"{url}/a.txt"}))
    with pytest.raises(ValueError, match=r"is larger than 10 bytes. Fetch it by hand"):
        fetch(spec, tmp_path)
    assert not (tmp_path / "travels" / "test.txt").exists()


def test_missing_pooch_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    spec = make_spec(source=Source({"test": "test.txt"}, urls={"test": "http://127.0.0.1:9/a.txt"}))
    with pytest.raises(ValueError, match=r"Fetching needs pooch. Install it with: pip install spacy-uniner\[benchmark"):
        fetch(spec, tmp_path)


@pytest.mark.parametrize(
    "changes",
    [{}, {"access": "licensed", "source": Source({"test": "test.txt"}, urls={"test": "http://127.0.0.1:9/a"})}],
)
def test_what_cannot_be_fetched_says_how_to_get_it(tmp_path, changes):
    with pytest.raises(ValueError, match=r"'travels' cannot be fetched. Ask Alan"):
        fetch(make_spec(**changes), tmp_path)


def make_zip(names):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in names:
            archive.writestr(name, BIO)
    return content.getvalue()


def make_tar(name, link=False):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        member = tarfile.TarInfo(name)
        if link:
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        member.size = 0 if link else len(BIO)
        archive.addfile(member, None if link else io.BytesIO(BIO.encode("utf8")))
    return content.getvalue()


def spec_of_archive(url, name):
    return make_spec(source=Source({"test": "data/test.txt"}, archive=f"{url}/{name}"))


@pytest.mark.parametrize(
    "name, content", [("a.zip", make_zip(["data/test.txt"])), ("a.tar.gz", make_tar("data/test.txt"))]
)
def test_archives_are_unpacked(server, tmp_path, name, content):
    folder, url = server
    (folder / name).write_bytes(content)
    spec = spec_of_archive(url, name)
    fetch(spec, tmp_path)
    assert len(load(spec, "test", None, tmp_path).passages) == 3


@pytest.mark.parametrize(
    "name, content",
    [
        ("a.zip", make_zip(["data/test.txt", "../evil.txt"])),
        ("a.zip", make_zip(["/evil.txt"])),
        ("a.zip", make_zip(["..\\evil.txt"])),
        ("a.tar.gz", make_tar("../evil.txt")),
        ("a.tar.gz", make_tar("evil.txt", link=True)),
    ],
)
def test_archive_that_leaves_its_folder_is_not_unpacked(server, tmp_path, name, content):
    folder, url = server
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=r"evil.txt', which is a link or leaves its folder. It is not unpacked"):
        fetch(spec_of_archive(url, name), tmp_path)
    assert sorted(path.name for path in (tmp_path / "travels").iterdir()) == [name, f"{name}.sha256"]


def test_archive_that_unpacks_to_too_much_is_refused(server, tmp_path, monkeypatch):
    folder, url = server
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data/test.txt", "O" * 100_000)
    monkeypatch.setattr(datasets, "MAX_BYTES", 10_000)
    with pytest.raises(ValueError, match=r"unpacks to 100,000 bytes, more than 10,000"):
        fetch(spec_of_archive(url, "a.zip"), tmp_path)


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_damaged_archive_is_refused(server, tmp_path, name):
    folder, url = server
    (folder / name).write_bytes(make_zip(["data/test.txt"])[:40] if name == "a.zip" else make_tar("data/test.txt")[:40])
    with pytest.raises(ValueError, match=f"{name} cannot be unpacked .*delete it and fetch it again"):
        fetch(spec_of_archive(url, name), tmp_path)


def test_archive_without_a_split_is_refused(server, tmp_path):
    folder, url = server
    (folder / "a.zip").write_bytes(make_zip(["other/test.txt"]))
    with pytest.raises(ValueError, match=r"'travels': data/test.txt is not among what .*correct files in travels.yml"):
        fetch(spec_of_archive(url, "a.zip"), tmp_path)


def test_download_stops_where_it_grows_too_large(server, tmp_path, monkeypatch):
    folder, url = server
    (folder / "a.txt").write_text("O\n" * 3_000_000, encoding="utf8")
    monkeypatch.setattr(datasets, "MAX_BYTES", 2_000)
    written = []
    write = datasets.LimitedFile.write
    monkeypatch.setattr(datasets.LimitedFile, "write", lambda self, part: written.append(write(self, part)))
    spec = make_spec(source=Source({"test": "test.txt"}, urls={"test": f"{url}/a.txt"}))
    with pytest.raises(ValueError, match="larger than 2,000 bytes"):
        fetch(spec, tmp_path)
    assert sum(written) <= 2_000
    assert list((tmp_path / "travels").iterdir()) == []  # no part of it either


# Loading


def write_tokens(folder, records, labels=None):
    folder.mkdir(parents=True)
    (folder / "test.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf8")
    if labels:
        (folder / "labels.json").write_text(json.dumps(labels), encoding="utf8")


TOKENS = {"tokens": ["Alan", "Bean"], "spans": [[0, 2, "PER"], [0, 2, "PER"]]}


@pytest.mark.parametrize("place", ["travels", "group/travels"])
def test_tokens_of_a_folder_come_first(tmp_path, place):
    write_tokens(tmp_path / "data" / place, [TOKENS], {"PER": "person"})
    (tmp_path / "cache" / "travels").mkdir(parents=True)
    (tmp_path / "cache" / "travels" / "test.txt").write_text(BIO, encoding="utf8")
    gold = load(make_spec(), "test", tmp_path / "data", tmp_path / "cache")
    assert [passage.mentions for passage in gold.passages] == [(Mention(0, 2, "person"),)]
    assert gold.passages[0].types == ("person",)  # those of the labels beside the data


def test_own_form_is_read_from_a_folder(tmp_path):
    (tmp_path / "travels").mkdir()
    (tmp_path / "travels" / "test.txt").write_text(BIO, encoding="utf8")
    assert len(load(make_spec(), "test", tmp_path, tmp_path / "none").passages) == 3


def test_own_form_may_have_the_name_of_the_tokens_form(tmp_path):
    (tmp_path / "travels").mkdir()
    record = {"text": "Alan flew.", "spans": [{"start": 0, "end": 4, "label": "PER"}]}
    (tmp_path / "travels" / "test.jsonl").write_text(json.dumps(record), encoding="utf8")
    spec = make_spec(format="json-spans", source=Source({"test": "test.jsonl"}))
    assert load(spec, "test", tmp_path, tmp_path).passages[0].mentions == (Mention(0, 1, "person"),)


@pytest.mark.parametrize(
    "spec, reason",
    [
        (make_spec(), "no test split at hand. Ask Alan"),
        (
            make_spec(source=Source({"test": "a"}, urls={"test": "x"})),
            "Fetch it: uniner datasets get --suite travels",
        ),
    ],
)
def test_split_that_is_not_at_hand_says_what_to_do(tmp_path, spec, reason):
    with pytest.raises(FileNotFoundError, match=reason):
        load(spec, "test", tmp_path, tmp_path)


@pytest.mark.parametrize(
    "records, labels, reason",
    [
        ([TOKENS], {"PER": "human"}, "label 'PER' is asked as 'human', but the specification says 'person'"),
        (
            [TOKENS],
            {"PER": "person", "MISC": "other"},
            "label 'MISC' is asked as 'other', but .* drops it. Take it out",
        ),
        ([TOKENS], {"PER": "person", "ORG": "group"}, "label 'ORG' is asked as 'group', but .* does not know it"),
        ([TOKENS], {"PER": 3}, "labels.json is no JSON object of labels: the type of 'PER' is 3"),
        ([TOKENS], {"LOC": "location"}, "label 'PER' has no type name. Add it to types, or to dropped, in travels.yml"),
        ([], None, "holds no sentence. Is it the right file for 'travels', test"),
        ([{"tokens": [], "spans": []}], None, "holds no sentence"),
    ],
)
def test_damaged_split_is_refused(tmp_path, records, labels, reason):
    write_tokens(tmp_path / "travels", records, labels)
    with pytest.raises(ValueError, match=reason):
        load(make_spec(), "test", tmp_path, tmp_path)


def test_labels_that_are_no_mapping_are_refused(tmp_path):
    write_tokens(tmp_path / "travels", [TOKENS])
    (tmp_path / "travels" / "labels.json").write_text("[1]", encoding="utf8")
    with pytest.raises(ValueError, match=r"labels.json is no JSON object of labels"):
        load(make_spec(), "test", tmp_path, tmp_path)


# Checking


def test_check_names_counts_losses_and_leakage(tmp_path):
    folder = tmp_path / "travels"
    folder.mkdir()
    (folder / "train.txt").write_text("Alan B-PER\n\nRome I-LOC\n\n", encoding="utf8")
    (folder / "test.txt").write_text("Alan B-PER\n\nParis B-LOC\n", encoding="utf8")
    spec = make_spec(
        source=Source({"train": "train.txt", "test": "test.txt"}),
        expected=Expected({"train": 2, "test": 5}, 2, 1.0, 1.0),
    )
    golds = [load(spec, split, tmp_path, tmp_path) for split in ("train", "test")]
    assert check(spec, golds) == [
        "train: 1 repaired.",
        "test has 2 sentences, expected 5.",
        "leakage: 1 sentences of test are in train, too.",
    ]


@pytest.mark.parametrize(
    "average, problems", [(0.7, []), (3.0, ["test has 0.7 mentions a sentence, expected about 3.0."])]
)
def test_check_names_mentions_that_are_too_few_or_too_many(tmp_path, average, problems):
    (tmp_path / "travels").mkdir()
    (tmp_path / "travels" / "test.txt").write_text(BIO, encoding="utf8")
    spec = make_spec(expected=Expected({"test": 3}, 2, 1.0, average))
    assert check(spec, [load(spec, "test", tmp_path, tmp_path)]) == problems


def test_check_names_ids_that_stand_twice(tmp_path):
    write_tokens(tmp_path / "travels", [TOKENS | {"id": "a"}, {"tokens": ["b"], "spans": [], "id": "a"}])
    (tmp_path / "travels" / "dev.jsonl").write_text('{"tokens": ["c"], "spans": [], "id": "a"}', encoding="utf8")
    golds = [load(make_spec(), split, tmp_path, tmp_path) for split in ("test", "dev")]
    assert check(make_spec(), golds) == ["test: 1 ids stand twice.", "leakage: 1 ids of dev are in test, too."]
