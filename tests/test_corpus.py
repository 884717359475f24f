"""The readers: what is streamed, what is held out, and what is refused."""

from __future__ import annotations

import json
import logging
from itertools import islice

import pytest
import spacy
from conftest import HELD_OUT_TEXTS, TRAIN_TEXTS
from spacy.tokens import Doc, Span
from spacy.training import Example

from spacy_uniner.corpus import Distilled, DistilledPassages, HeldOut, Mixed, read_marked
from spacy_uniner.passages import Mention

GOOD = {
    "id": "a1",
    "text": "Alan met Sally.",
    "mentions": [{"start": 0, "end": 4, "type": "Astronaut", "broad": "person"}],
    "absent": ["City"],
}


@pytest.fixture(scope="module")
def nlp():
    return spacy.blank("en")


def read(reader, nlp, n_examples: int | None = None) -> list[tuple]:
    """Read Examples as what can be compared: words, types asked, mentions and what is unknown."""
    return [
        (
            tuple(token.text for token in example.reference),
            tuple(example.reference._.entity_types),
            tuple((s.start, s.end, s.label_) for s in example.reference.spans["universal_ner"]),
            tuple((s.start, s.end, s.label_) for s in example.reference.spans["universal_ner_unknown"]),
        )
        for example in islice(reader(nlp), n_examples)
    ]


def write_lines(path, *records) -> None:
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    path.write_text("\n".join(lines) + "\n", encoding="utf8")


# Marked passages


def test_marked_passage_has_each_run_by_its_specific_and_its_broad_type(tmp_path, nlp):
    write_lines(tmp_path / "marked.jsonl", GOOD)
    (passage,) = read_marked(tmp_path / "marked.jsonl", nlp)
    assert passage.words == ("Alan", "met", "Sally", ".")
    assert passage.mentions == (Mention(0, 1, "astronaut"), Mention(0, 1, "person"))
    assert passage.types == ("astronaut", "person", "city")
    assert passage.source == "a1"


def test_specific_type_that_is_the_broad_one_is_marked_once(tmp_path, nlp):
    mention = {"start": 0, "end": 4, "type": "person", "broad": "Person"}
    write_lines(tmp_path / "marked.jsonl", {**GOOD, "mentions": [mention], "absent": ["person"]})
    (passage,) = read_marked(tmp_path / "marked.jsonl", nlp)
    assert passage.mentions == (Mention(0, 1, "person"),)
    assert passage.types == ("person",)


def test_mentions_inside_a_word_are_left_out_counted_and_reported_once(tmp_path, nlp, caplog):
    inside = {"start": 1, "end": 4, "type": "name", "broad": "person"}
    beyond = {"start": 9, "end": 99, "type": "name", "broad": "person"}
    write_lines(
        tmp_path / "marked.jsonl", {**GOOD, "mentions": [*GOOD["mentions"], inside]}, {**GOOD, "mentions": [beyond]}
    )
    with caplog.at_level(logging.INFO):
        first, second = read_marked(tmp_path / "marked.jsonl", nlp)
    assert first.types == ("astronaut", "person", "city")
    assert second.mentions == ()
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / 'marked.jsonl'}: 2 of 3 mentions do not align with the tokenizer and were left out."
    ]


def test_nothing_is_reported_where_all_mentions_align(tmp_path, nlp, caplog):
    write_lines(tmp_path / "marked.jsonl", GOOD)
    with caplog.at_level(logging.INFO):
        read_marked(tmp_path / "marked.jsonl", nlp)
    assert caplog.records == []


