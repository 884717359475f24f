"""Our BERT against that of transformers, and its word pieces."""

from __future__ import annotations

import json

import pytest
import torch
from conftest import make_tokenizer_json

from spacy_uniner.students import bert
from spacy_uniner.students.bert import Bert, BertSize, Pieces, from_huggingface, read_json

CONFIG = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "vocab_size": 30,
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 20,
    "max_position_embeddings": 16,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-7,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
SIZE = BertSize.from_config(CONFIG, "config.json")


@pytest.fixture(scope="module")
def pieces() -> Pieces:
    return Pieces(make_tokenizer_json())


# The forward pass


@pytest.fixture(scope="module")
def theirs():
    """A BertModel of transformers, all of whose weights are random: fresh ones have biases of 0."""
    transformers = pytest.importorskip("transformers")
    model = transformers.BertModel(transformers.BertConfig(**CONFIG)).eval()
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5, generator=generator)
    return model


@pytest.mark.parametrize("prefix", ["", "bert."])
def test_states_equal_those_of_transformers(theirs, prefix):
    ours = Bert(SIZE).eval()
    ours.load_state_dict(from_huggingface({prefix + n: tensor for n, tensor in theirs.state_dict().items()}, SIZE))
    ids = torch.randint(1, 30, (4, 9), generator=torch.Generator().manual_seed(2))
    n_pieces = torch.tensor([9, 2, 5, 1])
    is_piece = torch.arange(9) < n_pieces[:, None]
    ids = ids * is_piece
    with torch.no_grad():
        expected = theirs(input_ids=ids, attention_mask=is_piece.long()).last_hidden_state
        found = ours(ids[is_piece], n_pieces)
    torch.testing.assert_close(found, expected[is_piece], atol=1e-5, rtol=0)


def test_states_without_padding_equal_those_of_transformers(theirs):
    ours = Bert(SIZE).eval()
    ours.load_state_dict(from_huggingface(theirs.state_dict(), SIZE))
    ids = torch.randint(1, 30, (3, 16), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        expected = theirs(input_ids=ids).last_hidden_state
        found = ours(ids.flatten(), torch.tensor([16, 16, 16]))
    torch.testing.assert_close(found.view_as(expected), expected, atol=1e-5, rtol=0)


def test_linear_layers_work_in_the_precision_of_their_weights():
    layer = torch.nn.Linear(4, 4).to(torch.bfloat16)
    assert bert.linear(torch.ones(1, 4), layer).dtype == torch.bfloat16


# Sizes and weights of a Hugging Face folder


def test_sizes_are_read_by_their_hugging_face_names():
    assert BertSize(30, 12, 2, 3, 20, 16, 2, 1e-7, 0.0) == SIZE


@pytest.mark.parametrize(
    "key, value",
    [("model_type", "roberta"), ("hidden_act", "relu"), ("position_embedding_type", "relative_key")],
)
def test_encoder_of_another_kind_is_refused(key, value):
    with pytest.raises(ValueError, match=f"here/config.json: {key} is '{value}', but the encoder student needs"):
        BertSize.from_config({**CONFIG, key: value}, "here/config.json")


def test_config_that_names_no_model_type_is_refused():
    nameless = {key: value for key, value in CONFIG.items() if key != "model_type"}
    with pytest.raises(ValueError, match=r"config.json: model_type is 'None', but the encoder student needs 'bert'"):
        BertSize.from_config(nameless, "config.json")


def test_config_that_lacks_a_size_is_refused():
    short = {key: value for key, value in CONFIG.items() if key != "hidden_size"}
    with pytest.raises(ValueError, match=r"config.json lacks a size of the encoder: .*'hidden_size'"):
        BertSize.from_config(short, "config.json")


def test_weights_that_lack_a_layer_are_refused():
    with pytest.raises(ValueError, match=r"The encoder's weights lack 'embeddings.word_embeddings.weight'"):
        from_huggingface({}, SIZE)


# read_json


def test_json_object_is_read(tmp_path):
    (tmp_path / "config.json").write_text('{"vocab_size": 30}', encoding="utf8")
    assert read_json(tmp_path / "config.json") == {"vocab_size": 30}


@pytest.mark.parametrize("content", [b'{"vocab_size": ', b"", b"\xff\xfe"])
def test_file_that_is_cut_is_no_json(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"config.json is not JSON: .* Is the file cut\?"):
        read_json(tmp_path / "config.json")


def test_json_that_is_no_object_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("[1, 2]", encoding="utf8")
    with pytest.raises(ValueError, match=r"config.json holds a JSON list, expected an object"):
        read_json(tmp_path / "config.json")


# Pieces


def test_each_word_is_cut_by_itself(pieces):
    vocabulary = json.loads(pieces.json_text)["model"]["vocab"]
    expected = [("alan",), ("ride", "##s"), (), ("o", "'", "b"), ("[UNK]",), ("alan",)]
    words = ["Alan", "rides", " \n", "O'B", "書", "ALAN"]
    assert pieces.cut(words) == [tuple(vocabulary[piece] for piece in word) for word in expected]


def test_special_pieces_are_those_of_the_vocabulary(pieces):
    vocabulary = json.loads(pieces.json_text)["model"]["vocab"]
    assert (pieces.first, pieces.last) == (vocabulary["[CLS]"], vocabulary["[SEP]"])


def test_no_words_have_no_pieces(pieces):
    assert pieces.cut([]) == []


def test_saved_truncation_and_padding_are_not_obeyed(pieces):
    record = json.loads(pieces.json_text)
    record["truncation"] = {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}
    record["padding"] = {
        "strategy": {"Fixed": 8},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "[PAD]",
    }
    words = ["unheard", "moon"]
    assert Pieces(json.dumps(record)).cut(words) == pieces.cut(words)


def test_words_met_before_are_remembered_but_never_more_than_the_bound(monkeypatch):
    monkeypatch.setattr(bert, "MAX_REMEMBERED_WORDS", 3)
    monkeypatch.setattr(bert, "MAX_REMEMBERED_CHARACTERS", 5)
    pieces = Pieces(make_tokenizer_json())
    pieces.cut(["alan", "bean", "astronaut"])
    assert set(pieces._known) == {"alan", "bean"}  # the third is too long to be kept
    pieces.cut(["moon", "alan"])
    assert set(pieces._known) == {"alan", "bean", "moon"}
    first = pieces.cut(["bean", "rome"])
    assert set(pieces._known) == {"rome"}
    assert first == Pieces(make_tokenizer_json()).cut(["bean", "rome"])


def test_tokenizer_without_special_pieces_is_refused(pieces):
    record = json.loads(pieces.json_text)
    del record["model"]["vocab"]["[SEP]"]
    with pytest.raises(ValueError, match=r"The tokenizer has no \[SEP\]\. The encoder student needs the tokenizer of"):
        Pieces(json.dumps(record))


@pytest.mark.parametrize("json_text", ['{"version": "1.0", "model', "{}", "[]", '{"model": {}}'])
def test_text_that_is_no_tokenizer_is_refused(json_text):
    with pytest.raises(ValueError, match=r"The tokenizer is not the JSON of a tokenizer with a vocabulary"):
        Pieces(json_text)
