"""A BERT encoder and its word pieces, small enough to read and quick to import.

The forward pass is that of transformers' BertModel (tests hold it against that), without importing it: that import
alone takes longer than the whole component may (docs/decisions.md).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from torch import Tensor, nn

MAX_REMEMBERED_WORDS = 100_000
MAX_REMEMBERED_CHARACTERS = 100
PIECES_IN_STEPS = 32


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


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the pieces of texts, laid end to end, stand in a rectangle of one row a text, and back.

    Only attention sees the rectangle; all else runs over the pieces alone, so that padding costs little. Their number
    is rounded up to a multiple of `PIECES_IN_STEPS`, since oneDNN prepares, and keeps, a program for every size.

    n_texts, longest: the sides of the rectangle, in texts and pieces.
    positions: the place of each piece in its text. Shape: (n_rounded,), int64.
    to_rectangle: the piece that stands at each place; the text's first where there is none. Shape:
        (n_texts * longest,), int64.
    from_rectangle: the place of each piece. Shape: (n_rounded,), int64.
    is_piece: False for places with no piece; None if there are none such. Shape: (n_texts, 1, 1, longest), bool.
    """

    n_texts: int
    longest: int
    positions: Tensor
    to_rectangle: Tensor
    from_rectangle: Tensor
    is_piece: Tensor | None

    @classmethod
    def of(cls, n_pieces: Tensor) -> Layout:
        """Lay out texts of so many pieces. Shape: (n_texts,), int64."""
        n_texts, longest = len(n_pieces), int(n_pieces.max())
        n_extra = -int(n_pieces.sum()) % PIECES_IN_STEPS
        places = torch.arange(longest, device=n_pieces.device)  # (longest,)
        is_piece = places < n_pieces[:, None]  # (n_texts, longest)
        firsts = n_pieces.cumsum(0) - n_pieces  # (n_texts,)
        return cls(
            n_texts,
            longest,
            positions=F.pad(places.expand(n_texts, -1)[is_piece], (0, n_extra)),
            to_rectangle=(firsts[:, None] + places * is_piece).flatten(),
            from_rectangle=F.pad(is_piece.flatten().nonzero().squeeze(1), (0, n_extra)),
            is_piece=None if bool(is_piece.all()) else is_piece[:, None, None],
        )


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

    def forward(self, states: Tensor, layout: Layout) -> Tensor:
        """Update the states of all pieces.

        states: shape (n_rounded, width), float32.
        layout: where they stand in their texts.
        RETURNS: Shape (n_rounded, width), float32.
        """
        attended = self.attend(linear(states, self.query_key_value), layout)
        states = self.attention_norm(states + self.dropout(linear(attended, self.attention_out)))
        wide = F.gelu(linear(states, self.widen))  # (n_rounded, intermediate)
        return self.norm(states + self.dropout(linear(wide, self.narrow)))  # type: ignore[no-any-return]

    def attend(self, packed: Tensor, layout: Layout) -> Tensor:
        """Let each piece gather the values of its text's pieces.

        packed: queries, keys and values. Shape: (n_rounded, 3 * width).
        RETURNS: Shape (n_rounded, width).
        """
        width = packed.shape[1] // 3
        rectangle = packed.index_select(0, layout.to_rectangle).view(
            layout.n_texts, layout.longest, 3, self.n_heads, width // self.n_heads
        )
        query, key, value = rectangle.permute(2, 0, 3, 1, 4)  # each (n_texts, n_heads, longest, width / n_heads)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=layout.is_piece)
        return attended.transpose(1, 2).reshape(-1, width).index_select(0, layout.from_rectangle)


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

        ids: the piece ids of all texts, one text after the other. Shape: (n_all,), int64.
        n_pieces: how many of them each text has, at least one. Shape: (n_texts,), int64.
        RETURNS: one state a piece. Shape: (n_all, width), float32.
        """
        layout = Layout.of(n_pieces)
        ids = F.pad(ids, (0, len(layout.positions) - len(ids)))
        states: Tensor = self.words(ids) + self.positions(layout.positions) + self.segments.weight[0]
        states = self.dropout(self.norm(states))  # (n_rounded, width)
        for layer in self.layers:
            states = layer(states, layout)
        return states[: int(n_pieces.sum())]


def linear(states: Tensor, layer: nn.Linear) -> Tensor:
    """Apply a linear layer in the precision of its weights; what comes out keeps that precision."""
    return F.linear(states.to(layer.weight.dtype), layer.weight, layer.bias)


def huggingface_names(size: BertSize) -> dict[str, tuple[str, ...]]:
    """Give, for each weight of `Bert`, those of a Hugging Face BERT that it is made of, stacked."""
    names: dict[str, tuple[str, ...]] = {
        "words.weight": ("embeddings.word_embeddings.weight",),
        "positions.weight": ("embeddings.position_embeddings.weight",),
        "segments.weight": ("embeddings.token_type_embeddings.weight",),
        "norm.weight": ("embeddings.LayerNorm.weight",),
        "norm.bias": ("embeddings.LayerNorm.bias",),
    }
    for n_layer in range(size.num_hidden_layers):
        old, new = f"encoder.layer.{n_layer}", f"layers.{n_layer}"
        for kind in ("weight", "bias"):
            names[f"{new}.query_key_value.{kind}"] = tuple(
                f"{old}.attention.self.{part}.{kind}" for part in ("query", "key", "value")
            )
            names[f"{new}.attention_out.{kind}"] = (f"{old}.attention.output.dense.{kind}",)
            names[f"{new}.attention_norm.{kind}"] = (f"{old}.attention.output.LayerNorm.{kind}",)
            names[f"{new}.widen.{kind}"] = (f"{old}.intermediate.dense.{kind}",)
            names[f"{new}.narrow.{kind}"] = (f"{old}.output.dense.{kind}",)
            names[f"{new}.norm.{kind}"] = (f"{old}.output.LayerNorm.{kind}",)
    return names


def from_huggingface(tensors: Mapping[str, Tensor], size: BertSize) -> dict[str, Tensor]:
    """Rename the weights of a Hugging Face BERT to those of `Bert`.

    tensors: the content of its `model.safetensors`; names may begin with "bert.". The pooler is left out.
    RETURNS: a state dict for `Bert`.
    RAISES: ValueError if a weight is missing.
    """
    weights = {name.removeprefix("bert."): tensor for name, tensor in tensors.items()}
    try:
        return {
            ours: torch.cat([weights[name] for name in theirs]).float()
            for ours, theirs in huggingface_names(size).items()
        }
    except KeyError as err:
        raise ValueError(f"The encoder's weights lack {err}. Is the folder a complete Hugging Face BERT?") from err


def to_huggingface(state: Mapping[str, Tensor], size: BertSize) -> dict[str, Tensor]:
    """Rename the weights of `Bert` to those of a Hugging Face BERT without pooler."""
    return {
        name: part.contiguous()
        for ours, theirs in huggingface_names(size).items()
        for name, part in zip(theirs, state[ours].chunk(len(theirs)), strict=True)
    }


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

    def for_texts(self) -> str:
        """Give the content of a `tokenizer.json` that puts the special pieces around a text, or two texts, itself."""
        tokenizer = Tokenizer.from_str(self.json_text)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        tokenizer.post_processor = TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[("[CLS]", self.first), ("[SEP]", self.last)],
        )
        return str(tokenizer.to_str(pretty=True))

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
                self._known = known = {}
            known.update({word: ids for word, ids in new.items() if len(word) <= MAX_REMEMBERED_CHARACTERS})
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
