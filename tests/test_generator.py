from __future__ import annotations

import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import spacy
import torch
from language_models import Reciter, make_byte_level, make_config, make_sentencepiece, save_model
from spacy.training import Example
from transformers import AutoModelForCausalLM, BloomConfig

from spacy_uniner.conversation import prompt_of, query_of
from spacy_uniner.passages import Passage
from spacy_uniner.students import causal
from spacy_uniner.students.answers import Answer, Asking
from spacy_uniner.students.causal import Causal, CausalSettings, causal_to_bytes, check_causal, read_causal
from spacy_uniner.students.generator import GeneratorStudent
from spacy_uniner.students.greedy import GreedyDecoder, Prompts, is_closed

KINDS = ("llama", "mistral", "qwen", "neox")
N_NEW = 24
PASSAGES = [
    Passage(
        ("Alan", "Bean", "flew", "to", "the", "Moon", "in", "Apollo", "12", "and", "met", "Karel", "Čapek", "."),
        ("person", "space mission", "city", "ships that were built in a yard near the sea"),
    ),
    Passage(("Rome", "is", "old", "."), ("city", "a")),
    Passage(("Sally", "Ride", "lives", "in", "Paris", ",", "near", "Rome", ".") * 4, ("person",)),
    Passage((), ("person",)),
    Passage(("Paris",)),
]


@pytest.fixture(scope="session", params=KINDS)
def folder(request, tmp_path_factory):
    return save_model(request.param, tmp_path_factory.mktemp(request.param), seed=KINDS.index(request.param))


@pytest.fixture(scope="session")
def llama(tmp_path_factory):
    return save_model("llama", tmp_path_factory.mktemp("only_llama"))


def make_student(folder, n_new=N_NEW, **settings):
    batch = {"max_batch_tokens": settings.pop("max_batch_tokens", 8192)}
    return GeneratorStudent(CausalSettings(str(folder), **settings), Asking(max_new_tokens=n_new), **batch)


def list_parts(student, passages=PASSAGES):
    return [part for n, passage in enumerate(passages) for part in student._cut(n, passage)[0]]


class Recorder(GreedyDecoder):
    """Gives the tokens of an answer in place of its text."""

    def _to_answer(self, row):
        return Answer(json.dumps(row.ids), logprobs=tuple(row.logprobs))


def record_tokens(student, max_batch_tokens=8192, passages=PASSAGES):
    """Give, for each part, the tokens of each answer, and their log-probabilities."""
    made = student.get()
    decoder = Recorder(made.model, made.tokenizer, student.asking.max_new_tokens, max_batch_tokens)
    prompts = [ids for n, passage in enumerate(passages) for ids in student._cut(n, passage)[1]]
    answers = decoder.answer(prompts)
    return [[(json.loads(answer.text), answer.logprobs) for answer in of_part] for of_part in answers]


def write_plainly(student, prompt):
    """The plain path: the whole prompt by itself, through `generate` of transformers, up to where an answer ends."""
    made = student.get()
    asked = made.tokenizer(prompt, return_tensors="pt")["input_ids"]
    written = made.model.generate(
        asked, attention_mask=torch.ones_like(asked), do_sample=False, max_new_tokens=N_NEW, pad_token_id=0
    )[0, asked.shape[1] :].tolist()
    stops = student._get_decoder().stops
    n_tokens = next((n for n, token in enumerate(written) if token in stops), len(written))
    for n in range(1, n_tokens):
        if is_closed(made.tokenizer.decode(written[:n], clean_up_tokenization_spaces=False)):
            return written[:n]
    return written[:n_tokens]


# The same as one prompt after another


def test_tokens_are_those_of_one_full_prompt_per_type(folder):
    student = make_student(folder)
    parts = list_parts(student)
    assert [part.n_passage for part in parts] == [0, 1, 2]
    plain = [[write_plainly(student, prompt) for prompt in part.prompts] for part in parts]
    shared = [[ids for ids, _ in of_part] for of_part in record_tokens(student)]
    assert shared == plain
    assert len({tuple(ids) for of_part in plain for ids in of_part}) >= 3  # a model that says one thing tells nothing


@pytest.mark.parametrize("max_batch_tokens", [1, 300, 700])
def test_small_batches_write_the_same(folder, max_batch_tokens):
    student = make_student(folder)
    for of_part, again in zip(record_tokens(student), record_tokens(student, max_batch_tokens), strict=True):
        for (ids, logprobs), (ids_again, logprobs_again) in zip(of_part, again, strict=True):
            assert ids == ids_again
            assert logprobs == pytest.approx(logprobs_again, abs=1e-4)


