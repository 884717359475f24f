"""Tuning: what is learned, that packed rows do not see each other, that a killed run goes on, that it learns at all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from toy import WIDER, make_passages, make_tokenizer, score, write_model
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from spacy_uniner.configs_folder import find_configs
from spacy_uniner.conversation import STOP, make_turns, prompt_of, write_turns
from spacy_uniner.passages import Passage
from spacy_uniner.recipe.conversations import Conversation, make_conversations, read_conversations, write_conversations
from spacy_uniner.tuning.curves import draw_curves
from spacy_uniner.tuning.rows import IGNORED, ConversationRows, encode_turns, pack_rows, pad_rows
from spacy_uniner.tuning.run import find_checkpoint, tune
from spacy_uniner.tuning.settings import Tuning

SMALL = {"bf16": False, "checkpointing": False, "evaluated": 0.0, "batch_size": 4, "device_batch_size": 2}


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer()


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("untrained"))


@pytest.fixture(scope="module")
def conversations():
    return make_conversations(make_passages(22, seed=1))


def read_learned(row, tokenizer) -> list[str]:
    """Give the runs of pieces that are learned, as text."""
    runs, run = [], []
    for id_, label in zip((*row.ids, -1), (*row.labels, IGNORED)):
        assert label in (IGNORED, id_)
        if label != IGNORED:
            run.append(id_)
        elif run:
            runs.append(tokenizer.decode(run))
            run = []
    return runs


# Rows


def test_what_is_learned_is_what_stands_behind_a_prompt(tokenizer, conversations):
    turns = conversations[0].turns
    row = encode_turns(turns, tokenizer, max_pieces=512)
    assert read_learned(row, tokenizer) == [f" {turn.text}{STOP}" for turn in turns[3::2]]
    assert tokenizer.decode(row.ids) == "<s>" + write_turns(turns)


def test_a_row_begins_with_the_pieces_of_the_prompt(tokenizer):
    (passage,) = make_passages(1, seed=5)
    one = Passage(passage.words, passage.types[:1], tuple(m for m in passage.mentions if m.type == passage.types[0]))
    row = encode_turns(make_turns(one), tokenizer, max_pieces=512)
    prompt = tokenizer(prompt_of(one, one.types[0]))["input_ids"]
    first = next(n for n, label in enumerate(row.labels) if label != IGNORED)
    assert list(row.ids[:first]) == prompt


def test_released_loss_is_also_on_the_first_answer(tokenizer, conversations):
    row = encode_turns(conversations[0].turns, tokenizer, max_pieces=512, learned="released")
    assert read_learned(row, tokenizer)[0] == f" I've read this text.{STOP}"


def test_an_instruction_to_tag_is_learned_by_its_one_answer(tokenizer):
    (conversation,) = make_conversations(make_passages(1, seed=3), "tagging")
    row = encode_turns(conversation.turns, tokenizer, max_pieces=512)
    assert len(read_learned(row, tokenizer)) == 1


def test_system_prompt_is_the_one_asked_for(tokenizer, conversations):
    row = encode_turns(conversations[0].turns, tokenizer, max_pieces=512, system="paragraph")
    assert "the provided paragraph." in tokenizer.decode(row.ids)


def test_queries_that_do_not_fit_are_left_out_whole(tokenizer, conversations):
    turns = conversations[0].turns
    n_pieces = len(encode_turns(turns[:6], tokenizer, max_pieces=512).ids)
    for room, n_fit in ((n_pieces, 2), (n_pieces - 1, 1)):
        row = encode_turns(turns, tokenizer, max_pieces=room)
        assert tokenizer.decode(row.ids).endswith(f"{turns[1 + 2 * n_fit].text}{STOP}")
        assert row.n_lost == 3 - n_fit
        assert len(read_learned(row, tokenizer)) == n_fit


def test_conversations_and_queries_have_a_new_order_each_epoch_and_the_same_again(tokenizer, conversations):
    rows = ConversationRows(conversations, tokenizer, Tuning(seed=1, batch_size=1))
    orders = []
    for rows.epoch in (0, 1, 2, 0):
        orders.append([rows.turns_of(n) for n in range(len(rows))])
    assert orders[0] == orders[3]
    for epoch in range(3):
        assert sorted(turns[0].text for turns in orders[epoch]) == sorted(c.turns[0].text for c in conversations)
    assert [turns[0] for turns in orders[0]] != [turns[0] for turns in orders[1]]
    by_text = [{turns[0].text: turns for turns in order} for order in orders]
    assert by_text[0] != by_text[1] != by_text[2]
    for conversation in conversations:
        turns, given = by_text[1][conversation.turns[0].text], conversation.turns
        assert turns[:2] == given[:2]
        assert {turns[n : n + 2] for n in range(2, 8, 2)} == {given[n : n + 2] for n in range(2, 8, 2)}


def test_an_epoch_is_of_whole_batches_and_leaves_out_others_each_time(tokenizer, conversations):
    rows = ConversationRows(conversations, tokenizer, Tuning(batch_size=4))
    assert len(rows) == 20
    missing = []
    for rows.epoch in range(3):
        missing.append({c.turns[0] for c in conversations} - {rows.turns_of(n)[0] for n in range(20)})
    assert [len(some) for some in missing] == [2, 2, 2]
    assert missing[0] != missing[1]
    few = ConversationRows(conversations[:3], tokenizer, Tuning(batch_size=4))
    assert {few.turns_of(n)[0] for n in range(len(few))} == {c.turns[0] for c in conversations[:3]}
    assert len(ConversationRows(conversations, tokenizer, Tuning(batch_size=4), shuffled=False)) == 22


def test_what_does_not_fit_is_counted(tokenizer, conversations, caplog):
    longest = Conversation("long", make_turns(Passage(("Batan",) * 90, ("city",))))
    rows = ConversationRows([*conversations, longest], tokenizer, Tuning(max_pieces=128, batch_size=1))
    assert len(rows) == len(conversations)
    assert "queries of 23 conversations do not fit into 128 pieces; 1 conversations are left out" in caplog.text


def test_nothing_to_learn_is_refused(tokenizer, conversations):
    with pytest.raises(ValueError, match=r"None of 22 conversations fits into 8 pieces"):
        ConversationRows(conversations, tokenizer, Tuning(max_pieces=8))


# Batches


@pytest.fixture(scope="module")
def rows(tokenizer, conversations):
    made = ConversationRows(conversations, tokenizer, Tuning())
    return [made[n] for n in range(4)]


def test_packed_rows_give_the_loss_and_gradients_of_padded_ones(untrained, rows):
    losses, gradients = [], []
    for batch in (pad_rows(rows), pack_rows(rows, torch.float32, masked=True)):
        model = AutoModelForCausalLM.from_pretrained(untrained)
        loss = model(**batch).loss
        loss.backward()
        losses.append(loss.item())
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-3, atol=1e-6)


def test_what_one_packed_row_says_does_not_change_another(untrained, rows):
    model = AutoModelForCausalLM.from_pretrained(untrained).eval()
    n_pieces = len(rows[0]["input_ids"])
    other = {"input_ids": [5] * 40, "labels": [5] * 40}
    with torch.no_grad():
        alone = model(**pad_rows(rows[:1])).logits[0]
        packed = [
            model(**pack_rows(some, torch.float32, masked=True)).logits[0] for some in ([other, rows[0]], rows[:2])
        ]
        seeing = model(torch.tensor([other["input_ids"] + rows[0]["input_ids"]])).logits[0]
    torch.testing.assert_close(packed[0][40:], alone, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(packed[1][:n_pieces], alone, rtol=1e-4, atol=1e-4)
    assert (seeing[40:] - alone).abs().max() > 0.01  # without a mask they do


def test_without_a_mask_positions_tell_packed_rows_apart(rows):
    batch = pack_rows(rows[:2], torch.float32, masked=False)
    sizes = [len(row["input_ids"]) for row in rows[:2]]
    assert batch["position_ids"].tolist() == [[*range(sizes[0]), *range(sizes[1])]]
    assert "attention_mask" not in batch


# Settings


def test_defaults_are_those_of_the_paper():
    tuning = Tuning()
    assert (tuning.learning_rate, tuning.warmup, tuning.epochs, tuning.batch_size) == (2e-5, 0.04, 3.0, 256)
    assert (tuning.max_pieces, tuning.weight_decay, tuning.bf16, tuning.checkpointing) == (1024, 0.0, True, True)


@pytest.mark.parametrize("setting", [{"batch_size": 0}, {"max_pieces": 0}, {"save_steps": -1}, {"lora_rank": -1}])
def test_counts_out_of_their_range_are_refused(setting):
    with pytest.raises(ValueError, match=r"batch_size, device_batch_size and max_pieces of 1 or more"):
        Tuning(**setting)


@pytest.mark.parametrize("setting", [{"learning_rate": 0.0}, {"epochs": 0.0}, {"warmup": 1.0}, {"evaluated": -0.1}])
def test_rates_out_of_their_range_are_refused(setting):
    with pytest.raises(ValueError, match=r"learning_rate and epochs over 0, and warmup, evaluated and lora_dropout in"):
        Tuning(**setting)


def test_a_batch_must_be_a_multiple_of_what_is_read_at_once(untrained, conversations, tmp_path):
    with pytest.raises(ValueError, match=r"A batch of 5 conversations cannot be read 2 at a time, 2 on each of 1 dev"):
        tune(conversations, untrained, tmp_path / "out", Tuning(**SMALL | {"batch_size": 5}))


# Runs


def test_a_slow_tokenizer_is_refused(untrained, conversations, tmp_path, monkeypatch):
    monkeypatch.setattr(PreTrainedTokenizerFast, "is_fast", False)
    with pytest.raises(ValueError, match=r"The tokenizer of .* is a slow one\. Tuning needs a fast one"):
        tune(conversations, untrained, tmp_path / "out", Tuning(**SMALL))


def test_a_run_writes_model_tokenizer_settings_and_log(untrained, conversations, tmp_path):
    tuning = Tuning(**SMALL | {"epochs": 2.0, "evaluated": 0.1, "learning_rate": 1e-3, "packed": True})
    losses = tune(conversations, untrained, tmp_path, tuning)
    assert set(losses) == {"train", "evaluated"}
    assert AutoModelForCausalLM.from_pretrained(tmp_path).config.num_hidden_layers == 2
    assert json.loads((tmp_path / "tuning.json").read_text("utf8"))["learning_rate"] == 1e-3
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text("utf8").splitlines()]
    assert [entry["step"] for entry in log if "loss" in entry] == list(range(1, 11))  # 20 conversations, 4 a step
    assert log[0]["loss"] > [entry["loss"] for entry in log if "loss" in entry][-1]
    assert not list(tmp_path.glob("*.bin"))
    draw_curves(tmp_path / "log.jsonl", tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_bfloat16_and_checkpointing_run(untrained, conversations, tmp_path):
    tuning = Tuning(**SMALL | {"epochs": 1.0, "bf16": True, "checkpointing": True, "lora_rank": 2, "packed": True})
    assert tune(conversations[:4], untrained, tmp_path, tuning)["train"] > 0


def test_other_settings_in_the_same_folder_are_refused(untrained, conversations, tmp_path):
    tune(conversations[:4], untrained, tmp_path, Tuning(**SMALL | {"epochs": 1.0}))
    with pytest.raises(ValueError, match=r"has a run with other settings: epochs is 1\.0, now 2\.0"):
        tune(conversations[:4], untrained, tmp_path, Tuning(**SMALL | {"epochs": 2.0}))


def test_a_checkpoint_that_was_cut_off_is_not_used(tmp_path):
    assert find_checkpoint(tmp_path) is None
    for step, state in ((9, "{}"), (10, '{"epo'), (11, None)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if state is not None:
            (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(state, encoding="utf8")
    assert find_checkpoint(tmp_path) == str(tmp_path / "checkpoint-9")


def test_a_log_without_losses_is_not_drawn(tmp_path):
    (tmp_path / "log.jsonl").write_text("", encoding="utf8")
    with pytest.raises(ValueError, match=r"log\.jsonl has no losses"):
        draw_curves(tmp_path / "log.jsonl", tmp_path / "curves.png")


def test_curves_need_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ValueError, match=r"pip install spacy-uniner\[distill\]"):
        draw_curves(tmp_path / "log.jsonl", tmp_path / "curves.png")


def read_weights(folder) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in AutoModelForCausalLM.from_pretrained(folder).parameters()])


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_end(untrained, conversations, tmp_path):
    write_conversations(conversations, tmp_path / "conversations.json")
    command = [sys.executable, "-m", "spacy", "uniner", "tune", str(tmp_path / "conversations.json")]
    command += ["--model", str(untrained), "--output", str(tmp_path / "killed"), "--no-bf16", "--no-checkpointing"]
    command += ["--evaluated", "0", "--batch-size", "4", "--device-batch-size", "2", "--learning-rate", "0.001"]
    command += ["--epochs", "6", "--save-steps", "4"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while len(list((tmp_path / "killed").glob("checkpoint-*/trainer_state.json"))) < 2:  # so one is whole
            assert process.poll() is None, "The run ended before there was a checkpoint."
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    last = find_checkpoint(tmp_path / "killed")
    assert last
    assert json.loads((Path(last) / "trainer_state.json").read_text("utf8"))["global_step"] < 30  # 6 epochs of 5
    assert not (tmp_path / "killed" / "log.jsonl").exists()

    tuning = Tuning(**SMALL | {"epochs": 6.0, "save_steps": 4, "learning_rate": 1e-3})
    whole = read_conversations(tmp_path / "conversations.json")
    tune(whole, str(untrained), tmp_path / "killed", tuning)
    tune(whole, str(untrained), tmp_path / "whole", tuning)
    logs = [
        [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text("utf8").splitlines()]
        for name in ("killed", "whole")
    ]
    losses = [[(e["step"], round(e["loss"], 3)) for e in log if "loss" in e] for log in logs]
    assert losses[0] == losses[1]
    torch.testing.assert_close(read_weights(tmp_path / "killed"), read_weights(tmp_path / "whole"))


LEARNING = {"bf16": False, "checkpointing": False, "evaluated": 0.0, "batch_size": 16, "device_batch_size": 16}


@pytest.mark.slow
def test_a_generator_learns_a_language_and_lora_adapts_it_to_a_new_type(tmp_path):
    """From scratch: nearly all it was tuned on, most of what it was not; then a name for two of its types together."""
    known, unseen = make_passages(1000, seed=0), make_passages(40, seed=1)
    tuning = Tuning(**LEARNING | {"learning_rate": 3e-3, "warmup": 0.1, "epochs": 22.0})
    untrained = write_model(tmp_path / "untrained")
    tune(make_conversations(known), untrained, tmp_path / "tuned", tuning)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "tuned")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "tuned")
    assert score(model, tokenizer, known[:40]) > 0.95
    assert score(model, tokenizer, unseen) > 0.8

    wider, wider_unseen = make_passages(400, seed=2, types=WIDER), make_passages(40, seed=3, types=WIDER)
    assert score(model, tokenizer, wider_unseen) < 0.5
    tuning = Tuning(**LEARNING | {"learning_rate": 5e-3, "warmup": 0.1, "epochs": 4.0, "lora_rank": 8})
    tune(make_conversations(wider), tmp_path / "tuned", tmp_path / "lora", tuning)
    adapted = AutoModelForCausalLM.from_pretrained(tmp_path / "lora")  # the model below, and the adapter
    assert score(adapted, tokenizer, wider_unseen) > 0.8
    assert not (tmp_path / "lora" / "model.safetensors").exists()


def test_config_for_many_gpus_is_one_that_accelerate_reads():
    config = load_config_from_file(str(find_configs() / "fsdp.yml"))
    assert (config.distributed_type.value, config.num_processes, config.mixed_precision) == ("FSDP", 8, "bf16")
