"""A BERT encoder and its word pieces, small enough to read and quick to import.

The forward pass is that of transformers' BertModel (tests hold it against that), without importing it: that import
alone takes longer than the whole component may (docs/decisions.md).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor, nn

MAX_REMEMBERED_WORDS = 100_000
MAX_REMEMBERED_CHARACTERS = 100


@dataclass(frozen=True, slots=True)
class BertSize:
    """The sizes of a BERT encoder, named as in the `config.json` of a Hugging Face model folder."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    hidden_dropout_prob: float = 0.1

    @classmethod
    def from_config(cls, config: Mapping[str, Any], origin: str) -> BertSize:
        """Read the sizes from a Hugging Face configuration.

        config: the content of `config.json`.
        origin: where it was read, for the errors.
        RAISES: ValueError if the model is no BERT with GELU and absolute positions, or a size is missing.
        """
        expected = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute"}
        for key, value in expected.items():
            if config.get(key, value if key != "model_type" else None) != value:
                raise ValueError(
                    f"{origin}: {key} is '{config.get(key)}', but the encoder student needs '{value}'. "
                    "Start from a BERT-type sentence encoder, such as MiniLM, BGE or E5."
                )
        try:
            return cls(**{name: config[name] for name in cls.__slots__ if name in config})
        except TypeError as err:
            raise ValueError(f"{origin} lacks a size of the encoder: {err}.") from err


