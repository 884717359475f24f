"""Readers of gold annotation."""

from __future__ import annotations

import json
import re

import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st
from spacy.tokens import Doc, DocBin, Span, SpanGroup

from spacy_uniner.benchmark.formats import READERS, Losses, spans_of_tags


def read(form, path, content=None, **options):
    if content is not None:
        path.write_text(content, encoding="utf8")
    losses = Losses()
    sentences = list(READERS[form](path, options, losses))
    return [(s.words, s.spans) for s in sentences], {r: n for r, n in losses.counts.items() if n}


# Columns


@pytest.mark.parametrize(
    "tags, spans, n_repaired",
    [
        ("B-A I-A O B-A", [(0, 2, "A"), (3, 4, "A")], 0),
        ("B-A B-A I-A", [(0, 1, "A"), (1, 3, "A")], 0),
        ("I-A I-A O", [(0, 2, "A")], 1),  # begins with I
        ("B-A I-B I-B", [(0, 1, "A"), (1, 3, "B")], 1),  # goes on with another label
        ("S-A B-A E-A", [(0, 1, "A"), (1, 3, "A")], 0),  # BIOES
        ("U-A B-A L-A", [(0, 1, "A"), (1, 3, "A")], 0),  # BILOU
        ("S-A I-A", [(0, 1, "A"), (1, 2, "A")], 1),  # nothing goes on after S
        ("B-A E-A E-A", [(0, 2, "A"), (2, 3, "A")], 1),
        ("O O", [], 0),
    ],
)
def test_tags_are_read_as_spans_and_repaired(tags, spans, n_repaired):
    assert spans_of_tags(tags.split()) == (spans, n_repaired)


def test_bare_labels_are_joined_if_equal():
    assert spans_of_tags(["A", "A", "O", "B", "A"], "io")[0] == [(0, 2, "A"), (3, 4, "B"), (4, 5, "A")]


@given(st.lists(st.tuples(st.integers(1, 3), st.sampled_from(["O", "A", "B"])), max_size=8))
def test_spans_written_as_bio_are_read_back(parts):
    tags, spans = [], []
    for n_words, label in parts:
        if label != "O":
            spans.append((len(tags), len(tags) + n_words, label))
        tags += ["O"] * n_words if label == "O" else [f"B-{label}", *[f"I-{label}"] * (n_words - 1)]
    assert spans_of_tags(tags) == (spans, 0)


def test_columns_are_chosen_and_sentences_are_apart(tmp_path):
    content = "-DOCSTART- O\n\n1\ten:Alan\tx\tB-PER\n2\ten:flew\tx\tO\n\n\n1\tRome\tx\tI-LOC"
    options = {"word": 1, "tag": 3, "separator": "\t", "comment": "-DOC", "word_prefix": "en:"}
    found, losses = read("columns", tmp_path / "a.txt", content, **options)
    assert found == [(("Alan", "flew"), ((0, 1, "PER"),)), (("Rome",), ((0, 1, "LOC"),))]
    assert losses == {"repaired": 1}
    assert read("columns", tmp_path / "a.txt", **options, scheme="iob1")[1] == {}


def test_fine_labels_may_be_cut_to_coarse_ones(tmp_path):
    found, _ = read("columns", tmp_path / "a.txt", "Alan\tperson-actor\n", scheme="io", label_prefix_only=True)
    assert found == [(("Alan",), ((0, 1, "person"),))]


def test_words_may_hold_white_space_other_than_blanks_and_tabs(tmp_path):
    found, _ = read("columns", tmp_path / "a.txt", "New\u00a0York  B-LOC\t\n")
    assert found == [(("New\u00a0York",), ((0, 1, "LOC"),))]


def test_empty_words_are_left_out_and_counted(tmp_path):
    found, losses = read(
        "columns", tmp_path / "a.txt", "\tO\nAlan\tB-PER\n\u00a0\tI-PER\nBean\tI-PER\n", separator="\t"
    )
    assert found == [(("Alan", "Bean"), ((0, 2, "PER"),))]
    assert losses == {"empty words": 2}


def test_byte_order_mark_is_no_part_of_the_first_word(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfAlan B-PER\n")
    assert read("columns", tmp_path / "a.txt")[0] == [(("Alan",), ((0, 1, "PER"),))]


@pytest.mark.parametrize(
    "line, reason",
    [("Alan", "one column where word and tag"), ("Alan PER", "'PER' is no tag"), ("Alan X-PER", "'X-PER' is no tag")],
)
def test_line_without_a_tag_is_refused(tmp_path, line, reason):
    with pytest.raises(ValueError, match=rf"a.txt, line 2: {reason}"):
        read("columns", tmp_path / "a.txt", f"flew O\n{line}\n")


def test_line_with_too_few_columns_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"a.txt, line 1: 2 columns are too few"):
        read("columns", tmp_path / "a.txt", "flew O\n", tag=3)