@pytest.mark.parametrize(
    "line, reason",
    [
        ('{"id": "a2", "te', "JSONDecodeError"),
        ("", "JSONDecodeError"),
        ("[1]", "TypeError"),
        ({key: value for key, value in GOOD.items() if key != "text"}, "KeyError: 'text'"),
        ({key: value for key, value in GOOD.items() if key != "absent"}, "KeyError: 'absent'"),
        ({**GOOD, "mentions": [{"start": 0, "end": 4, "type": "name"}]}, "KeyError: 'broad'"),
        ({**GOOD, "mentions": [{"start": "0", "end": 4, "type": "name", "broad": "person"}]}, "TypeError"),
        ({**GOOD, "mentions": [{"start": 0, "end": 4, "type": None, "broad": "person"}]}, "AttributeError"),
        ({**GOOD, "mentions": [{"start": 0, "end": 4, "type": " ", "broad": "person"}]}, "blank type"),
        ({**GOOD, "text": 5}, "ValueError|TypeError"),
        ({**GOOD, "absent": [""]}, "asks a blank type"),
    ],
)
def test_line_that_is_no_marked_passage_is_refused_by_its_number(tmp_path, nlp, line, reason):
    write_lines(tmp_path / "marked.jsonl", GOOD, line)
    match = rf"marked.jsonl, line 2: not a marked passage \(.*({reason}).*\)\. Expected id, text, mentions \(start, end"
    with pytest.raises(ValueError, match=match):
        read_marked(tmp_path / "marked.jsonl", nlp)


def test_line_that_is_no_utf8_is_refused_by_its_number(tmp_path, nlp):
    path = tmp_path / "marked.jsonl"
    write_lines(path, GOOD)
    path.write_bytes(path.read_bytes() + b'{"id": "caf\xe9"}\n')
    with pytest.raises(ValueError, match=r"marked.jsonl, line 2: not a marked passage \(UnicodeDecodeError"):
        read_marked(path, nlp)


def test_corpus_is_split_and_unseen_types_are_not_known(tiny_corpus, nlp):
    corpus = DistilledPassages(tiny_corpus.passages, tiny_corpus.names, nlp)
    assert (len(corpus.all), len(corpus.train), len(corpus.held_out)) == (26, 24, 2)
    assert corpus.unseen == tiny_corpus.unseen
    known = {name for type_ in corpus.hierarchy.wider for name in corpus.hierarchy.names(type_)}
    assert known.isdisjoint(tiny_corpus.unseen)
    assert {"technician", "mission", "city"} <= known


# Distilled


def test_each_call_goes_once_through_the_passages_in_a_new_order(tiny_corpus, nlp):
    reader = Distilled(tiny_corpus.passages, tiny_corpus.names, lower_case=0.0)
    first, second = (["".join(words) for words, *_ in read(reader, nlp)] for _ in range(2))
    assert sorted(first) == sorted(second) == sorted(text.replace(" ", "") for text, *_ in TRAIN_TEXTS * 6)
    assert first != second


@pytest.mark.parametrize("negatives", ["none", "uniform", "frequency", "hard"])
def test_held_out_passages_and_types_are_never_asked_in_training(tiny_corpus, nlp, negatives):
    reader = Distilled(tiny_corpus.passages, tiny_corpus.names, negatives=negatives, lower_case=0.0, group_size=4)
    held_out = {text.replace(" ", "") for text, *_ in HELD_OUT_TEXTS}
    asked = set()
    for _ in range(20):
        for words, types, *_ in read(reader, nlp):
            asked.update(types)
            assert "".join(words) not in held_out
    assert {"city", "town", "astronaut", "mission"} <= asked
    assert asked.isdisjoint(tiny_corpus.unseen)


def test_kinds_of_negatives_differ_as_documented(tiny_corpus, nlp):
    n_negatives = {}
    asked_of_the_moon = {}
    for negatives in ("none", "uniform", "frequency", "hard"):
        reader = Distilled(
            tiny_corpus.passages, tiny_corpus.names, negatives=negatives, n_negatives=2, group_size=4, lower_case=0.0
        )
        examples = [example for _ in range(5) for example in read(reader, nlp)]
        n_negatives[negatives] = sum(
            len(types) - len({type_ for *_, type_ in mentions}) for _, types, mentions, _ in examples
        )
        of_the_moon = [types for words, types, *_ in examples if words[0] == "It"]  # has no mentions
        assert of_the_moon
        asked_of_the_moon[negatives] = sum(map(len, of_the_moon)) / len(of_the_moon)
    assert n_negatives["none"] == 0
    assert asked_of_the_moon["none"] == 0.0
    assert 1.0 < asked_of_the_moon["uniform"] <= 2.0
    assert asked_of_the_moon["frequency"] > 3.0  # what the others of the group are asked
    assert n_negatives["none"] < n_negatives["uniform"] < n_negatives["frequency"] < n_negatives["hard"]