def test_what_prompts_share_is_read_once(llama, monkeypatch):
    student = make_student(llama)
    model = student.get().model
    n_read = []
    forward = model.forward
    monkeypatch.setattr(
        model, "forward", lambda **inputs: n_read.append(inputs["input_ids"].numel()) or forward(**inputs)
    )
    student.predict(PASSAGES[:1], 0.0)
    ((part,), (prompts,), _) = student._cut(0, PASSAGES[0])
    assert n_read[0] == len(prompts.shared)
    assert n_read[1] == sum(map(len, prompts.rests))
    assert all(n <= 4 for n in n_read[2:])
    assert sum(map(len, student._tokenize(part))) > sum(n_read[:2])


def test_batches_hold_no_more_tokens_than_asked(llama, monkeypatch):
    student = make_student(llama, max_batch_tokens=400)
    model = student.get().model
    held = []
    forward = model.forward
    monkeypatch.setattr(
        model,
        "forward",
        lambda **inputs: (
            held.append(len(inputs["attention_mask"]) * inputs["attention_mask"].shape[-1]) or forward(**inputs)
        ),
    )
    student.predict(PASSAGES, 0.0)
    assert max(held) <= 400


def make_metaspace():
    return make_sentencepiece(legacy=False)


@pytest.mark.parametrize("make", [make_sentencepiece, make_metaspace, make_byte_level])
def test_prompts_split_as_tokens_are_the_whole_prompts(make):
    tokenizer = make()
    for passage in PASSAGES[:3]:
        whole = tokenizer([prompt_of(passage, type_) for type_ in passage.types])["input_ids"]
        split = Prompts.of(whole)
        assert [list(split.shared + rest) for rest in split.rests] == whole
        assert all(split.rests)
        assert len(set(split.rests)) == len(passage.types)


def test_a_split_before_the_query_would_give_other_tokens():
    # This is why prompts are tokenized whole and split as tokens.
    tokenizer = make_metaspace()
    whole = tokenizer(prompt_of(PASSAGES[0], "person"))["input_ids"]
    prefix = prompt_of(PASSAGES[0], "person").removesuffix(query_of("person"))
    apart = tokenizer(prefix)["input_ids"] + tokenizer(query_of("person"), add_special_tokens=False)["input_ids"]
    assert apart != whole


def test_special_tokens_in_a_text_or_a_type_end_no_turn(folder):
    student = make_student(folder)
    made = student.get()
    end = made.tokenizer.eos_token
    passage = Passage(("say", end, "</s>USER:", f"a{end}b"), ("person", f"city{end}"))
    ((part,), _, _) = student._cut(0, passage)
    ids = student._tokenize(part)
    n_of_template = 1 if end == "</s>" else 0
    assert [of_type.count(made.tokenizer.eos_token_id) for of_type in ids] == [n_of_template] * 2
    assert [prompt.count("USER:") for prompt in part.prompts] == [2, 2]


# Answers as mentions


def make_reciting(answers, make=make_sentencepiece, n_new=64, p=0.9):
    tokenizer = make()
    student = GeneratorStudent(CausalSettings("reciter"), Asking(max_new_tokens=n_new))
    model = Reciter(tokenizer, {query_of(type_): answer for type_, answer in answers.items()}, p)
    student._causal = check_causal("reciter", model, tokenizer)
    return student


@pytest.mark.parametrize("make", [make_sentencepiece, make_metaspace, make_byte_level])
def test_answers_become_scored_mentions(make):
    answers = {"person": '["Alan Bean", "Karel \\u010capek"]', "space mission": '["Apollo 12"]', "city": "[]"}
    student = make_reciting(answers, make)
    (mentions,) = student.predict([replace(PASSAGES[0], types=tuple(answers))], 0.0).mentions
    assert [(m.start, m.end, m.type) for m in mentions] == [
        (0, 2, "person"),
        (7, 9, "space mission"),
        (11, 13, "person"),
    ]
    tokenizer = student.get().tokenizer
    n_tokens = len(tokenizer('["Apollo 12"]', add_special_tokens=False)["input_ids"])  # the bracket may have its own
    score = {m.type: m.score for m in mentions}["space mission"]
    assert any(score == pytest.approx(0.9**n, abs=0.005) for n in (n_tokens - 1, n_tokens))
    assert student.heard.n_endless == 0
    assert student.heard.n_surfaces == 3
    assert not student.heard.n_lost


def test_an_endless_answer_is_cut_and_counted():
    student = make_reciting({"person": '["Alan Bean", "Karel' + " Karel" * 100}, n_new=64)
    output = student.predict([replace(PASSAGES[0], types=("person",))], 0.0)
    assert [(m.start, m.end) for m in output.mentions[0]] == [(0, 2)]
    assert student.heard.n_endless == 1