def test_file_that_is_no_utf8_is_refused(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"flew O\ncaf\xe9 O\n")
    with pytest.raises(ValueError, match=r"a.txt, line 2: not UTF-8"):
        read("columns", tmp_path / "a.txt")


# Words with spans


def test_tokens_with_spans_are_read(tmp_path):
    content = '{"tokens": ["Alan", "Bean"], "spans": [[0, 2, "PER"], [0, 1, "FIRST"]]}\n\n{"tokens": [], "spans": []}\n'
    found, _ = read("jsonl-tokens", tmp_path / "a.jsonl", content)
    assert found == [(("Alan", "Bean"), ((0, 2, "PER"), (0, 1, "FIRST"))), ((), ())]


@pytest.mark.parametrize(
    "line, reason",
    [
        ('{"tokens": ["a"', "not JSON"),
        ("5", "a JSON int, expected an object"),
        ('{"tokens": ["a"]}', 'expected "tokens" and "spans" .KeyError: \'spans\''),
        ('{"tokens": ["a"], "spans": [[0, 1]]}', 'expected "tokens" and "spans" .ValueError'),
        ('{"tokens": "abc", "spans": []}', "expected .*: the tokens 'abc' are no list"),
        ('{"tokens": [null], "spans": []}', "expected .*: None is no text"),
        ('{"tokens": ["a", " "], "spans": []}', "a word is empty"),
        ('{"tokens": ["a"], "spans": [[0, 1.5, "A"]]}', "expected .*: 1.5 is no offset"),
        ('{"tokens": ["a"], "spans": [[0, true, "A"]]}', "expected .*: True is no offset"),
        ('{"tokens": ["a"], "spans": [[0, 1, null]]}', "expected .*: None is no text"),
        ('{"tokens": ["a"], "spans": [[0, 2, "A"]]}', r"span 'A' \[0, 2\) is out of bounds; there are 1 words"),
        ('{"tokens": ["a"], "spans": [[1, 1, "A"]]}', r"span 'A' \[1, 1\) is out of bounds"),
        ('{"tokens": ["a"], "spans": [[-1, 1, "A"]]}', r"span 'A' \[-1, 1\) is out of bounds"),
    ],
)
def test_broken_line_of_tokens_is_refused(tmp_path, line, reason):
    with pytest.raises(ValueError, match=rf"a.jsonl, line 2: {reason}"):
        read("jsonl-tokens", tmp_path / "a.jsonl", '{"tokens": [], "spans": []}\n' + line)


def test_docbins_are_read_by_entities_or_by_a_group(tmp_path):
    nlp = spacy.blank("en")
    doc = Doc(nlp.vocab, words=["Alan", "Bean"])
    doc.set_ents([Span(doc, 0, 2, "PER")])
    doc.spans["sc"] = SpanGroup(doc, name="sc", spans=[Span(doc, 0, 1, "FIRST")])
    DocBin(docs=[doc], store_user_data=True).to_disk(tmp_path / "a.spacy")
    assert read("spacy", tmp_path / "a.spacy")[0] == [(("Alan", "Bean"), ((0, 2, "PER"),))]
    assert read("spacy", tmp_path / "a.spacy", spans_key="sc")[0] == [(("Alan", "Bean"), ((0, 1, "FIRST"),))]


def test_group_that_no_doc_has_is_refused(tmp_path):
    doc = Doc(spacy.blank("en").vocab, words=["Alan"])
    doc.spans["sc"] = []
    DocBin(docs=[doc], store_user_data=True).to_disk(tmp_path / "a.spacy")
    with pytest.raises(ValueError, match=r"a.spacy: no Doc has the span group 'cs'. Groups: sc. Correct the option"):
        read("spacy", tmp_path / "a.spacy", spans_key="cs")


def test_file_that_is_no_docbin_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"a.spacy is no .spacy file"):
        read("spacy", tmp_path / "a.spacy", "nothing")


# Texts with spans in characters

TEXT = "Alan flew. He saw New York City."


def test_texts_are_cut_and_losses_counted(tmp_path):
    spans = [
        {"start": 0, "end": 4, "label": "PER"},
        {"start": 18, "end": 31, "label": "LOC"},
        {"start": 0, "end": 2, "label": "PER"},  # ends inside a word
        {"start": 5, "end": 13, "label": "EVENT"},  # crosses the sentence
    ]
    content = json.dumps({"text": TEXT, "spans": spans})
    found, losses = read("json-spans", tmp_path / "a.jsonl", content)
    assert found == [
        (("Alan", "flew", "."), ((0, 1, "PER"),)),
        (("He", "saw", "New", "York", "City", "."), ((2, 5, "LOC"),)),
    ]
    assert losses == {"misaligned": 1, "crossing a sentence": 1}