def test_hard_negatives_are_what_the_teacher_named_as_absent(tiny_corpus, nlp):
    # In groups of one, nothing but its absent types is asked of a passage without mentions.
    reader = Distilled(tiny_corpus.passages, tiny_corpus.names, n_negatives=0, group_size=1, lower_case=0.0)
    of_the_moon = {types for words, types, *_ in read(reader, nlp) if words[0] == "It"}
    assert of_the_moon == {("astronaut", "city")}


def test_same_seed_streams_the_same(tiny_corpus, nlp):
    one, same, other = (Distilled(tiny_corpus.passages, tiny_corpus.names, seed=seed) for seed in (3, 3, 4))
    first = read(one, nlp)
    assert first == read(same, nlp)
    assert first != read(other, nlp)
    assert read(one, nlp) == read(same, nlp)  # the second call too


@pytest.mark.parametrize("share, expected", [(0.0, 0), (1.0, 24)])
def test_share_of_passages_is_given_in_lower_case(tiny_corpus, nlp, share, expected):
    reader = Distilled(tiny_corpus.passages, tiny_corpus.names, lower_case=share)
    examples = read(reader, nlp)
    assert sum(words == tuple(word.lower() for word in words) for words, *_ in examples) == expected
    assert any(mentions for _, _, mentions, _ in examples)


def test_limit_uses_only_so_many_passages(tiny_corpus, nlp):
    assert len(read(Distilled(tiny_corpus.passages, tiny_corpus.names, limit=5), nlp)) == 5


@pytest.mark.parametrize("setting", [{"group_size": 0}, {"n_negatives": -1}, {"lower_case": -0.1}, {"lower_case": 1.1}])
def test_setting_out_of_its_range_is_refused(tiny_corpus, setting):
    with pytest.raises(ValueError, match=r"need group_size >= 1, n_negatives >= 0 and lower_case in \[0, 1\], got"):
        Distilled(tiny_corpus.passages, tiny_corpus.names, **setting)


def test_files_are_read_at_the_first_call_and_not_before(tmp_path, nlp):
    reader = Distilled(tmp_path / "passages.jsonl", tmp_path / "types.tsv")
    with pytest.raises(FileNotFoundError, match=r"passages.jsonl"):
        next(reader(nlp))


# HeldOut


def test_held_out_passages_are_asked_for_types_that_training_never_mentions(tiny_corpus, nlp):
    examples = read(HeldOut(tiny_corpus.passages, tiny_corpus.names), nlp)
    assert examples == [
        (("Halley", "was", "seen", "from", "Rome", "."), ("comet", "pilot", "probe"), ((0, 1, "comet"),), ()),
        (("Judy", "flew", "to", "Paris", "."), ("comet", "pilot"), ((0, 1, "pilot"),), ()),
    ]


def test_held_out_examples_are_always_the_same(tiny_corpus, nlp):
    reader = HeldOut(tiny_corpus.passages, tiny_corpus.names, n_negatives=1)
    examples = read(reader, nlp)
    assert read(reader, nlp) == examples
    assert read(HeldOut(tiny_corpus.passages, tiny_corpus.names, n_negatives=1), nlp) == examples
    assert read(HeldOut(tiny_corpus.passages, tiny_corpus.names, n_negatives=1, limit=1), nlp) == examples[:1]


# Mixed


