"""Students as bytes and folders: what comes back, and what is refused."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict

import pytest
import torch
from conftest import make_encoder_student, make_tokenizer_json
from safetensors.torch import load, save, save_file

from spacy_uniner.students.weights import (
    FORMAT,
    META,
    WEIGHTS,
    read_student,
    shrink,
    student_from_bytes,
    student_to_bytes,
    write_bert,
    write_student,
)

BERT_CONFIG = {
    "model_type": "bert",
    "vocab_size": 20,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "max_position_embeddings": 100,
}


@pytest.fixture(scope="module")
def student():
    return make_encoder_student()


@pytest.fixture
def folder(student, tmp_path):
    """A folder with a student, for each test to spoil."""
    write_student(student, tmp_path / "student", {"name": "tiny"})
    return tmp_path / "student"


def make_bert_tensors() -> dict[str, torch.Tensor]:
    """Make the weights of a Hugging Face BERT of the sizes in `BERT_CONFIG`."""
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "embeddings.word_embeddings.weight": (20, 8),
        "embeddings.position_embeddings.weight": (100, 8),
        "embeddings.token_type_embeddings.weight": (2, 8),
        "embeddings.LayerNorm.weight": (8,),
        "embeddings.LayerNorm.bias": (8,),
        "pooler.dense.weight": (8, 8),
    }
    layer = {
        "attention.self.query": (8, 8),
        "attention.self.key": (8, 8),
        "attention.self.value": (8, 8),
        "attention.output.dense": (8, 8),
        "attention.output.LayerNorm": (8,),
        "intermediate.dense": (12, 8),
        "output.dense": (8, 12),
        "output.LayerNorm": (8,),
    }
    for name, shape in layer.items():
        shapes[f"encoder.layer.0.{name}.weight"] = shape
        shapes[f"encoder.layer.0.{name}.bias"] = shape[:1]
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


@pytest.fixture
def bert_folder(tmp_path):
    """A Hugging Face folder with a BERT, for each test to spoil."""
    folder = tmp_path / "bert"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(BERT_CONFIG), encoding="utf8")
    (folder / "tokenizer.json").write_text(make_tokenizer_json(), encoding="utf8")
    save_file(make_bert_tensors(), folder / "model.safetensors")
    return folder


def save_with_header(student, **changes: str) -> bytes:
    """Write a student with another header than its own."""
    header = {"format": FORMAT, "size": json.dumps(asdict(student.size)), "tokenizer": student.pieces.json_text}
    return save(load(student_to_bytes(student)), metadata={**header, **changes})


# Bytes


def test_bytes_bring_back_size_pieces_and_exact_weights(student):
    read = student_from_bytes(student_to_bytes(student), "float32")
    assert read.size == student.size
    assert read.pieces.json_text == student.pieces.json_text
    expected = student.state_dict()
    assert read.state_dict().keys() == expected.keys()
    for name, tensor in read.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, expected[name]), name


def test_half_precision_holds_what_fits_it_and_nothing_else():
    fits, does_not = torch.tensor([0.5, -3.25, 60000.0]), torch.tensor([0.5, 0.1])
    assert shrink(fits).dtype == torch.float16
    assert torch.equal(shrink(fits).float(), fits)
    assert torch.equal(shrink(does_not), does_not)
    assert shrink(torch.tensor([70000.0])).dtype == torch.float32  # beyond the largest half


def test_precision_is_chosen_when_the_bytes_are_read(student):
    assert student_from_bytes(student_to_bytes(student), "bfloat16").dtype == torch.bfloat16


@pytest.mark.parametrize("n_bytes", [0, 5, 1000, -1])
def test_cut_bytes_are_refused(student, n_bytes):
    content = student_to_bytes(student)
    with pytest.raises(ValueError, match=r"here: no whole safetensors file \(.*\)\. Is it cut\? Copy it again"):
        student_from_bytes(content[:n_bytes], "float32", origin="here")


@pytest.mark.parametrize("header, found", [({"format": "other.v9"}, "other.v9"), (None, "not stated")])
def test_bytes_of_another_format_are_refused(student, header, found):
    content = save_with_header(student, **header) if header else save({"weight": torch.zeros(2)})
    with pytest.raises(ValueError, match=f"These bytes: the format is '{found}', expected '{FORMAT}'"):
        student_from_bytes(content, "float32")


def test_weights_that_do_not_fit_the_sizes_beside_them_are_refused(student):
    size = json.dumps({**asdict(student.size), "n_hidden": 17})
    with pytest.raises(
        ValueError, match=r"(?s)here: the weights do not fit the sizes stated beside them.*size mismatch"
    ):
        student_from_bytes(save_with_header(student, size=size), "float32", origin="here")


# Folders


def test_written_student_has_its_weights_in_half_precision(student, folder):
    read = read_student(str(folder), "float32")
    for name, tensor in student.state_dict().items():
        assert torch.equal(read.state_dict()[name], tensor.half().float()), name
    assert all(tensor.dtype == torch.float16 for tensor in load((folder / WEIGHTS).read_bytes()).values())


def test_student_of_half_weights_is_written_without_loss(folder, tmp_path):
    half = read_student(str(folder), "float32")
    write_student(half, tmp_path / "again", {})
    again = read_student(str(tmp_path / "again"), "float32")
    for name, tensor in half.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


def test_writing_leaves_the_student_as_it_was(tmp_path):
    student = make_encoder_student()
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    write_student(student, tmp_path / "deep" / "student", {})
    assert all(torch.equal(tensor, before[name]) for name, tensor in student.state_dict().items())


def test_meta_tells_format_size_and_checksum(student, tmp_path):
    n_bytes = write_student(student, tmp_path, {"name": "tiny", "author": "René"})
    content = (tmp_path / WEIGHTS).read_bytes()
    assert n_bytes == len(content)
    assert json.loads((tmp_path / META).read_text(encoding="utf8")) == {
        "name": "tiny",
        "author": "René",
        "format": FORMAT,
        "sha256": hashlib.sha256(content).hexdigest(),
        "n_bytes": n_bytes,
    }


def test_changed_weights_are_refused_by_their_checksum(folder):
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (folder / WEIGHTS).write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"student.safetensors: checksum is [0-9a-f]{64}, expected [0-9a-f]{64}\. The"):
        read_student(str(folder), "float32")


def test_cut_weights_are_refused_with_a_checksum_and_without(folder):
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"The file is cut or was changed; install or copy it again"):
        read_student(str(folder), "float32")
    (folder / META).unlink()
    with pytest.raises(ValueError, match=r"student.safetensors: no whole safetensors file .* Is it cut\?"):
        read_student(str(folder), "float32")


def test_cut_meta_is_refused(folder):
    (folder / META).write_text('{"sha256": "', encoding="utf8")
    with pytest.raises(ValueError, match=r"meta.json is not JSON: .* Is the file cut\?"):
        read_student(str(folder), "float32")


@pytest.mark.parametrize("meta", [None, {}, {"sha256": ""}])
def test_folder_that_states_no_checksum_is_read(folder, student, meta):
    (folder / META).unlink()
    if meta is not None:
        (folder / META).write_text(json.dumps(meta), encoding="utf8")
    assert read_student(str(folder), "float32").size == student.size


def test_student_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"No encoder student '.*/nowhere': neither the embedded 'en_uniner_sm' nor a"):
        read_student(str(tmp_path / "nowhere"), "float32")


def test_empty_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"nor a folder that holds a student.safetensors or a Hugging Face BERT"):
        read_student(str(tmp_path), "float32")


# A Hugging Face BERT to start from


def test_student_starts_from_the_encoder_of_a_bert(bert_folder):
    student = read_student(str(bert_folder), "float32")
    tensors = make_bert_tensors()
    assert student.size.max_window_pieces == 98  # its 100 positions without the special pieces
    assert torch.equal(student.bert.words.weight, tensors["embeddings.word_embeddings.weight"])
    query_key_value = [tensors[f"encoder.layer.0.attention.self.{part}.bias"] for part in ("query", "key", "value")]
    assert torch.equal(student.bert.layers[0].query_key_value.bias, torch.cat(query_key_value))


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json"])
def test_bert_folder_that_lacks_a_file_is_refused(bert_folder, file):
    (bert_folder / file).unlink()
    with pytest.raises(ValueError, match=f"bert has a config.json but no {file}. Save the model with safe"):
        read_student(str(bert_folder), "float32")


def test_folder_of_another_architecture_is_refused(bert_folder):
    (bert_folder / "config.json").write_text(json.dumps({**BERT_CONFIG, "model_type": "deberta"}), encoding="utf8")
    with pytest.raises(ValueError, match=r"config.json: model_type is 'deberta', but the encoder student needs 'bert'"):
        read_student(str(bert_folder), "float32")


def test_cut_bert_weights_are_refused(bert_folder):
    path = bert_folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"model.safetensors is cut or does not fit its config.json"):
        read_student(str(bert_folder), "float32")


def test_bert_weights_of_other_sizes_are_refused(bert_folder):
    (bert_folder / "config.json").write_text(json.dumps({**BERT_CONFIG, "vocab_size": 21}), encoding="utf8")
    with pytest.raises(
        ValueError, match=r"(?s)model.safetensors is cut or does not fit its config.json.*size mismatch"
    ):
        read_student(str(bert_folder), "float32")


def test_bert_with_fewer_layers_than_stated_is_refused(bert_folder):
    (bert_folder / "config.json").write_text(json.dumps({**BERT_CONFIG, "num_hidden_layers": 2}), encoding="utf8")
    with pytest.raises(ValueError, match=r"The encoder's weights lack 'encoder.layer.1.attention.self.query.weight'"):
        read_student(str(bert_folder), "float32")


def test_cut_tokenizer_is_refused(bert_folder):
    path = bert_folder / "tokenizer.json"
    path.write_text(path.read_text(encoding="utf8")[:-5], encoding="utf8")
    with pytest.raises(ValueError, match=r"Is tokenizer.json cut\?"):
        read_student(str(bert_folder), "float32")


def test_the_encoder_goes_out_as_it_came_in(bert_folder, tmp_path):
    student = read_student(str(bert_folder), "float32")
    write_bert(student, tmp_path / "out")
    again = read_student(str(tmp_path / "out"), "float32")
    assert again.size == student.size
    assert all(torch.equal(again.bert.state_dict()[name], part) for name, part in student.bert.state_dict().items())


def test_the_encoder_goes_out_as_transformers_reads_it(tiny_student, tmp_path):
    transformers = pytest.importorskip("transformers")
    student = tiny_student.eval()
    write_bert(student, tmp_path / "out")
    model = transformers.AutoModel.from_pretrained(tmp_path / "out", local_files_only=True).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out", local_files_only=True)
    (pieces,) = student.pieces.cut(["word"])
    assert tokenizer("word")["input_ids"] == [student.pieces.first, *pieces, student.pieces.last]
    ids = torch.tensor([student.pieces.first, *pieces, student.pieces.last])
    with torch.no_grad():
        theirs = model(ids[None]).last_hidden_state[0]
        ours = student.bert(ids, torch.tensor([len(ids)]))
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_bytes_of_a_student_are_always_the_same(tiny_student):
    assert len({student_to_bytes(tiny_student) for _ in range(5)}) == 1