def test_a_list_that_is_closed_ends_the_answer():
    student = make_reciting({"person": '["Alan Bean"] and then much more'})
    answer = student._get_decoder().answer(student._cut(0, replace(PASSAGES[0], types=("person",)))[1])[0][0]
    assert answer.text == '["Alan Bean"]'
    assert not answer.is_endless
    assert len(answer.ends) == len(answer.logprobs) == len(answer.closes)
    assert answer.ends[-1] == len(answer.text)


@pytest.mark.parametrize(
    "text, expected", [("[]", True), ('["a]b', False), ("no", False), ("no</s>", True), ("[", False)]
)
def test_an_answer_ends_with_its_list(text, expected):
    assert is_closed(text) is expected


def test_neighbours_order_and_types_change_no_score(llama):
    student = make_student(llama)
    alone = {
        (n, type_): record_tokens(student, passages=[replace(passage, types=(type_,))])[0][0]
        for n, passage in enumerate(PASSAGES[:3])
        for type_ in passage.types
    }
    turned = [replace(passage, types=passage.types[::-1]) for passage in PASSAGES[2::-1]]
    together = record_tokens(student, passages=turned)
    for n, (passage, of_part) in enumerate(zip(turned, together, strict=True)):
        for type_, (ids, logprobs) in zip(passage.types, of_part, strict=True):
            ids_alone, logprobs_alone = alone[2 - n, type_]
            assert ids == ids_alone
            assert logprobs == pytest.approx(logprobs_alone, abs=1e-4)


# Long texts


def test_a_long_text_is_read_in_windows_that_fit_the_context(llama):
    student = make_student(llama)
    passage = Passage(tuple(PASSAGES[0].words * 40), ("person", "space mission"))
    parts, _, n_cut = student._cut(0, passage)
    assert n_cut == 0
    assert len(parts) > 1
    places = [n for part in parts for n in range(part.window.core_start, part.window.core_end)]
    assert places == list(range(len(passage.words)))
    assert all(len(ids) + N_NEW <= 512 for part in parts for ids in student._tokenize(part))
    assert len(student.predict([passage], 0.0).mentions) == 1


def test_words_that_take_more_tokens_together_make_smaller_windows(llama, monkeypatch):
    student = make_student(llama)
    monkeypatch.setattr(student, "_count", lambda words: [1] * len(words))
    parts, _, _ = student._cut(0, Passage(tuple("Antidisestablishmentarianism" for _ in range(60)), ("person",)))
    assert len(parts) > 1
    assert all(len(ids) + N_NEW <= 512 for part in parts for ids in student._tokenize(part))


def test_a_word_longer_than_the_context_is_cut_and_counted(llama):
    student = make_student(llama)
    output = student.predict([Passage(("see", "x1y2" * 1000, "there"), ("person",))], 0.0)
    assert output.n_cut == 1


def test_a_type_that_leaves_no_room_for_a_text_is_an_error(llama):
    with pytest.raises(
        ValueError, match=r"query for 'xyz xyz .* takes \d+ tokens and the answer up to 24, which leaves"
    ):
        make_student(llama).predict([Passage(("Rome",), ("xyz " * 400,))], 0.0)


def test_mistral_looks_no_further_than_its_sliding_window(tmp_path):
    assert read_causal(CausalSettings(str(save_model("mistral", tmp_path)))).max_tokens == 256


# Models that will not do


def test_a_folder_without_a_model_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"Generator '.*' cannot be read: .* Give a folder"):
        make_student(tmp_path).get()


def test_pickled_weights_are_not_read(llama, tmp_path):
    for path in llama.iterdir():
        if path.suffix == ".json":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    model = AutoModelForCausalLM.from_pretrained(llama)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"cannot be read: .*safetensors"):
        make_student(tmp_path).get()


def test_damaged_weights_are_an_error(llama, tmp_path):
    for path in llama.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "model.safetensors").write_bytes((llama / "model.safetensors").read_bytes()[:-100])
    with pytest.raises(ValueError, match="cannot be read"):
        make_student(tmp_path).get()


def test_a_model_without_a_stop_token_is_an_error(tmp_path):
    tokenizer = make_byte_level()
    tokenizer.eos_token = None
    config = make_config("neox", tokenizer)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="cannot be used: it has no end-of-sequence token"):
        make_student(tmp_path).get()


