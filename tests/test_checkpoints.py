"""Checkpoints: what is saved, what is taken up again, and a real run that is killed and goes on."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
import spacy
import torch
from conftest import TinyCorpus
from spacy.language import Language

from spacy_uniner.checkpoints import (
    ContinueFromCheckpoint,
    SaveCheckpoint,
    continued,
    n_steps_before,
    warmup_cosine,
)

ROOT = Path(__file__).parent.parent


def read_state(folder: Path) -> dict[str, object]:
    return json.loads((folder / "state.json").read_text(encoding="utf8"))


def weights_of(nlp: Language) -> dict[str, torch.Tensor]:
    encoder = nlp.get_pipe("universal_ner").model.shims[0]._model
    return {name: tensor.clone() for name, tensor in encoder.get().state_dict().items()}


def resolve_rate(nlp: Language) -> Iterator[float]:
    return spacy.registry.resolve({"rate": nlp.config["training"]["optimizer"]["learn_rate"]})["rate"]


@pytest.fixture
def nlp(tiny_nlp) -> Language:
    """The tiny pipeline with a schedule and a number of steps, as a config for training has them."""
    tiny_nlp.config["training"]["max_steps"] = 100
    tiny_nlp.config["training"]["seed"] = 5
    tiny_nlp.config["training"]["optimizer"]["learn_rate"] = {
        "@schedules": "spacy_uniner.warmup_cosine.v1",
        "rate": 0.5,
        "n_warmup_steps": 10,
        "n_steps": 100,
    }
    return tiny_nlp


# Saving


def test_checkpoint_is_saved_every_so_many_steps(nlp, tmp_path):
    save = SaveCheckpoint(tmp_path / "runs" / "checkpoint", every_n_steps=3)
    saved = []
    for step in range(8):
        save(nlp, {"step": step, "epoch": 0})
        saved.append(sorted(path.name for path in (tmp_path / "runs").glob("checkpoint/step-*")))
    assert saved == [[], [], [], ["step-3"], ["step-3"], ["step-3"], ["step-6"], ["step-6"]]
    assert read_state(tmp_path / "runs" / "checkpoint") == {"n_steps": 6, "pipeline": "step-6"}


def test_checkpoint_is_a_pipeline_that_loads(nlp, tmp_path):
    SaveCheckpoint(tmp_path, every_n_steps=1)(nlp, {"step": 1, "epoch": 0})
    loaded = spacy.load(tmp_path / "step-1")
    assert loaded.get_pipe("universal_ner").labels == ("city", "person")
    expected = weights_of(nlp)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in weights_of(loaded).items())


def test_what_a_killed_run_left_half_written_is_replaced(nlp, tmp_path):
    (tmp_path / "step-2" / "universal_ner").mkdir(parents=True)
    (tmp_path / "state.json.part").write_text('{"n_st', encoding="utf8")
    SaveCheckpoint(tmp_path, every_n_steps=2)(nlp, {"step": 2, "epoch": 0})
    assert read_state(tmp_path) == {"n_steps": 2, "pipeline": "step-2"}
    assert spacy.load(tmp_path / "step-2").pipe_names == ["universal_ner"]


def test_last_checkpoint_stays_until_the_next_is_whole(nlp, tmp_path, monkeypatch):
    save = SaveCheckpoint(tmp_path, every_n_steps=1)
    save(nlp, {"step": 1, "epoch": 0})

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr(nlp, "to_disk", fail)
    with pytest.raises(OSError, match="no space left"):
        save(nlp, {"step": 2, "epoch": 0})
    assert read_state(tmp_path) == {"n_steps": 1, "pipeline": "step-1"}
    assert (tmp_path / "step-1" / "universal_ner" / "model").is_file()


def test_run_that_went_on_counts_all_of_its_steps(nlp, tmp_path):
    save = SaveCheckpoint(tmp_path, every_n_steps=4)
    save(nlp, {"step": 4, "epoch": 0})
    ContinueFromCheckpoint(tmp_path)(nlp)
    assert n_steps_before(nlp) == 4
    for step in range(6):
        save(nlp, {"step": step, "epoch": 0})
    assert read_state(tmp_path) == {"n_steps": 8, "pipeline": "step-8"}


def test_checkpoint_at_every_zero_steps_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"A checkpoint needs every_n_steps >= 1, got 0"):
        SaveCheckpoint(tmp_path, every_n_steps=0)


# Going on


@pytest.fixture
def checkpoint(nlp, tmp_path) -> Path:
    """A checkpoint after 30 steps, whose weights differ from those of the tiny student."""
    student = nlp.get_pipe("universal_ner").model.shims[0]._model.get()
    before = student.offsets.detach().clone()
    with torch.no_grad():
        student.offsets += 0.125
    SaveCheckpoint(tmp_path / "checkpoint", every_n_steps=30)(nlp, {"step": 30, "epoch": 0})
    with torch.no_grad():
        student.offsets.copy_(before)
    return tmp_path / "checkpoint"


def test_run_without_a_checkpoint_starts_from_the_beginning(nlp, tmp_path):
    before = nlp.config.to_str()
    assert ContinueFromCheckpoint(tmp_path / "nowhere")(nlp) is nlp
    assert nlp.config.to_str() == before
    assert n_steps_before(nlp) == 0


def test_run_with_a_checkpoint_takes_its_weights(nlp, checkpoint):
    before = weights_of(nlp)
    assert ContinueFromCheckpoint(checkpoint)(nlp) is nlp
    after = weights_of(nlp)
    assert torch.equal(after.pop("offsets"), before.pop("offsets") + 0.125)
    assert all(torch.equal(tensor, before[name]) for name, tensor in after.items())


def test_run_with_a_checkpoint_has_the_remaining_steps_to_do(nlp, checkpoint):
    ContinueFromCheckpoint(checkpoint)(nlp)
    assert nlp.config["training"]["max_steps"] == 70
    assert nlp.config["training"]["seed"] == 35
    assert list(islice(resolve_rate(nlp), 20)) == list(islice(warmup_cosine(0.5, 10, 100), 30, 50))


def test_run_that_was_done_has_no_more_than_one_step_to_do(nlp, checkpoint):
    nlp.config["training"]["max_steps"] = 30
    ContinueFromCheckpoint(checkpoint)(nlp)
    assert nlp.config["training"]["max_steps"] == 1


def test_run_without_an_end_still_has_none(nlp, checkpoint):
    nlp.config["training"]["max_steps"] = 0  # to spaCy, no limit
    ContinueFromCheckpoint(checkpoint)(nlp)
    assert nlp.config["training"]["max_steps"] == 0


def test_rate_that_is_one_number_goes_on_as_it_was(nlp, checkpoint):
    nlp.config["training"]["optimizer"]["learn_rate"] = 0.25
    ContinueFromCheckpoint(checkpoint)(nlp)
    assert next(resolve_rate(nlp)) == 0.25
    optimizer = spacy.registry.resolve({"optimizer": nlp.config["training"]["optimizer"]})["optimizer"]
    assert [optimizer.step_schedules() or optimizer.learn_rate for _ in range(3)] == [0.25] * 3


def test_data_of_a_run_that_goes_on_come_in_another_order(nlp, checkpoint):
    distilled = {"@readers": "spacy_uniner.Distilled.v1", "passages": "p", "names": "n", "seed": "${system.seed}"}
    nlp.config["system"]["seed"] = 7
    nlp.config["corpora"] = {
        "train": {"@readers": "spacy_uniner.Mixed.v1", "gold": "${corpora.dev}", "distilled": distilled, "seed": 2},
        "dev": {**distilled, "seed": 9},
    }
    nlp.config["training"]["train_corpus"] = "corpora.train"
    ContinueFromCheckpoint(checkpoint)(nlp)
    corpora = nlp.config.interpolate()["corpora"]
    assert corpora["train"]["seed"] == 32
    assert corpora["train"]["distilled"]["seed"] == 37
    assert corpora["dev"]["seed"] == 9


# The learning rate


def test_rate_rises_to_its_height_and_falls_to_zero():
    rates = list(warmup_cosine(0.5, 4, 10))
    assert rates[:5] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert rates[4:] == pytest.approx([0.25 * (1 + math.cos(math.pi * step / 6)) for step in range(7)])
    assert rates[-1] == 0.0


def test_rate_without_a_warm_up_starts_at_its_height():
    assert next(warmup_cosine(0.5, 0, 10)) == 0.5


@pytest.mark.parametrize("n_warmup_steps, n_steps", [(-1, 5), (5, 5), (6, 5), (0, 0)])
def test_warm_up_that_is_not_shorter_than_the_whole_is_refused(n_warmup_steps, n_steps):
    with pytest.raises(ValueError, match=rf"needs 0 <= n_warmup_steps < n_steps, got {n_warmup_steps} and {n_steps}"):
        warmup_cosine(0.5, n_warmup_steps, n_steps)


def test_schedule_goes_on_where_it_was_left():
    assert list(continued(iter([0.1, 0.2, 0.3, 0.4]), 2)) == [0.3, 0.4]
    assert list(continued(iter([0.1]), 0)) == [0.1]


# A real run


def make_command(folder: Path, corpus: TinyCorpus, n_steps: int) -> list[str]:
    """Make the command of a run with the student in `folder / "student"`, which it saves every five steps."""
    settings = {
        "paths.sentence_encoder": folder / "student",
        "paths.passages": corpus.passages,
        "paths.names": corpus.names,
        "paths.checkpoint": folder / "checkpoint",
        "variables.n_steps": n_steps,
        "variables.batch_size": 4,
        "components.universal_ner.model.precision": "float32",
        "training.eval_frequency": 100,
        "training.before_update.every_n_steps": 5,
        "training.optimizer.learn_rate.n_warmup_steps": 2,
        "training.logger.output_file": folder / "log.jsonl",
        "training.logger.progress_bar": "null",
    }
    command = [sys.executable, "-m", "spacy", "train", str(ROOT / "configs" / "encoder.cfg")]
    command += ["--output", str(folder / "output")]
    return command + [part for name, value in settings.items() for part in (f"--{name}", str(value))]


def test_run_that_is_killed_goes_on_by_the_same_command(tiny_folder, tiny_corpus, tmp_path):
    shutil.copytree(tiny_folder, tmp_path / "student")
    command = make_command(tmp_path, tiny_corpus, n_steps=600)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (tmp_path / "output.txt").open("w", encoding="utf8") as output:
        run = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT, cwd=tmp_path)
        while not (tmp_path / "checkpoint" / "state.json").is_file() and run.poll() is None:
            time.sleep(0.01)
        run.kill()
        run.wait()
    n_done = read_state(tmp_path / "checkpoint")["n_steps"]
    assert 5 <= n_done < 600, (tmp_path / "output.txt").read_text(encoding="utf8")

    shutil.rmtree(tmp_path / "student")  # only the checkpoint has weights now
    (tmp_path / "log.jsonl").unlink(missing_ok=True)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    steps = [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text(encoding="utf8").splitlines()]
    assert steps == list(range(0, 600 - n_done + 1, 100))
    assert read_state(tmp_path / "checkpoint") == {"n_steps": 600, "pipeline": "step-600"}
    assert spacy.load(tmp_path / "output" / "model-last").pipe_names == ["universal_ner"]


def test_a_checkpoint_without_its_pipeline_is_an_error(tmp_path, tiny_nlp):
    (tmp_path / "state.json").write_text('{"n_steps": 3, "pipeline": "step-3"}', encoding="utf8")
    with pytest.raises(ValueError, match="which is not there"):
        ContinueFromCheckpoint(tmp_path)(tiny_nlp)
