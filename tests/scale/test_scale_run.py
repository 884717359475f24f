"""Whatever ends a run, going on gives the rows of a run in one piece: none lost, none doubled."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pyarrow.parquet
import pytest
import spacy
from scale_world import make_texts, read_jsonl, read_rows, write_jsonl
from spacy.tokens import DocBin
from typer.testing import CliRunner

from spacy_uniner.cli import app
from spacy_uniner.scale.parts import Failure, PartWorker
from spacy_uniner.scale.processes import Deaths, WorkersFail
from spacy_uniner.scale.records import Piece
from spacy_uniner.scale.run import prepare, run
from spacy_uniner.scale.shards import Done, Part, Settings

SETTINGS = Settings("jsonl", 10, "text")


@pytest.fixture
def texts(tmp_path):
    return write_jsonl(tmp_path / "texts.jsonl", make_texts(95))


def do_here(inputs, output, settings=SETTINGS, **asked):
    """Do all parts in this process, and give their notes."""
    ready = prepare([str(inputs)], output, settings, **asked)
    worker = PartWorker(ready.job)
    return [worker.do(part) for part in ready.left]


def expect(records, rules):
    """Give the rows as one loop over the pipeline does."""
    nlp = spacy.load(rules)
    rows = []
    for record in records:
        entities = [
            {"start": ent.start_char, "end": ent.end_char, "label": ent.label_, "score": None, "text": ent.text}
            for ent in nlp(record["text"]).ents
        ]
        rows.append({**record, "entities": entities})
    return rows


def command_of(texts, output, model, *more):
    arguments = [str(texts), "--output", str(output), "--model", str(model), "--part-size", "10", *more]
    return [sys.executable, "-m", "spacy", "uniner", "apply", *arguments]


def start(*arguments, **how):
    return subprocess.Popen(command_of(*arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **how)


def wait_for(output, n_parts, process):
    """Wait until so many parts are done, and give the processes that the run has started."""
    for _ in range(300_000):
        if len(list((output / "done").glob("part-*.json"))) >= n_parts:
            return psutil.Process(process.pid).children(recursive=True)
        if process.poll() is not None:
            pytest.fail(f"It ended before {n_parts} parts were done: {process.stdout.read()}")
        time.sleep(0.002)
    pytest.fail(f"{n_parts} parts are not done in ten minutes.")


def test_rows_are_those_of_a_loop_over_the_pipeline(texts, tmp_path, rules):
    notes = do_here(texts, tmp_path / "out", model=str(rules))
    rows = read_rows(tmp_path / "out")
    assert rows == expect(make_texts(95), rules)
    assert [note.n_texts for note in notes] == [10] * 9 + [5]
    assert sum(note.n_entities for note in notes) == sum(len(row["entities"]) for row in rows) > 100


def test_what_is_bad_is_set_aside_and_counted(tmp_path, rules):
    path = tmp_path / "in" / "a.jsonl"
    write_jsonl(path, make_texts(12))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], b"{}\n", *lines[3:11], b"\xff\n", lines[11]]))
    ready = prepare([str(tmp_path / "in")], tmp_path / "out", SETTINGS, model=str(rules))
    worker = PartWorker(ready.job)
    assert [len(worker.do(part).bad) for part in ready.parts] == [1, 1]
    report = run(prepare([str(path.parent)], tmp_path / "out", SETTINGS, model=str(rules)), "processes", 1, print)
    assert [len(note.bad) for note in report.done] == [1, 1]
    assert report.new == ()
    bad = read_jsonl(tmp_path / "out" / "bad.jsonl")
    assert [(one["file"], one["line"]) for one in bad] == [("a.jsonl", 4), ("a.jsonl", 13)]
    assert [one["reason"][:16] for one in bad] == ["there is no text", "byte 1 is not UT"]
    assert len(read_rows(tmp_path / "out")) == 12
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf8"))
    assert sum(part["n_bad"] for part in manifest["done"].values()) == 2


def test_texts_on_which_the_pipeline_fails_are_set_aside(tmp_path, trouble):
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": "Paris"}, {"text": "FAIL"}, {"text": "Rome"}])
    (note,) = do_here(path, tmp_path / "out", model=str(trouble()))
    assert [(bad.line, bad.reason) for bad in note.bad] == [(2, "'trouble' raised ValueError: it says FAIL")]
    assert [row["text"] for row in read_rows(tmp_path / "out")] == ["Paris", "Rome"]


def test_a_pipeline_that_fails_on_everything_leaves_the_part_undone(tmp_path, trouble):
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": "FAIL"}] * 10)
    (failure,) = do_here(path, tmp_path / "out", model=str(trouble()))
    assert isinstance(failure, Failure)
    assert failure.reason.startswith("part-000000 is not written: The pipeline fails on all 10 texts")
    assert not (tmp_path / "out" / "part-000000.jsonl").exists()


def test_docs_come_out_with_the_words_they_had(tmp_path, tiny_nlp):
    tiny_nlp.to_disk(tmp_path / "tiny")
    doc = spacy.tokens.Doc(tiny_nlp.vocab, words=["Sally Ride", "met", "Alan", "in", "Rome"])
    doc.user_data["id"] = "x"
    DocBin(docs=[doc], store_user_data=True).to_disk(tmp_path / "a.spacy")
    (note,) = do_here(
        tmp_path / "a.spacy", tmp_path / "out", Settings("spacy", 5, "text"), model=str(tmp_path / "tiny")
    )
    (found,) = DocBin().from_disk(tmp_path / "out" / "part-000000.spacy").get_docs(tiny_nlp.vocab)
    assert [token.text for token in found] == ["Sally Ride", "met", "Alan", "in", "Rome"]
    assert found.user_data["id"] == "x"
    assert len(found.spans["universal_ner"]) == len(found.spans["universal_ner"].attrs["scores"]) == note.n_entities > 0


def test_parquet_goes_in_and_out(tmp_path, rules):
    rows = make_texts(25)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet", row_group_size=7)
    do_here(tmp_path / "a.parquet", tmp_path / "out", Settings("parquet", 10, "text"), model=str(rules))
    paths = sorted((tmp_path / "out").glob("part-*.parquet"))
    assert len(paths) == 3
    assert pyarrow.parquet.read_table(paths).to_pylist() == expect(rows, rules)


def test_a_folder_of_plain_texts_gives_a_row_a_file(tmp_path, rules):
    for n, record in enumerate(make_texts(5)):
        (tmp_path / "in" / str(n % 2)).mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / str(n % 2) / f"{n}.txt").write_text(record["text"], encoding="utf8")
    do_here(tmp_path / "in", tmp_path / "out", model=str(rules))
    assert [row["id"] for row in read_rows(tmp_path / "out")] == ["0/0.txt", "0/2.txt", "0/4.txt", "1/1.txt", "1/3.txt"]


@pytest.mark.parametrize(
    "settings, reason",
    [
        (Settings("csv", 10, "text"), "The format is 'csv', expected one of: jsonl, spacy, parquet"),
        (Settings("jsonl", 0, "text"), "The size of a part is 0, expected 1 record or more"),
        (Settings("jsonl", 10, "id"), "The text cannot be under 'id', which the output needs"),
    ],
)
def test_wrong_settings_are_an_error(texts, tmp_path, settings, reason):
    with pytest.raises(ValueError, match=reason):
        prepare([str(texts)], tmp_path / "out", settings)


# Workers that die

PART = Part("part-000007", (Piece(None, 70, 80),))


def test_a_part_is_given_up_when_workers_died_over_it_twice():
    class Named:
        name = "a.jsonl"

    part = Part("part-000007", (Piece(Named(), 70, 80),))
    deaths = Deaths()
    assert deaths.count(part, True, "x") == ""
    assert deaths.count(Part("part-000008", part.pieces), True, "x") == ""
    reason = deaths.count(part, True, "with exit code -9")
    assert reason == (
        "part-000007, which begins at record 71 of 'a.jsonl', is given up: 2 workers died over it, the last with exit "
        "code -9"
    )


def test_workers_that_cannot_load_the_pipeline_are_not_started_for_ever():
    deaths = Deaths()
    assert deaths.count(PART, False, "x") == ""
    deaths.count(PART, True, "x")  # this one could
    assert deaths.count(PART, False, "x") == ""
    with pytest.raises(WorkersFail, match="2 workers in a row died while they loaded the pipeline, the last with exit"):
        deaths.count(PART, False, "with exit code 1")


def test_workers_whose_pipeline_is_gone_end_the_run(texts, tmp_path, trouble, rules):
    spacy.load(rules).to_disk(tmp_path / "model")
    ready = prepare([str(texts)], tmp_path / "out", SETTINGS, model=str(tmp_path / "model"))
    (tmp_path / "model" / "meta.json").unlink()
    with pytest.raises(WorkersFail, match="died while they loaded the pipeline, the last with exit code 1"):
        run(ready, "processes", 1, lambda n: None)


def test_parts_over_which_workers_die_are_done_again_or_given_up(tmp_path, trouble, rules):
    records = make_texts(95)
    records[23]["text"] += " ONCE"
    records[57]["text"] += " KILL"
    path, model, n_read = write_jsonl(tmp_path / "a.jsonl", records), str(trouble()), []
    report = run(prepare([str(path)], tmp_path / "out", SETTINGS, model=model), "processes", 2, n_read.append)
    assert len(report.failed) == 1
    assert "part-000005, which begins at record 51 of 'a.jsonl', is given up: 2 workers died" in report.failed[0]
    expected = expect(records, rules)
    assert read_rows(tmp_path / "out") == expected[:50] + expected[60:]
    assert sum(n_read) == 85
    (tmp_path / "off").touch()
    report = run(prepare([str(path)], tmp_path / "out", SETTINGS, model=model), "processes", 2, n_read.append)
    assert ([note.name for note in report.new], report.failed) == (["part-000005"], ())
    assert read_rows(tmp_path / "out") == expected
    assert not (tmp_path / "out" / ".half").exists()


# Runs that are ended


@pytest.mark.slow
def test_a_run_killed_at_random_goes_on_with_nothing_lost_or_doubled(tmp_path, trouble, rules):
    records = make_texts(300)
    texts, output, model = write_jsonl(tmp_path / "a.jsonl", records), tmp_path / "out", trouble(seconds=0.01)
    numbers = random.Random(7)
    for n_parts, is_alone in zip(sorted(numbers.sample(range(1, 20), 2)), (False, True)):
        process = start(texts, output, model, "--workers", "2", start_new_session=True)
        workers = wait_for(output, n_parts, process)
        time.sleep(numbers.random() * 0.1)  # a part takes this long
        if is_alone:
            process.kill()
            assert not psutil.wait_procs(workers, timeout=300)[1]  # workers end when nobody hears them
        else:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        names = Counter(row["id"] for row in read_rows(output))  # before it goes on, too, all that is there is whole
        assert n_parts * 10 <= len(names) < 300
        assert set(names.values()) == {1}
    notes = do_here(texts, output, model=str(model))
    assert 0 < len(notes) < 30
    assert read_rows(output) == expect(records, rules)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_run_in_good_order(tmp_path, trouble, rules, number):
    records = make_texts(300)
    texts, output, model = write_jsonl(tmp_path / "a.jsonl", records), tmp_path / "out", trouble(seconds=0.01)
    process = start(texts, output, model)
    workers = wait_for(output, 2, process)
    process.send_signal(number)
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 128 + number, said
    assert "Stopped. What is done stays done" in said
    assert "Traceback" not in said
    assert not psutil.wait_procs(workers, timeout=300)[1]
    assert list((output / ".half").iterdir()) == []
    manifest = json.loads((output / "manifest.json").read_text(encoding="utf8"))
    assert 30 > len(manifest["done"]) == len(list((output / "done").iterdir())) >= 2
    before = {path: path.stat().st_mtime_ns for path in output.glob("part-*.jsonl")}
    do_here(texts, output, model=str(model))
    assert read_rows(output) == expect(records, rules)
    assert all(path.stat().st_mtime_ns == at for path, at in before.items())


@pytest.mark.slow
def test_two_shards_at_the_same_time_give_what_one_run_does(tmp_path, trouble, rules):
    records = make_texts(200)
    texts, output, model = write_jsonl(tmp_path / "a.jsonl", records), tmp_path / "out", trouble(seconds=0.001)
    processes = [start(texts, output, model, "--shard", f"{i}/2") for i in (1, 2)]
    said = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert all("10 of 10" in one for one in said)
    assert read_rows(output) == expect(records, rules)
    assert len(json.loads((output / "manifest.json").read_text(encoding="utf8"))["done"]) == 20


def limit_files():
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))  # bytes


@pytest.mark.slow
def test_a_part_that_cannot_be_written_is_not_done_and_ends_the_run(tmp_path, trouble, rules):
    records = make_texts(40)
    records[25]["text"] += " and so on" * 2000
    texts, output = write_jsonl(tmp_path / "a.jsonl", records), tmp_path / "out"
    process = start(texts, output, rules, preexec_fn=limit_files)
    said, _ = process.communicate()
    assert process.returncode == 1
    assert "part-000002 is not written: [Errno 27] File too large" in " ".join(said.split())
    assert sorted(path.name for path in (output / "done").iterdir()) == ["part-000000.json", "part-000001.json"]
    assert not (output / "part-000002.jsonl").exists()
    do_here(texts, output, model=str(rules))
    assert read_rows(output) == expect(records, rules)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can make a small disk")
def test_a_full_disk_ends_the_run_and_with_room_it_goes_on(tmp_path, trouble, rules):
    records = make_texts(1000)
    texts, disk = write_jsonl(tmp_path / "a.jsonl", records), tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no small disk can be made here")
    try:
        process = start(texts, disk / "out", rules)
        said, _ = process.communicate()
        assert process.returncode == 1, said
        assert "No space left on device" in said
        assert "What is done stays done" in said
        rows = read_rows(disk / "out")
        assert 0 < len(rows) < 1000
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        do_here(texts, disk / "out", model=str(rules))
        assert read_rows(disk / "out") == expect(records, rules)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


# The command


def call(*arguments, code=0, **more):
    result = CliRunner().invoke(app, ["apply", *map(str, arguments)], **more)
    assert result.exit_code == code, result.output
    return " ".join(result.output.replace("│", " ").split())


def test_the_command_tells_what_it_did_and_then_has_nothing_to_do(texts, tmp_path, trouble, rules):
    texts.write_bytes(texts.read_bytes() + b"{}\n")
    arguments = [texts, "--output", tmp_path / "out", "--model", rules, "--part-size", 50]
    said = call(*arguments)
    assert "this run 2 of 2 95 " in said
    assert "The first: texts.jsonl, 96: there is no text" in said
    assert "texts in" in said
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("part-*")}
    said = call(*arguments)
    assert "this run 0 of 2 0 " in said
    assert "in all 2 of 2 95 " in said
    assert "Nothing to do: all 2 parts were done." in said
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("part-*")} == before


def test_the_command_reads_the_standard_input(tmp_path, trouble, rules):
    call("-", "--output", tmp_path / "out", "--model", rules, "--lines", input="Paris\n\nRome\n")
    assert [(row["id"], row["text"]) for row in read_rows(tmp_path / "out")] == [
        ("stdin.txt:1", "Paris"),
        ("stdin.txt:3", "Rome"),
    ]


def test_the_command_fails_when_a_part_is_given_up(tmp_path, trouble):
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": "Paris"}, {"text": "KILL"}])
    said = call(path, "--output", tmp_path / "out", "--model", trouble(), "--part-size", 1, code=1)
    assert "part-000001, which begins at record 2 of 'a.jsonl', is given up" in said
    assert [row["text"] for row in read_rows(tmp_path / "out")] == ["Paris"]


def test_the_command_says_what_is_wrong(texts, tmp_path, rules):
    arguments = [texts, "--output", tmp_path / "out", "--model", rules]
    assert "The engine is 'spark', expected one of: processes, ray." in call(*arguments, "--engine", "spark", code=2)
    assert "The shard is '3/2', expected i/n" in call(*arguments, "--shard", "3/2", code=2)
    assert "Can't find model" in call(texts, "--output", tmp_path / "out", "--model", tmp_path / "no", code=1)


def test_notes_are_of_this_plan(texts, tmp_path, rules):
    notes = do_here(texts, tmp_path / "out", model=str(rules))
    assert all(isinstance(note, Done) for note in notes)
    assert {path.name for path in Path(tmp_path / "out" / "done").iterdir()} == {f"{note.name}.json" for note in notes}
    assert prepare([str(texts)], tmp_path / "out", SETTINGS, model=str(rules)).left == ()