def test_a_model_without_positions_is_an_error(tmp_path):
    tokenizer = make_byte_level()
    config = BloomConfig(vocab_size=len(tokenizer), hidden_size=32, n_layer=1, n_head=2)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="BloomForCausalLM takes no position_ids"):
        make_student(tmp_path).get()


def test_a_model_that_states_no_context_is_an_error():
    tokenizer = make_byte_level()
    model = Reciter(tokenizer, {})
    model.config.max_position_embeddings = None
    with pytest.raises(ValueError, match=r"states no max_position_embeddings"):
        check_causal("reciter", model, tokenizer)


def test_a_slow_tokenizer_is_an_error():
    class Slow:
        is_fast = False

    with pytest.raises(ValueError, match=r"its tokenizer has no tokenizer\.json"):
        check_causal("reciter", Reciter(make_byte_level(), {}), Slow())


def test_a_tokenizer_of_another_model_is_an_error():
    tokenizer = make_byte_level(n_pieces=300)
    with pytest.raises(ValueError, match="They belong to different models"):
        check_causal("reciter", Reciter(tokenizer, {}), make_byte_level(n_pieces=420))


def test_weights_that_are_no_numbers_are_an_error(llama):
    student = make_student(llama)
    with torch.no_grad():
        student.get().model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(ValueError, match=r"no finite number\. Use another dtype than torch\.float32"):
        student.predict(PASSAGES[:1], 0.0)


@pytest.mark.parametrize(
    "settings, reason",
    [
        ({"name": " "}, "needs the name of a causal language model"),
        ({"dtype": "int3"}, "dtype is 'int3', expected one of auto, float32"),
        ({"attention": "none"}, "attention is 'none', expected one of auto, eager"),
        ({"quantization": "2bit"}, "quantization is '2bit', expected one of none, 8bit, 4bit"),
        ({"device": "abacus"}, "no device 'abacus'"),
    ],
)
def test_settings_are_checked(settings, reason):
    with pytest.raises(ValueError, match=reason):
        CausalSettings(**{"name": "x", **settings})


def test_a_batch_must_hold_something():
    with pytest.raises(ValueError, match="max_batch_tokens is 0"):
        GeneratorStudent(CausalSettings("x"), max_batch_tokens=0)


def test_quantization_needs_a_gpu(llama):
    with pytest.raises(ValueError, match="quantization '4bit' needs a GPU, the device is 'cpu'"):
        make_student(llama, quantization="4bit", device="cpu").get()


def test_quantization_needs_bitsandbytes(llama, monkeypatch):
    monkeypatch.setattr(causal.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="quantization '8bit' needs bitsandbytes"):
        make_student(llama, quantization="8bit", device="cuda").get()


def test_without_transformers_the_error_says_what_to_install(llama, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r"pip install 'spacy-uniner\[generator\]'"):
        make_student(llama).get()


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_attention_and_dtype_are_those_asked_for(llama, attention):
    made = make_student(llama, attention=attention, dtype="bfloat16").get()
    assert made.model.config._attn_implementation == attention
    assert made.model.dtype == torch.bfloat16
    assert GeneratorStudent(CausalSettings(str(llama), dtype="bfloat16")).predict(PASSAGES, 0.0).mentions[3:] == [
        (),
        (),
    ]


# In a pipeline


def make_nlp(folder, **settings):
    nlp = spacy.blank("en")
    model = {"@architectures": "spacy_uniner.Generator.v1", "name": str(folder), "max_new_tokens": 8, **settings}
    nlp.add_pipe("universal_ner", config={"labels": ["person", "city"], "threshold": 0.0, "model": model})
    return nlp


def teach(nlp, answers):
    """Let the component's student recite."""
    reciting = make_reciting(answers)
    student = nlp.get_pipe("universal_ner").model.shims[0].student
    student._causal, student._decoder, student.asking = reciting._causal, None, reciting.asking


def test_the_component_finds_what_the_model_says(llama):
    nlp = make_nlp(llama)
    teach(nlp, {"person": '["Alan Bean"]', "city": '["Paris", "Rome"]'})
    docs = list(nlp.pipe(["Alan Bean saw Paris and Rome.", "", "Rome fell."]))
    assert [[(ent.text, ent.label_) for ent in doc.ents] for doc in docs] == [
        [("Alan Bean", "person"), ("Paris", "city"), ("Rome", "city")],
        [],
        [("Rome", "city")],
    ]
    scores = docs[0].spans["universal_ner"].attrs["scores"]
    assert all(0.0 < score < 1.0 for score in scores)
    nlp.get_pipe("universal_ner").cfg["threshold"] = float(max(scores)) - 1e-4
    n_best = sum(score > max(scores) - 1e-4 for score in scores)
    assert len(nlp("Alan Bean saw Paris and Rome.").ents) == n_best < 3