class BertLayer(nn.Module):
    """One transformer layer: self-attention and a feed-forward part, each followed by its LayerNorm."""

    def __init__(self, size: BertSize) -> None:
        super().__init__()
        self.n_heads = size.num_attention_heads
        self.query_key_value = nn.Linear(size.hidden_size, 3 * size.hidden_size)
        self.attention_out = nn.Linear(size.hidden_size, size.hidden_size)
        self.attention_norm = nn.LayerNorm(size.hidden_size, eps=size.layer_norm_eps)
        self.widen = nn.Linear(size.hidden_size, size.intermediate_size)
        self.narrow = nn.Linear(size.intermediate_size, size.hidden_size)
        self.norm = nn.LayerNorm(size.hidden_size, eps=size.layer_norm_eps)
        self.dropout = nn.Dropout(size.hidden_dropout_prob)

    def forward(self, states: Tensor, bias: Tensor | None) -> Tensor:
        """Update the states of all pieces.

        states: shape (n_texts, n_pieces, width), float32.
        bias: added to the attention logits: 0 for pieces, minus infinity for padding; None without padding.
            Shape: (n_texts, 1, 1, n_pieces).
        RETURNS: Shape (n_texts, n_pieces, width), float32.
        """
        n_texts, n_pieces, width = states.shape
        packed = linear(states, self.query_key_value).view(n_texts, n_pieces, 3, self.n_heads, width // self.n_heads)
        query, key, value = packed.permute(2, 0, 3, 1, 4)  # each (n_texts, n_heads, n_pieces, width / n_heads)
        weights = query @ key.transpose(2, 3) / math.sqrt(query.shape[3])  # (n_texts, n_heads, n_pieces, n_pieces)
        weights = (weights if bias is None else weights + bias).softmax(3)
        attended = weights.to(value.dtype) @ value  # (n_texts, n_heads, n_pieces, width / n_heads)
        attended = attended.transpose(1, 2).reshape(n_texts, n_pieces, width)  # (n_texts, n_pieces, width)
        states = self.attention_norm(states + self.dropout(linear(attended, self.attention_out)))
        wide = F.gelu(linear(states, self.widen))  # (n_texts, n_pieces, intermediate)
        return self.norm(states + self.dropout(linear(wide, self.narrow)))  # type: ignore[no-any-return]


class Bert(nn.Module):
    """BERT's encoder: piece ids in, one state a piece out."""

    def __init__(self, size: BertSize) -> None:
        super().__init__()
        self.size = size
        self.words = nn.Embedding(size.vocab_size, size.hidden_size)
        self.positions = nn.Embedding(size.max_position_embeddings, size.hidden_size)
        self.segments = nn.Embedding(size.type_vocab_size, size.hidden_size)
        self.norm = nn.LayerNorm(size.hidden_size, eps=size.layer_norm_eps)
        self.dropout = nn.Dropout(size.hidden_dropout_prob)
        self.layers = nn.ModuleList(BertLayer(size) for _ in range(size.num_hidden_layers))

    def forward(self, ids: Tensor, n_pieces: Tensor) -> Tensor:
        """Encode texts.

        ids: piece ids, padded on the right. Shape: (n_texts, longest), int64.
        n_pieces: how many of them are pieces, in each text. Shape: (n_texts,), int64.
        RETURNS: one state a piece; those of the padding mean nothing. Shape: (n_texts, longest, width), float32.
        """
        places = torch.arange(ids.shape[1], device=ids.device)  # (longest,)
        states: Tensor = self.words(ids) + self.positions(places) + self.segments.weight[0]  # (n_texts, longest, width)
        states = self.dropout(self.norm(states))
        bias = None
        if int(n_pieces.min()) < ids.shape[1]:
            is_padding = places >= n_pieces[:, None]  # (n_texts, longest)
            bias = torch.zeros(is_padding.shape, device=ids.device).masked_fill(is_padding, float("-inf"))
            bias = bias[:, None, None]  # (n_texts, 1, 1, longest)
        for layer in self.layers:
            states = layer(states, bias)
        return states


def linear(states: Tensor, layer: nn.Linear) -> Tensor:
    """Apply a linear layer in the precision of its weights; what comes out keeps that precision."""
    return F.linear(states.to(layer.weight.dtype), layer.weight, layer.bias)


def from_huggingface(tensors: Mapping[str, Tensor], size: BertSize) -> dict[str, Tensor]:
    """Rename the weights of a Hugging Face BERT to those of `Bert`.

    tensors: the content of its `model.safetensors`; names may begin with "bert.". The pooler is left out.
    RETURNS: a state dict for `Bert`.
    RAISES: ValueError if a weight is missing.
    """
    weights = {name.removeprefix("bert."): tensor for name, tensor in tensors.items()}
    try:
        state = {
            "words.weight": weights["embeddings.word_embeddings.weight"],
            "positions.weight": weights["embeddings.position_embeddings.weight"],
            "segments.weight": weights["embeddings.token_type_embeddings.weight"],
            "norm.weight": weights["embeddings.LayerNorm.weight"],
            "norm.bias": weights["embeddings.LayerNorm.bias"],
        }
        for n_layer in range(size.num_hidden_layers):
            old, new = f"encoder.layer.{n_layer}", f"layers.{n_layer}"
            for kind in ("weight", "bias"):
                parts = [weights[f"{old}.attention.self.{part}.{kind}"] for part in ("query", "key", "value")]
                state[f"{new}.query_key_value.{kind}"] = torch.cat(parts)
                state[f"{new}.attention_out.{kind}"] = weights[f"{old}.attention.output.dense.{kind}"]
                state[f"{new}.attention_norm.{kind}"] = weights[f"{old}.attention.output.LayerNorm.{kind}"]
                state[f"{new}.widen.{kind}"] = weights[f"{old}.intermediate.dense.{kind}"]
                state[f"{new}.narrow.{kind}"] = weights[f"{old}.output.dense.{kind}"]
                state[f"{new}.norm.{kind}"] = weights[f"{old}.output.LayerNorm.{kind}"]
    except KeyError as err:
        raise ValueError(f"The encoder's weights lack {err}. Is the folder a complete Hugging Face BERT?") from err
    return {name: tensor.float() for name, tensor in state.items()}


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    RAISES: ValueError if the file holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf8"))
    except ValueError as err:
        raise ValueError(f"{path} is not JSON: {err}. Is the file cut?") from err
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a JSON {type(content).__name__}, expected an object.")
    return content


class Pieces:
    """Cuts words into pieces, one word at a time, and remembers the words it has met.

    WordPiece looks at nothing but the word itself, so a word's pieces are the same everywhere, and most words of a
    text are found in the memory. Its size is bounded.

    json_text: the content of a `tokenizer.json`.
    RAISES: ValueError if it is not the tokenizer of a BERT.
    """

    def __init__(self, json_text: str) -> None:
        self.json_text = json_text
        check_tokenizer(json_text)
        self._tokenizer = Tokenizer.from_str(json_text)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.first = self._special("[CLS]")
        self.last = self._special("[SEP]")
        self._known: dict[str, tuple[int, ...]] = {}

    def _special(self, name: str) -> int:
        piece = self._tokenizer.token_to_id(name)
        if piece is None:
            raise ValueError(f"The tokenizer has no {name}. The encoder student needs the tokenizer of a BERT.")
        return int(piece)

    def cut(self, words: Sequence[str]) -> list[tuple[int, ...]]:
        """Cut each word into its pieces.

        RETURNS: piece ids for each word; white space has none.
        """
        known = self._known
        pieces = [known.get(word) for word in words]
        unknown = sorted({word for word, ids in zip(words, pieces, strict=True) if ids is None})
        if unknown:
            # One by one: encode_batch starts threads, of which tokenizers warns in every process forked later.
            new = {word: tuple(self._tokenizer.encode(word, add_special_tokens=False).ids) for word in unknown}
            pieces = [new[word] if ids is None else ids for word, ids in zip(words, pieces, strict=True)]
            if len(known) + len(new) > MAX_REMEMBERED_WORDS:
                known = {}
            self._known = known | {word: ids for word, ids in new.items() if len(word) <= MAX_REMEMBERED_CHARACTERS}
        return [ids or () for ids in pieces]


def check_tokenizer(json_text: str) -> None:
    """Look whether a text is that of a tokenizer, since of others `Tokenizer.from_str` says so in a bare Exception.

    RAISES: ValueError if it is not JSON, or states no model.
    """
    try:
        json.loads(json_text)["model"]["vocab"]
    except (ValueError, KeyError, TypeError) as err:
        raise ValueError(
            f"The tokenizer is not the JSON of a tokenizer with a vocabulary ({type(err).__name__}: {err}). "
            "Is tokenizer.json cut? Copy it again."
        ) from err
