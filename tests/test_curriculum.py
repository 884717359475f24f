"""The curriculum: what is drawn, in which order, what is refused; `spacy train` with it, killed and run again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
import spacy
from spacy import registry
from spacy.language import Language
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Example
from spacy.util import load_config
from thinc.api import Config

from spacy_uniner.checkpoints import ContinueFromCheckpoint, SaveCheckpoint
from spacy_uniner.corpus import Distilled
from spacy_uniner.curriculum import Curriculum, check_labels, n_examples_drawn
from spacy_uniner.draw_log import read_draw_log
from spacy_uniner.schedules import ConstantShare, PowerDecayShare, SigmoidShare, StepShare, UnionShare

SIGMOID = SigmoidShare()
CONFIG = Path(__file__).parent.parent / "configs" / "curriculum.cfg"


class Words:
    """A reader of Examples of one word each: the prefix and a number."""

    def __init__(self, prefix: str, n_examples: int) -> None:
        self.words = [f"{prefix}{n}" for n in range(n_examples)]
        self.n_calls = 0

    def __call__(self, nlp: Language) -> Iterator[Example]:
        self.n_calls += 1
        for word in self.words:
            yield Example(Doc(nlp.vocab, words=[word]), Doc(nlp.vocab, words=[word]))


@pytest.fixture
def nlp() -> Language:
    nlp = spacy.blank("en")
    nlp.config["training"]["max_epochs"] = -1
    return nlp


def make(schedule, *, n_original: int = 5, n_distilled: int = 3, n_examples: int = 40, **settings) -> Curriculum:
    original, distilled = Words("o", n_original), Words("d", n_distilled)
    return Curriculum(original, distilled, schedule, n_examples=n_examples, **settings)


def read(curriculum: Curriculum, nlp: Language, n_examples: int = 40) -> list[str]:
    return [example.reference[0].text for example in islice(curriculum(nlp), n_examples)]


# What is drawn


def test_sources_are_drawn_as_the_schedule_plans(nlp):
    drawn = read(make(StepShare(0.25)), nlp, 50)
    assert "".join(word[0] for word in drawn) == "d" * 10 + "o" * 40


@pytest.mark.parametrize("share", [0.0, 1.0, 0.3])
def test_each_source_is_gone_through_once_before_it_comes_again(nlp, share):
    drawn = read(make(ConstantShare(share)), nlp, 100)
    for source, n_examples in (("o", 5), ("d", 3)):
        words = [word for word in drawn if word[0] == source]
        for first in range(0, len(words) - n_examples + 1, n_examples):
            assert len(set(words[first : first + n_examples])) == n_examples
    assert Counter(word[0] for word in drawn)["d"] == round(100 * share)


def test_source_comes_in_a_new_order_each_time_and_with_each_seed(nlp):
    words = read(make(ConstantShare(0.0), n_original=20), nlp, 40)
    others = read(make(ConstantShare(0.0), n_original=20, seed=1), nlp, 40)
    orders = [tuple(part) for part in (words[:20], words[20:], others[:20], others[20:])]
    assert len(set(orders)) == 4
    assert {frozenset(order) for order in orders} == {frozenset(f"o{n}" for n in range(20))}


def test_order_of_a_source_is_the_same_whatever_the_schedule(nlp):
    alone = read(make(ConstantShare(0.0), n_original=20), nlp, 40)
    mixed = read(make(ConstantShare(0.5), n_original=20), nlp, 80)
    assert [word for word in mixed if word[0] == "o"] == alone


def test_each_call_begins_anew(nlp):
    curriculum = make(PowerDecayShare())
    assert read(curriculum, nlp) == read(curriculum, nlp)


def test_source_is_read_again_for_each_pass_so_that_it_may_change(nlp):
    curriculum = make(ConstantShare(1.0), n_distilled=4)
    read(curriculum, nlp, 12)
    assert curriculum.distilled.n_calls == 4  # one look whether it is empty, three passes
    assert curriculum.original.n_calls == 0


@pytest.mark.parametrize("n_before", [0, 1, 7, 15, 39, 40, 47])
def test_run_that_goes_on_draws_what_would_have_come_next(nlp, n_before):
    whole = read(make(PowerDecayShare(), seed=4), nlp, 60)
    assert read(make(PowerDecayShare(), seed=4, n_examples_before=n_before), nlp, 60 - n_before) == whole[n_before:]


def test_questions_to_distilled_passages_go_on_too(nlp, tiny_corpus):
    def read_questions(n_before: int) -> list[tuple]:
        distilled = Distilled(tiny_corpus.passages, tiny_corpus.names, n_negatives=3, group_size=4)
        curriculum = Curriculum(
            Words("o", 5), distilled, ConstantShare(0.75), n_examples=80, n_examples_before=n_before
        )
        examples = islice(curriculum(nlp), 80 - n_before)
        return [(example.reference.text, tuple(example.reference._.entity_types or ())) for example in examples]

    whole = read_questions(0)
    assert len({types for _, types in whole}) > 10
    assert read_questions(60) == whole[60:]


def test_number_drawn_is_known_of_each_pipeline(nlp):
    other = spacy.blank("en")
    read(make(ConstantShare(0.5)), nlp, 7)
    assert (n_examples_drawn(nlp), n_examples_drawn(other)) == (7, 0)
    read(make(ConstantShare(0.5), n_examples_before=7), nlp, 7)
    assert n_examples_drawn(nlp) == 14


def test_log_tells_what_was_drawn(nlp, tmp_path):
    drawn = read(make(PowerDecayShare(), log=tmp_path / "log.jsonl"), nlp, 45)
    found = read_draw_log(tmp_path / "log.jsonl")
    assert found.sources == "".join(word[0] for word in drawn)
    assert (found.plan.n_examples, found.plan.seed, found.plan.shares[::50]) == (40, 0, (1.0, 0.75, 0.5, 0.25, 0.0))


def test_log_of_a_run_that_goes_on_is_that_of_a_run_in_one_piece(nlp, tmp_path):
    read(make(PowerDecayShare(), n_examples=500, log=tmp_path / "whole.jsonl"), nlp, 500)
    stream = make(PowerDecayShare(), n_examples=500, log=tmp_path / "parts.jsonl")(nlp)
    list(islice(stream, 320))
    before = (tmp_path / "parts.jsonl").read_bytes()  # as a kill leaves it: twenty are not written
    stream.close()
    (tmp_path / "parts.jsonl").write_bytes(before)
    assert len(read_draw_log(tmp_path / "parts.jsonl").sources) == 300
    read(make(PowerDecayShare(), n_examples=500, n_examples_before=310, log=tmp_path / "parts.jsonl"), nlp, 190)
    assert (tmp_path / "parts.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


# What is refused


def test_log_of_another_schedule_is_refused_before_the_first_example(nlp, tmp_path):
    read(make(StepShare(), log=tmp_path / "log.jsonl"), nlp)
    with pytest.raises(ValueError, match="is the log of another plan"):
        next(make(PowerDecayShare(), log=tmp_path / "log.jsonl")(nlp))


@pytest.mark.parametrize("numbers", [{"n_examples": 0}, {"n_examples": 5, "n_examples_before": -1}])
def test_bad_numbers_are_refused(numbers):
    with pytest.raises(ValueError, match="needs n_examples >= 1 and n_examples_before >= 0, got"):
        make(ConstantShare(0.5), **numbers)


def test_schedule_that_gives_no_share_is_refused_at_once():
    with pytest.raises(ValueError, match=r"gives a share of 2\.0 at progress 0"):
        make(lambda progress: 2.0)


@pytest.mark.parametrize(
    "schedule, n_original, n_distilled, name",
    [(StepShare(0.9), 0, 3, "original"), (StepShare(0.9, before=0.0, after=1.0), 3, 0, "distilled")],
)
def test_empty_source_is_found_before_the_schedule_comes_to_it(nlp, schedule, n_original, n_distilled, name):
    curriculum = make(schedule, n_original=n_original, n_distilled=n_distilled)
    with pytest.raises(ValueError, match=rf"The {name} reader .* gives no Examples, but the schedule StepShare"):
        next(curriculum(nlp))


def test_labels_that_ner_does_not_know_are_refused_before_it_fails(nlp):
    ner = nlp.add_pipe("ner")
    ner.add_label("city")
    with pytest.raises(
        ValueError, match=r"The distilled reader .* gives mentions of person, but 'ner' was init.* city"
    ):
        check_labels(nlp, "distilled", make_examples(nlp, "city", "person"))
    check_labels(nlp, "distilled", make_examples(nlp, "city"))


def test_labels_are_not_held_against_a_component_without_any(nlp):
    nlp.add_pipe("ner")  # before it is initialized
    check_labels(nlp, "original", make_examples(nlp, "city"))


def make_examples(nlp: Language, *labels: str) -> list[Example]:
    """Make an Example with a mention of each label."""
    doc = Doc(nlp.vocab, words=list(labels), ents=[f"B-{label}" for label in labels])
    return [Example(Doc(nlp.vocab, words=list(labels)), doc)]


def test_source_that_is_empty_when_it_is_read_again_is_refused(nlp):
    curriculum = make(ConstantShare(1.0))
    stream = curriculum(nlp)
    assert len(list(islice(stream, 3))) == 3
    curriculum.distilled.words = []
    with pytest.raises(ValueError, match="The distilled reader of the curriculum gives no Examples"):
        next(stream)


def test_empty_source_that_no_schedule_asks_for_is_fine(nlp):
    assert read(make(ConstantShare(0.0), n_distilled=0), nlp, 5)
    assert read(make(UnionShare(3, 0), n_original=0), nlp, 5)


@pytest.mark.parametrize("max_epochs", [0, 3])
def test_training_that_reads_all_before_it_begins_is_refused(nlp, max_epochs):
    nlp.config["training"]["max_epochs"] = max_epochs
    with pytest.raises(ValueError, match=rf"streams without end, but \[training\] max_epochs is {max_epochs}"):
        next(make(ConstantShare(0.5))(nlp))


# Checkpoints


def test_checkpoint_notes_the_examples_of_the_steps_done(nlp, tmp_path):
    save = SaveCheckpoint(tmp_path, every_n_steps=2)
    stream = make(ConstantShare(0.5))(nlp)
    for step, n_batch in enumerate((4, 4, 3, 5)):
        list(islice(stream, n_batch))  # as spaCy does: the batch is drawn, then the callback is called
        save(nlp, {"step": step, "epoch": 0})
    assert json.loads((tmp_path / "state.json").read_text("utf8")) == {
        "n_steps": 2,
        "pipeline": "step-2",
        "n_examples": 8,
    }


def test_curriculum_and_its_sources_keep_their_seeds_and_go_on(nlp, tmp_path):
    (tmp_path / "step-2").mkdir()
    (tmp_path / "state.json").write_text('{"n_steps": 2, "pipeline": "step-2", "n_examples": 8}', encoding="utf8")
    nlp.config["training"] |= {"max_steps": 10, "seed": 1, "train_corpus": "corpora.train"}
    source = {"@readers": "spacy_uniner.Distilled.v1", "passages": "p", "names": "n", "seed": 5}
    curriculum = {"@readers": "spacy_uniner.Curriculum.v1", "original": source, "distilled": source, "seed": 3}
    nlp.config["corpora"] = {
        "train": {"@readers": "spacy_uniner.Mixed.v1", "gold": curriculum, "distilled": source, "seed": 7}
    }
    ContinueFromCheckpoint(tmp_path)(nlp)
    train = nlp.config["corpora"]["train"]
    assert train["gold"] == {**curriculum, "n_examples_before": 8}
    assert (train["seed"], train["distilled"]["seed"]) == (9, 7)


# The config


def test_filling_the_config_changes_nothing(tmp_path):
    command = [sys.executable, "-m", "spacy", "init", "fill-config", str(CONFIG), str(tmp_path / "filled.cfg")]
    subprocess.run(command, check=True, capture_output=True)
    assert load_config(tmp_path / "filled.cfg", interpolate=False) == load_config(CONFIG, interpolate=False)


def test_numbers_of_the_config_agree():
    variables = load_config(CONFIG)["variables"]
    assert variables["n_examples"] == variables["n_steps"] * variables["batch_size"]


def test_every_schedule_is_in_the_config_and_can_be_chosen():
    config = load_config(CONFIG, interpolate=False)
    registered = {name for name in registry.misc.get_all() if name.startswith("spacy_uniner.")}
    registered.remove("spacy_uniner.ChosenShare.v1")
    assert {block["@misc"] for block in config["schedules"].values()} == registered
    for name in config["schedules"]:
        changed = Config(config).from_str(
            config.to_str(), overrides={"variables.schedule": name, "variables.n_original": 3}
        )
        chosen = registry.resolve({"schedule": changed["corpora"]["train"]["schedule"]})["schedule"]
        assert chosen == registry.resolve({"schedule": changed["schedules"][name]})["schedule"]
        assert 0.0 <= chosen(0.5) <= 1.0


# A real run


def write_docs(path: Path, prefix: str, n_docs: int) -> None:
    """Write sentences with two entities, the first word of which tells where they come from."""
    nlp = spacy.blank("en")
    docs = DocBin()
    names, cities = ("Alan", "Sally", "Judy"), ("Rome", "Paris", "Oslo", "Houston")
    for n in range(n_docs):
        words = [f"{prefix}{n}", names[n % 3], "flew", "to", cities[n % 4], "."]
        doc = Doc(nlp.vocab, words=words)
        doc.ents = [Span(doc, 1, 2, label="PER"), Span(doc, 4, 5, label="LOC")]
        docs.add(doc)
    docs.to_disk(path)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with original.spacy, distilled.spacy, dev.spacy and labels.json, as `spacy init labels` writes it."""
    folder = tmp_path_factory.mktemp("data")
    for name, n_docs in (("original", 30), ("distilled", 70), ("dev", 12)):
        write_docs(folder / f"{name}.spacy", name[0], n_docs)
    moves = {str(n): {"PER": 100, "LOC": 100} for n in range(1, 5)}
    (folder / "labels.json").write_text(json.dumps({"0": {}, **moves, "5": {"": 1}}), encoding="utf8")
    return folder


