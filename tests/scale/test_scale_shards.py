"""The plan is the same for all that take part, holds inputs and settings fast, and knows what is done."""

from __future__ import annotations

import json
import os

import pytest
from scale_world import make_texts, read_jsonl, write_jsonl

from spacy_uniner.scale.inputs import find_sources
from spacy_uniner.scale.records import Bad
from spacy_uniner.scale.shards import (
    Done,
    Settings,
    choose_shard,
    collect,
    make_plan,
    note_done,
    read_done,
    replace,
)

SETTINGS = Settings("jsonl", 4, "text")


@pytest.fixture
def inputs(tmp_path):
    for name, n in (("a", 5), ("b", 0), ("c", 1), ("d", 9)):
        write_jsonl(tmp_path / "in" / f"{name}.jsonl", make_texts(n))
    return tmp_path / "in"


def plan_of(inputs, output, settings=SETTINGS, pipeline="p"):
    return make_plan(output, find_sources([str(inputs)], output, lines=False), settings, pipeline)


def test_parts_hold_every_record_once_across_files(inputs, tmp_path):
    parts = plan_of(inputs, tmp_path / "out").cut_parts()
    found = [[(piece.source.name[0], piece.start, piece.stop) for piece in part.pieces] for part in parts]
    assert found == [[("a", 0, 4)], [("a", 4, 5), ("c", 0, 1), ("d", 0, 2)], [("d", 2, 6)], [("d", 6, 9)]]
    assert [part.name for part in parts] == [f"part-00000{n}" for n in range(4)]
    for part in parts:
        for piece in part.pieces:
            lines = piece.source.path.read_bytes().splitlines(keepends=True)
            assert piece.offset == len(b"".join(lines[: piece.start]))


def test_a_plan_is_read_again_as_it_was_written(inputs, tmp_path):
    first = plan_of(inputs, tmp_path / "out")
    again = plan_of(inputs, tmp_path / "out")
    assert again == first
    assert again.cut_parts() == first.cut_parts()


def test_a_file_that_is_only_touched_is_the_same(inputs, tmp_path):
    first = plan_of(inputs, tmp_path / "out")
    os.utime(inputs / "a.jsonl", ns=(1, 1))
    assert plan_of(inputs, tmp_path / "out").digest == first.digest


def test_files_are_not_read_again_while_size_and_time_are_the_same(inputs, tmp_path, monkeypatch):
    plan_of(inputs, tmp_path / "out")
    monkeypatch.setattr("spacy_uniner.scale.shards.survey", lambda *_: pytest.fail("read again"))
    plan_of(inputs, tmp_path / "out")


@pytest.mark.parametrize(
    "change, reason",
    [
        (lambda folder: write_jsonl(folder / "a.jsonl", make_texts(6)), "1 inputs changed, such as 'a.jsonl'"),
        (lambda folder: write_jsonl(folder / "e.jsonl", make_texts(6)), "1 inputs are new, such as 'e.jsonl'"),
        (lambda folder: (folder / "b.jsonl").unlink(), "1 inputs are gone, such as 'b.jsonl'"),
    ],
)
def test_other_inputs_under_a_manifest_are_an_error(inputs, tmp_path, change, reason):
    plan_of(inputs, tmp_path / "out")
    change(inputs)
    with pytest.raises(ValueError, match=f"was begun with something else: {reason}. Give the same again to go on"):
        plan_of(inputs, tmp_path / "out")


def test_other_settings_or_another_pipeline_under_a_manifest_are_an_error(inputs, tmp_path):
    plan_of(inputs, tmp_path / "out")
    with pytest.raises(ValueError, match="format was jsonl, and is spacy; part_size was 4, and is 5"):
        plan_of(inputs, tmp_path / "out", Settings("spacy", 5, "text"))
    with pytest.raises(ValueError, match="the pipeline, its types or its threshold are others"):
        plan_of(inputs, tmp_path / "out", pipeline="q")


def test_another_version_under_a_manifest_is_an_error(inputs, tmp_path):
    plan_of(inputs, tmp_path / "out")
    path = tmp_path / "out" / "manifest.json"
    content = json.loads(path.read_text(encoding="utf8"))
    content["versions"]["spacy-uniner"] = "0.0.1"
    path.write_text(json.dumps(content), encoding="utf8")
    with pytest.raises(ValueError, match=r"spacy-uniner was 0\.0\.1, and is"):
        plan_of(inputs, tmp_path / "out")


