"""Encoder students as bytes and as folders: safetensors that carry sizes and tokenizer, and nothing to execute."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, load_file, save
from torch import Tensor

from .bert import BertSize, Pieces, from_huggingface, read_json, to_huggingface
from .encoder import EncoderStudent
from .sizes import EncoderSize, Precision

FORMAT = "spacy_uniner.Encoder.v1"
WEIGHTS = "student.safetensors"
META = "meta.json"
EMBEDDED = "en_uniner_sm"


def student_to_bytes(student: EncoderStudent) -> bytes:
    """Write a student. Weights that half precision holds exactly are stored in it, so nothing is lost."""
    tensors = {name: shrink(tensor.detach().cpu()) for name, tensor in student.state_dict().items()}
    header = {"format": FORMAT, "size": json.dumps(asdict(student.size)), "tokenizer": student.pieces.json_text}
    return sort_header(save(tensors, metadata=header))


def sort_header(content: bytes) -> bytes:
    """Give safetensors whose header is sorted: safetensors writes its metadata in another order each time.

    SOURCE: the format, huggingface/safetensors: eight bytes that tell the length of a JSON header, which may end in
        spaces; then the tensors, whose offsets count from there.
    """
    n_header = int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8 : 8 + n_header]), sort_keys=True, separators=(",", ":")).encode("utf8")
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + content[8 + n_header :]


def shrink(tensor: Tensor) -> Tensor:
    """Give the tensor in half precision if that loses nothing, else as it is."""
    half = tensor.half()
    return half if torch.equal(half.float(), tensor.float()) else tensor.contiguous()


def student_from_bytes(content: bytes, precision: Precision, origin: str = "These bytes") -> EncoderStudent:
    """Read a student that `student_to_bytes` wrote.

    origin: where the bytes are from, for the errors.
    RAISES: ValueError if they are cut, of another format, or do not fit the sizes that they state.
    """
    try:
        tensors = load(content)
        n_header = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + n_header]).get("__metadata__", {})
    except SafetensorError as err:
        raise ValueError(f"{origin}: no whole safetensors file ({err}). Is it cut? Copy it again.") from err
    if header.get("format") != FORMAT:
        raise ValueError(
            f"{origin}: the format is '{header.get('format', 'not stated')}', expected '{FORMAT}'. "
            "These are weights of another architecture."
        )
    student = EncoderStudent(EncoderSize.from_dict(json.loads(header["size"])), Pieces(header["tokenizer"]), precision)
    try:
        student.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    except RuntimeError as err:
        raise ValueError(f"{origin}: the weights do not fit the sizes stated beside them. {err}") from err
    return student


def read_student(name: str, precision: Precision) -> EncoderStudent:
    """Read a student by name: the embedded one, a folder with a student, or a folder with a Hugging Face BERT.

    Of a BERT, only the encoder is given; what a student adds to it is new and must be trained.

    name: "en_uniner_sm", or the path of a folder.
    RAISES: ValueError if there is no such student, or its files are cut, changed or of another architecture.
    """
    folder = Path(__file__).parent.parent / EMBEDDED if name == EMBEDDED else Path(name)
    if (folder / WEIGHTS).is_file():
        content = (folder / WEIGHTS).read_bytes()
        check(folder, content)
        return student_from_bytes(content, precision, origin=str(folder / WEIGHTS))
    if (folder / "config.json").is_file():
        return read_bert(folder, precision)
    raise ValueError(
        f"No encoder student '{name}': neither the embedded '{EMBEDDED}' nor a folder that holds a {WEIGHTS} "
        "or a Hugging Face BERT (config.json, model.safetensors, tokenizer.json)."
    )


def check(folder: Path, content: bytes) -> None:
    """Hold weights against the checksum in their folder's meta.json, if it states one.

    RAISES: ValueError if it differs.
    """
    if (folder / META).is_file():
        expected = read_json(folder / META).get("sha256")
        found = hashlib.sha256(content).hexdigest()
        if expected and found != expected:
            raise ValueError(
                f"{folder / WEIGHTS}: checksum is {found}, expected {expected}. The file is cut or was changed; "
                "install or copy it again."
            )


def read_bert(folder: Path, precision: Precision) -> EncoderStudent:
    """Start a student from a Hugging Face folder with a BERT.

    RAISES: ValueError if a file is missing, cut or of another architecture.
    """
    for file in ("model.safetensors", "tokenizer.json"):
        if not (folder / file).is_file():
            raise ValueError(f"{folder} has a config.json but no {file}. Save the model with safe serialization.")
    size = BertSize.from_config(read_json(folder / "config.json"), str(folder / "config.json"))
    student = EncoderStudent(
        EncoderSize(size, max_window_pieces=min(254, size.max_position_embeddings - 2)),
        Pieces((folder / "tokenizer.json").read_text(encoding="utf8")),
        precision,
    )
    try:
        student.bert.load_state_dict(from_huggingface(load_file(folder / "model.safetensors"), size))
    except (SafetensorError, RuntimeError) as err:
        raise ValueError(f"{folder / 'model.safetensors'} is cut or does not fit its config.json. {err}") from err
    return student


def write_student(student: EncoderStudent, folder: Path, meta: Mapping[str, object]) -> int:
    """Write a student in half precision, with its checksum in meta.json.

    meta: what else meta.json is to say.
    RETURNS: the size of the weights file, in bytes.
    """
    half = EncoderStudent(student.size, student.pieces, "float32")
    half.load_state_dict({name: tensor.half().float() for name, tensor in student.state_dict().items()})
    content = student_to_bytes(half)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS).write_bytes(content)
    meta = {**meta, "format": FORMAT, "sha256": hashlib.sha256(content).hexdigest(), "n_bytes": len(content)}
    (folder / META).write_text(json.dumps(meta, indent=2, ensure_ascii=False) + "\n", encoding="utf8")
    return len(content)


def write_bert(student: EncoderStudent, folder: Path) -> None:
    """Write the encoder of a student as a Hugging Face folder, for whatever else starts from a BERT.

    The weights are in float32. No student has a pooler, but what reads a BERT expects one: it passes on the first
    state, as far as its hyperbolic tangent lets it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    size = student.size.bert
    weights = {name: tensor.detach().float().cpu() for name, tensor in student.bert.state_dict().items()}
    pooler = {"pooler.dense.weight": torch.eye(size.hidden_size), "pooler.dense.bias": torch.zeros(size.hidden_size)}
    content = save(to_huggingface(weights, size) | pooler, metadata={"format": "pt"})
    (folder / "model.safetensors").write_bytes(content)
    config = {"architectures": ["BertModel"], "model_type": "bert", "hidden_act": "gelu", "pad_token_id": 0}
    tokenizer = {"tokenizer_class": "BertTokenizerFast", "model_max_length": size.max_position_embeddings}
    pieces = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "sep", "pad", "cls", "mask")}
    for file, record in (("config.json", config | asdict(size)), ("tokenizer_config.json", tokenizer | pieces)):
        (folder / file).write_text(json.dumps(record, indent=2) + "\n", encoding="utf8")
    (folder / "tokenizer.json").write_text(student.pieces.for_texts(), encoding="utf8")