def test_a_description_is_what_the_model_is_asked(llama):
    nlp = make_nlp(llama)
    teach(nlp, {"a named human being": '["Alan Bean"]'})
    doc = nlp("Alan Bean slept.", component_cfg={"universal_ner": {"labels": {"PER": "a named human being"}}})
    assert [(ent.text, ent.label_) for ent in doc.ents] == [("Alan Bean", "PER")]


def test_only_the_folder_is_saved(llama, tmp_path):
    nlp = make_nlp(llama)
    assert nlp.get_pipe("universal_ner").model.shims[0].to_bytes() == b""
    nlp.to_disk(tmp_path / "pipeline")
    again = spacy.load(tmp_path / "pipeline")
    assert again.config["components"]["universal_ner"]["model"]["name"] == str(llama)
    text = "Alan Bean flew to Paris."
    assert nlp(text).to_json() == again(text).to_json()
    size = sum(path.stat().st_size for path in (tmp_path / "pipeline" / "universal_ner").rglob("*"))
    assert size < 10_000


def test_weights_are_saved_when_asked(tmp_path):
    folder = save_model("qwen", tmp_path / "qwen")
    nlp = make_nlp(folder, store_weights=True)
    student = nlp.get_pipe("universal_ner").model.shims[0].student
    before = record_tokens(student)
    nlp.to_disk(tmp_path / "pipeline")
    assert nlp.to_bytes() == nlp.to_bytes()
    folder.rename(tmp_path / "away")
    again = spacy.load(tmp_path / "pipeline")
    assert record_tokens(again.get_pipe("universal_ner").model.shims[0].student) == before


def test_stored_weights_that_are_cut_are_an_error(llama):
    student = make_student(llama)
    with pytest.raises(ValueError, match=r"stored weights of '.*' are cut or no zip file"):
        student.from_bytes(student.to_bytes()[:-200])


def test_weights_too_large_for_a_pipeline_are_an_error(llama, monkeypatch):
    monkeypatch.setattr(causal, "MAX_STORED_BYTES", 2**20)
    monkeypatch.setattr(causal, "MAX_STORED_BYTES", 1000)
    with pytest.raises(ValueError, match=r"GiB cannot be stored with the pipeline.* Set store_weights = false"):
        make_student(llama).to_bytes()


def test_stored_weights_need_the_setting(llama, tmp_path):
    make_nlp(llama, store_weights=True).to_disk(tmp_path / "pipeline")
    config = {"components.universal_ner.model.store_weights": False}
    with pytest.raises(ValueError, match="weights are stored here, but the config says store_weights = false"):
        spacy.load(tmp_path / "pipeline", config=config)


def test_training_points_to_tuning(llama):
    nlp = make_nlp(llama)
    optimizer = nlp.initialize()
    example = Example.from_dict(nlp.make_doc("Alan Bean slept."), {"entities": [(0, 9, "person")]})
    with pytest.raises(ValueError, match=r"A Generator is not trained by nlp\.update .* 'uniner tune'"):
        nlp.update([example], sgd=optimizer)


def test_one_bad_doc_does_not_take_its_batch_with_it(llama):
    nlp = make_nlp(llama)
    teach(nlp, {"person": '["Alan Bean"]'})
    failed = []
    nlp.set_error_handler(lambda name, proc, docs, err: failed.append((docs[0].text, str(err))))
    bad = nlp.make_doc("Alan Bean ran.")
    bad._.entity_types = ["xyz " * 500]
    docs = list(nlp.pipe([nlp.make_doc("Alan Bean slept."), bad, nlp.make_doc("Alan Bean sat.")]))
    assert [doc.text for doc in docs] == ["Alan Bean slept.", "Alan Bean sat."]
    assert [text for text, _ in failed] == ["Alan Bean ran."]
    assert "leaves no room" in failed[0][1]


def test_two_processes_find_the_same(llama):
    nlp = make_nlp(llama)
    texts = ["Alan Bean flew to Paris.", "Rome fell.", "Sally Ride lives here."]
    alone = [doc.to_json() for doc in nlp.pipe(texts)]
    assert [doc.to_json() for doc in nlp.pipe(texts, n_process=2, batch_size=1)] == alone


def test_an_adapter_is_not_stored_without_its_model():
    model = SimpleNamespace(_hf_peft_config_loaded=True)
    with pytest.raises(ValueError, match=r"'mine' is an adapter on another model, of which only the adapter would be"):
        causal_to_bytes(Causal(model, None, 10, ()), "mine")