@pytest.mark.parametrize("content, reason", [("{", "is no JSON"), ("[]", "is no manifest"), ("{}", "is no manifest")])
def test_a_manifest_that_is_none_is_an_error(inputs, tmp_path, content, reason):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "manifest.json").write_text(content, encoding="utf8")
    with pytest.raises(ValueError, match=reason):
        plan_of(inputs, tmp_path / "out")


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_shards_share_the_parts_without_a_rest(inputs, tmp_path, n):
    parts = plan_of(inputs, tmp_path / "out").cut_parts()
    shards = [choose_shard(parts, f"{i}/{n}") for i in range(1, n + 1)]
    assert sorted(part.name for shard in shards for part in shard) == [part.name for part in parts]
    assert choose_shard(parts, "") == parts


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "a/b", "1/2/3", "-1/2", "/"])
def test_a_shard_is_one_of_so_many(shard):
    with pytest.raises(ValueError, match=r"expected i/n with 1 <= i <= n, such as 2/8"):
        choose_shard([], shard)


# What is done


def finish(plan, name, content=b"{}\n", bad=(), digest=None):
    with replace(plan.file_of(name), plan.output) as file:
        file.write(content)
    note_done(plan.output, Done(name, digest or plan.digest, 1, 2, len(content), tuple(bad)))


def test_a_part_is_done_if_its_file_is_as_long_as_its_note_says(inputs, tmp_path):
    plan = plan_of(inputs, tmp_path / "out")
    assert read_done(plan) == {}
    for n in range(4):
        finish(plan, f"part-00000{n}")
    finish(plan, "part-000003", digest="of another plan")
    plan.file_of("part-000001").unlink()
    plan.file_of("part-000002").write_bytes(b"not as long")
    assert list(read_done(plan)) == ["part-000000"]


def test_what_is_written_is_all_there_or_not_at_all(inputs, tmp_path):
    plan = plan_of(inputs, tmp_path / "out")
    finish(plan, "part-000000", b"before")

    def fail():
        with replace(plan.file_of("part-000000"), plan.output) as file:
            file.write(b"half of it")
            raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        fail()
    assert plan.file_of("part-000000").read_bytes() == b"before"
    assert list((tmp_path / "out" / ".half").iterdir()) == []


def test_what_was_set_aside_comes_into_one_file_and_counts_into_the_manifest(inputs, tmp_path):
    plan = plan_of(inputs, tmp_path / "out")
    finish(plan, "part-000001", bad=[Bad("a.jsonl", 5, "ä"), Bad("d.jsonl", 1, "b")])
    finish(plan, "part-000000", bad=[Bad("a.jsonl", 2, "c")])
    assert list(collect(plan, 4)) == ["part-000000", "part-000001"]
    expected = [{"file": "a.jsonl", "line": 2, "reason": "c"}, {"file": "a.jsonl", "line": 5, "reason": "ä"}]
    assert read_jsonl(tmp_path / "out" / "bad.jsonl")[:2] == expected
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf8"))
    assert manifest["done"]["part-000001"] == {"n_texts": 1, "n_entities": 2, "n_bad": 2}
    assert plan_of(inputs, tmp_path / "out").digest == plan.digest


def test_what_another_shard_finishes_meanwhile_is_collected_too(inputs, tmp_path, monkeypatch):
    plan = plan_of(inputs, tmp_path / "out")
    finish(plan, "part-000000", bad=[Bad("a.jsonl", 2, "c")])
    found = [read_done(plan)]
    finish(plan, "part-000001", bad=[Bad("a.jsonl", 5, "d")])

    def read_stale_first(plan):
        return found.pop() if found else read_done(plan)

    monkeypatch.setattr("spacy_uniner.scale.shards.read_done", read_stale_first)
    collect(plan, 4)
    assert [bad["line"] for bad in read_jsonl(tmp_path / "out" / "bad.jsonl")] == [2, 5]


def test_what_was_left_half_written_goes_when_all_is_done(inputs, tmp_path):
    plan = plan_of(inputs, tmp_path / "out")
    (tmp_path / "out" / ".half" / "part-000000.jsonl.killed").write_bytes(b"{")
    for n in range(4):
        finish(plan, f"part-00000{n}")
    collect(plan, 4)
    assert not (tmp_path / "out" / ".half").exists()