def test_texts_may_be_sentences_and_a_list(tmp_path):
    content = json.dumps([{"sentence": TEXT, "ents": [{"from": 0, "to": 4, "tag": "PER"}]}])
    names = {"text": "sentence", "spans": "ents", "start": "from", "end": "to", "label": "tag"}
    found, _ = read("json-spans", tmp_path / "a.json", content, is_sentence=True, **names)
    assert len(found) == 1
    assert found[0][1] == ((0, 1, "PER"),)


@pytest.mark.parametrize(
    "record, reason",
    [
        ({"spans": []}, "expected the fields text, spans, start, end, label .KeyError: 'text'"),
        ({"text": None, "spans": []}, "expected the fields .*: None is no text"),
        ({"text": "a", "spans": [{"start": "0", "end": 1, "label": "A"}]}, "expected the fields .*: '0' is no offset"),
        ({"text": "a", "spans": [{"start": 0, "end": 5, "label": "A"}]}, "out of bounds; there are 1 characters"),
    ],
)
def test_broken_text_is_refused(tmp_path, record, reason):
    with pytest.raises(ValueError, match=rf"a.jsonl, line 1: .*{reason}"):
        read("json-spans", tmp_path / "a.jsonl", json.dumps(record))


@pytest.mark.parametrize("is_sentence", [True, False])
def test_white_space_is_no_word(tmp_path, is_sentence):
    spans = [{"start": 0, "end": 11, "label": "PER"}, {"start": 5, "end": 7, "label": "GAP"}]
    content = json.dumps({"text": "Alan \n Bean", "spans": spans})
    found, losses = read("json-spans", tmp_path / "a.jsonl", content, is_sentence=is_sentence)
    assert found == [(("Alan", "Bean"), ((0, 2, "PER"),))]
    assert losses == {"misaligned": 1}


@pytest.mark.parametrize("form", ["json-spans", "jsonl-tokens", "conversations"])
def test_broken_list_names_the_line(tmp_path, form):
    with pytest.raises(ValueError, match=r"a.json, line 2: not JSON: .*Is the file cut"):
        read(form, tmp_path / "a.json", '[{"text": "a"},\n{"text": ')


def test_broken_record_of_a_list_is_named_by_its_place(tmp_path):
    with pytest.raises(ValueError, match=r"a.json, record 2: a JSON int, expected an object"):
        read("json-spans", tmp_path / "a.json", '[\n\n{"text": "a",\n"spans": []},\n5]')


def test_brat_documents_are_read(tmp_path):
    (tmp_path / "d1.txt").write_text(TEXT, encoding="utf8")
    annotation = "T1\tPER 0 4\tAlan\nR1\tx Arg1:T1 Arg2:T1\nT2\tLOC 18 21;27 31\tNew City\nT3\tLOC 18 26\tNew York\n"
    (tmp_path / "d1.ann").write_text(annotation, encoding="utf8")
    found, losses = read("brat", tmp_path)
    assert [spans for _, spans in found] == [((0, 1, "PER"),), ((2, 4, "LOC"),)]
    assert losses == {"discontinuous": 1}


@pytest.mark.parametrize(
    "line, reason",
    [
        ("T1\tPER 0 400\tAlan", r"'PER' \[0, 400\) is out of bounds"),
        ("T1\tPER 0\tAlan", "no brat mention .bounds come in pairs"),
        ("T1\tPER 0 4;5\tAlan", "no brat mention .bounds come in pairs"),
        ("T1\tPER 0 4;5 400\tAlan", r"'PER' \[5, 400\) is out of bounds"),
        ("T1", "no brat mention"),
        ("T1\tPER a b\tAlan", "no brat mention"),
    ],
)
def test_broken_brat_mention_is_refused(tmp_path, line, reason):
    (tmp_path / "d1.txt").write_text(TEXT, encoding="utf8")
    (tmp_path / "d1.ann").write_text(line + "\n", encoding="utf8")
    with pytest.raises(ValueError, match=rf"d1.ann, line 1: .*{reason}"):
        read("brat", tmp_path)


def test_brat_text_that_is_no_utf8_is_refused(tmp_path):
    (tmp_path / "d1.txt").write_bytes(b"caf\xe9")
    with pytest.raises(ValueError, match=r"d1.txt: not UTF-8"):
        read("brat", tmp_path)


def test_brat_texts_without_annotation_are_not_taken_for_empty_ones(tmp_path):
    (tmp_path / "README.txt").write_text("Read me.", encoding="utf8")
    assert read("brat", tmp_path) == ([], {"texts without annotation": 1})