def make_command(data: Path, folder: Path, n_steps: int, schedule: str) -> list[str]:
    settings = {
        "paths.train": data / "original.spacy",
        "paths.distilled": data / "distilled.spacy",
        "paths.dev": data / "dev.spacy",
        "paths.labels": data / "labels.json",
        "paths.checkpoint": folder / "checkpoint",
        "paths.log": folder / "draws.jsonl",
        "variables.n_steps": n_steps,
        "variables.batch_size": 4,
        "variables.n_examples": 4 * n_steps,
        "variables.schedule": schedule,
        "training.eval_frequency": 1000,
        "training.before_update.every_n_steps": 15,
        "components.tok2vec.model.encode.width": 32,
    }
    command = [sys.executable, "-m", "spacy", "train", str(CONFIG), "--output", str(folder / "output")]
    return command + [part for name, value in settings.items() for part in (f"--{name}", str(value))]


def run(command: list[str], folder: Path) -> None:
    done = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, cwd=folder, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_spacy_trains_by_the_curriculum_and_goes_on_after_a_kill(data, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    run(make_command(data, whole, 120, "sigmoid"), tmp_path)
    drawn = read_draw_log(whole / "draws.jsonl")
    assert len(drawn.sources) == 4 * 121  # spaCy makes one step more than max_steps
    assert drawn.sources[:40] == "d" * 40
    assert drawn.sources.count("d") == round(sum(SIGMOID(min(n / 480, 1.0)) for n in range(484)))
    nlp = spacy.load(whole / "output" / "model-last")
    assert [(ent.text, ent.label_) for ent in nlp("x Sally flew to Rome .").ents] == [("Sally", "PER"), ("Rome", "LOC")]

    command = make_command(data, killed, 120, "sigmoid")
    with (tmp_path / "output.txt").open("w", encoding="utf8") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=tmp_path)
        while not (killed / "checkpoint" / "state.json").is_file() and process.poll() is None:
            time.sleep(0.01)
        process.kill()
        process.wait()
    state = json.loads((killed / "checkpoint" / "state.json").read_text("utf8"))
    assert 15 <= state["n_steps"] < 120, (tmp_path / "output.txt").read_text("utf8")
    assert state["n_examples"] == 4 * state["n_steps"]
    assert len(read_draw_log(killed / "draws.jsonl").sources) < 480
    run(command, tmp_path)
    assert read_draw_log(killed / "draws.jsonl") == drawn
    assert spacy.load(killed / "output" / "model-last")("x Judy flew to Oslo .").ents[0].label_ == "PER"
