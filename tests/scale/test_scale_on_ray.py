"""On a Ray cluster of two workers the rows are those of one machine, also when a worker is killed in the middle."""

from __future__ import annotations

import os
import signal
import sys

import psutil
import pyarrow.parquet
import pytest
import spacy
from scale_world import make_texts, read_rows, write_jsonl

from spacy_uniner.scale.on_ray import import_ray, run_on_ray
from spacy_uniner.scale.parts import PartWorker
from spacy_uniner.scale.processes import WorkersFail
from spacy_uniner.scale.run import prepare, run
from spacy_uniner.scale.shards import Settings

SETTINGS = Settings("jsonl", 10, "text")


@pytest.fixture(scope="module")
def ray(trouble_site):
    """A cluster on this machine with room for two workers."""
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'spacy-uniner[ray]'")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(trouble_site))
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, address="local")
    yield ray
    ray.shutdown()


def expect(records, model):
    nlp = spacy.load(model)
    return [[(ent.start_char, ent.end_char, ent.label_, ent.text) for ent in nlp(one["text"]).ents] for one in records]


def found_in(rows):
    return [[(one["start"], one["end"], one["label"], one["text"]) for one in row["entities"]] for row in rows]


def find_workers(name):
    """Find the processes of Ray's workers that do what is called so."""
    children = psutil.Process().children(recursive=True)
    return [child for child in children if name in " ".join(child.cmdline())]


@pytest.mark.slow
def test_a_run_on_ray_gives_the_rows_of_one_machine_when_a_worker_is_killed(ray, tmp_path, trouble, rules):
    records = make_texts(200)
    path, model = write_jsonl(tmp_path / "a.jsonl", records), str(trouble(seconds=0.02))
    ready = prepare([str(path)], tmp_path / "out", SETTINGS, model=model)
    n_read, killed = [], []

    def progress(n):
        n_read.append(n)
        if len(n_read) == 3:
            workers = find_workers("PartWorker")
            assert len(workers) == 2
            os.kill(workers[0].pid, signal.SIGKILL)
            killed.append(workers[0].pid)

    report = run(ready, "ray", 2, progress)
    assert killed
    assert (report.failed, len(report.new), sum(n_read)) == ((), 20, 200)
    here = prepare([str(path)], tmp_path / "here", SETTINGS, model=str(rules))
    worker = PartWorker(here.job)
    for part in here.parts:
        worker.do(part)
    rows = read_rows(tmp_path / "out")
    assert rows == read_rows(tmp_path / "here")
    assert [row["id"] for row in rows] == [record["id"] for record in records]


@pytest.mark.slow
def test_a_part_that_kills_workers_on_ray_is_given_up_and_the_others_are_done(ray, tmp_path, trouble):
    records = make_texts(30)
    records[15]["text"] += " KILL"
    path = write_jsonl(tmp_path / "a.jsonl", records)
    ready = prepare([str(path)], tmp_path / "out", SETTINGS, model=str(trouble()))
    report = run(ready, "ray", 1, lambda n: None)
    assert [note.name for note in report.new] == ["part-000000", "part-000002"]
    (reason,) = report.failed
    assert reason.startswith("part-000001, which begins at record 11 of 'a.jsonl', is given up: 2 workers died over it")


@pytest.mark.slow
def test_a_worker_on_ray_that_cannot_go_on_ends_the_run(ray, tmp_path, trouble):
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": "FAIL"}] * 10)
    ready = prepare([str(path)], tmp_path / "out", SETTINGS, model=str(trouble()))
    with pytest.raises(WorkersFail, match="part-000000 is not written: The pipeline fails on all 10 texts"):
        run(ready, "ray", 1, lambda n: None)


@pytest.mark.slow
def test_the_recipe_for_map_batches_gives_the_rows_of_one_machine_when_a_worker_is_killed(
    ray, tmp_path, trouble, rules, recipes
):
    records = make_texts(200)
    records[101]["text"] += " ONCE"
    records[150]["text"] = ""
    table = pyarrow.Table.from_pylist(records)
    (tmp_path / "texts").mkdir()
    for n in range(10):
        pyarrow.parquet.write_table(table.slice(20 * n, 20), tmp_path / "texts" / f"{n}.parquet")
    recipes["find_on_ray"](str(tmp_path / "texts"), str(tmp_path / "found"), model=str(trouble()))
    assert (tmp_path / "once").exists()  # there a worker was killed
    rows = sorted(pyarrow.parquet.read_table(tmp_path / "found").to_pylist(), key=lambda row: int(row["id"][1:]))
    assert [{key: row[key] for key in records[0]} for row in rows] == records
    assert found_in(rows) == expect(records, rules)
    assert [row["id"] for row in rows if row["problem"]] == ["t150"]


def test_ray_that_is_not_installed_is_said_with_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"pip install 'spacy-uniner\[ray\]'"):
        import_ray()
    with pytest.raises(ImportError, match="Ray is not installed"):
        next(run_on_ray(None, [], 1, lambda n: None))