def test_brat_mention_of_another_text_is_left_out_and_counted(tmp_path):
    (tmp_path / "d1.txt").write_text("Alan\nBean flew.", encoding="utf8")
    (tmp_path / "d1.ann").write_text("T1\tPER 0 9\tAlan Bean\nT2\tPER 5 9\tBeam\nT3\tX 10 14\n", encoding="utf8")
    found, losses = read("brat", tmp_path)
    assert found == [(("Alan", "Bean", "flew", "."), ((0, 2, "PER"), (2, 3, "X")))]
    assert losses == {"other text than annotated": 1}


def test_brat_documents_of_one_name_in_two_folders_have_two_ids(tmp_path):
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        (folder / "1.txt").write_text("Alan.", encoding="utf8")
        (folder / "1.ann").write_text("", encoding="utf8")
    assert [sentence.id for sentence in READERS["brat"](tmp_path, {}, Losses())] == ["a/1.1", "b/1.1"]


def test_folder_without_brat_documents_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"holds no .txt of a brat document"):
        read("brat", tmp_path)


PUBTATOR = """7|t|Alan flew.
7|a|He saw New York City.
7\t0\t4\tAlan\tPER\tx
7\t18\t31\tNew York City\tLOC\tx
7\tCID\tA\tB
"""


def test_pubtator_is_read(tmp_path):
    found, _ = read("pubtator", tmp_path / "a.txt", PUBTATOR + "\n" + PUBTATOR)
    assert [spans for _, spans in found] == [((0, 1, "PER"),), ((2, 5, "LOC"),)] * 2


def test_pubtator_may_lack_empty_lines_and_concepts(tmp_path):
    without = re.sub(r"\tx$", "", PUBTATOR, flags=re.MULTILINE) + "7\tAssociation\tA\tB\tNovel\n"
    found, losses = read("pubtator", tmp_path / "a.txt", without + without)
    assert [spans for _, spans in found] == [((0, 1, "PER"),), ((2, 5, "LOC"),)] * 2
    assert losses == {}


def test_pubtator_mention_of_another_text_is_left_out_and_counted(tmp_path):
    found, losses = read("pubtator", tmp_path / "a.txt", PUBTATOR.replace("4\tAlan", "4\tEllen"))
    assert [spans for _, spans in found] == [(), ((2, 5, "LOC"),)]
    assert losses == {"other text than annotated": 1}


@pytest.mark.parametrize(
    "line, reason",
    [
        ("7\t0\t99\tA\tPER\tx", "out of bounds; there are 32 characters"),
        ("7\ta\t4\tA\tPER\tx", "no PubTator mention"),
        ("x", "no PubTator"),
    ],
)
def test_broken_pubtator_mention_is_refused(tmp_path, line, reason):
    with pytest.raises(ValueError, match=rf"a.txt, line 3: .*{reason}"):
        read("pubtator", tmp_path / "a.txt", re.sub(r"7\t.*", "", PUBTATOR).rstrip() + "\n" + line + "\n")


# Conversations


def ask(text, type_, answer):
    turns = [f"Text: {text}", "I've read this text.", f"What describes {type_} in the text?", answer]
    return {"id": "1", "conversations": [{"from": "x", "value": turn} for turn in turns]}


def test_answers_are_located_word_by_word_wherever_they_stand(tmp_path):
    text = "John met Johnathan and John."
    records = [
        ask(text, "person", '["John"]'),
        ask(text, "city", '["Rome"]'),
        ask(text, "river", "none"),
        ask("It rained.", "city", "[]"),
    ]
    found, losses = read("conversations", tmp_path / "a.json", json.dumps(records))
    assert found == [
        (("John", "met", "Johnathan", "and", "John", "."), ((0, 1, "person"), (4, 5, "person"))),
        (("It", "rained", "."), ()),
    ]
    assert losses == {"not in the text": 1, "unreadable answers": 1}


@pytest.mark.parametrize("turns", [["Text: a"], ["Text: a", "What describes city in the text?"], ["Text: a", "b", "c"]])
def test_conversation_that_asks_nothing_is_refused(tmp_path, turns):
    record = {"conversations": [{"value": turn} for turn in turns]}
    with pytest.raises(ValueError, match=r"a.jsonl, line 1: no turn asks 'What describes TYPE in the text.' and is"):
        read("conversations", tmp_path / "a.jsonl", json.dumps(record))


@pytest.mark.parametrize(
    "record", [{}, {"conversations": [{"value": "Hello"}]}, {"conversations": "x"}, ask("a", "city", None)]
)
def test_record_that_is_no_conversation_is_refused(tmp_path, record):
    with pytest.raises(ValueError, match=r"a.jsonl, line 1: no conversation with a text"):
        read("conversations", tmp_path / "a.jsonl", json.dumps(record))