def make_reader(nlp, name: str, n_examples: int):
    """Make a reader of Examples of one word each: the name, and a number that goes on from call to call."""
    n_calls = 0

    def read_examples(_):
        nonlocal n_calls
        n_calls += 1
        for n in range(n_examples):
            doc = Doc(nlp.vocab, words=[f"{name} {n_calls} {n}"])
            yield Example(doc, doc.copy())

    return read_examples


def names_of(examples) -> list[str]:
    return [example.reference[0].text for example in examples]


def test_share_of_examples_is_distilled(nlp):
    reader = Mixed(make_reader(nlp, "gold", 500), make_reader(nlp, "distilled", 50), share=0.75)
    names = names_of(reader(nlp))
    assert sum(name.startswith("gold") for name in names) == 500
    assert sum(name.startswith("distilled") for name in names) / len(names) == pytest.approx(0.75, abs=0.03)


def test_gold_comes_whole_in_a_new_order_at_each_call(nlp):
    reader = Mixed(make_reader(nlp, "gold", 30), make_reader(nlp, "distilled", 50))
    orders = []
    for _ in range(2):
        gold = [int(name.split()[2]) for name in names_of(reader(nlp)) if name.startswith("gold")]
        assert sorted(gold) == list(range(30))
        orders.append(gold)
    assert orders[0] != orders[1]
    assert orders[0] != sorted(orders[0])


def test_distilled_stream_goes_on_from_call_to_call_and_begins_again_at_its_end(nlp):
    reader = Mixed(make_reader(nlp, "gold", 30), make_reader(nlp, "distilled", 25))
    distilled = [name for _ in range(4) for name in names_of(reader(nlp)) if name.startswith("distilled")]
    assert len(distilled) > 60
    assert distilled == [f"distilled {1 + n // 25} {n % 25}" for n in range(len(distilled))]


def test_share_of_none_reads_gold_alone(nlp):
    reader = Mixed(make_reader(nlp, "gold", 5), make_reader(nlp, "distilled", 0), share=0.0)
    assert sorted(names_of(reader(nlp))) == [f"gold 1 {n}" for n in range(5)]


def test_same_seed_mixes_the_same(nlp):
    def mix(seed: int) -> list[str]:
        reader = Mixed(make_reader(nlp, "gold", 30), make_reader(nlp, "distilled", 50), seed=seed)
        return names_of(reader(nlp))

    assert mix(1) == mix(1)
    assert mix(1) != mix(2)


@pytest.mark.parametrize("share", [-0.1, 1.0, 2.0])
def test_share_out_of_its_range_is_refused(nlp, share):
    with pytest.raises(ValueError, match=rf"The share of distilled Examples must be in \[0, 1\), got {share}"):
        Mixed(make_reader(nlp, "gold", 5), make_reader(nlp, "distilled", 5), share=share)


def test_distilled_reader_that_gives_nothing_is_refused(nlp):
    reader = Mixed(make_reader(nlp, "gold", 50), make_reader(nlp, "distilled", 0))
    with pytest.raises(ValueError, match=r"The distilled reader gives no Examples"):
        list(reader(nlp))


def test_readers_are_registered(tiny_corpus, nlp):
    config = {
        "@readers": "spacy_uniner.Mixed.v1",
        "gold": {"@readers": "spacy_uniner.HeldOut.v1", "passages": tiny_corpus.passages, "names": tiny_corpus.names},
        "distilled": {
            "@readers": "spacy_uniner.Distilled.v1",
            "passages": tiny_corpus.passages,
            "names": tiny_corpus.names,
        },
    }
    mixed = spacy.registry.resolve({"train": config})["train"]
    assert {example.reference[0].text for example in mixed(nlp)} >= {"Halley", "Judy"}


def test_spans_of_a_distilled_example_are_spans_of_its_words(tiny_corpus, nlp):
    for example in Distilled(tiny_corpus.passages, tiny_corpus.names, lower_case=0.0)(nlp):
        for span in example.reference.spans["universal_ner"]:
            assert isinstance(span, Span)
            if span.label_ == "city":
                assert span.text in ("Paris", "Rome")
