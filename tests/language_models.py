"""Tiny language models of several kinds, with tokenizers that are trained on the spot; and one that recites."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)
from transformers.modeling_outputs import CausalLMOutputWithPast

from spacy_uniner.conversation import prompt_of
from spacy_uniner.passages import Passage

TEXTS = [
    prompt_of(Passage(tuple(text.split())), type_).replace("</s>", "") + f' ["{text.split()[0]}", "x"]'
    for text in ("Alan Bean flew to the Moon in Apollo 12 .", "Sally Ride lives in Paris , near Rome .")
    for type_ in ("person", "space mission", "city")
] * 4
SIZE: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "initializer_range": 0.4,  # or all answers of a random model are alike
}
SHARED_HEADS = {"num_key_value_heads": 2}


def make_sentencepiece(n_pieces: int = 420, legacy: bool = True) -> PreTrainedTokenizerFast:
    """Train a tokenizer like LLaMA's: BPE over `▁`, unknown signs as bytes, `<s>` in front.

    legacy: write `▁` behind each special token, as LLaMA's did at first; else only in front of the text.
    """
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    if legacy:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = ["<unk>", "<s>", "</s>", *(f"<0x{n:02X}>" for n in range(256))]
    # Without white space to split at, merges may cross words; this is what makes the border of a query delicate.
    tokenizer.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=n_pieces + 256, special_tokens=special, max_token_length=6)
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=without_bytes_as_special(tokenizer), bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def without_bytes_as_special(tokenizer: Tokenizer) -> Tokenizer:
    """Make the byte pieces ordinary ones again, as they are in LLaMA's tokenizer."""
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = [token for token in state["added_tokens"] if not token["content"].startswith("<0x")]
    return Tokenizer.from_str(json.dumps(state))


def make_byte_level(end: str = "<|endoftext|>", n_pieces: int = 420) -> PreTrainedTokenizerFast:
    """Train a tokenizer like those of GPT-NeoX and Qwen: BPE over bytes; `</s>` is no token of it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=n_pieces, special_tokens=[end], initial_alphabet=alphabet)
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=end)


def make_config(kind: str, tokenizer: PreTrainedTokenizerFast, max_tokens: int = 512) -> PretrainedConfig:
    size = {**SIZE, "vocab_size": len(tokenizer), "max_position_embeddings": max_tokens}
    size |= {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.bos_token_id}
    if kind == "neox":
        return GPTNeoXConfig(**size, rotary_pct=0.5)
    if kind == "mistral":
        return MistralConfig(**size, **SHARED_HEADS, sliding_window=256)
    return {"llama": LlamaConfig, "qwen": Qwen2Config}[kind](**size, **SHARED_HEADS)


def make_tokenizer(kind: str) -> PreTrainedTokenizerFast:
    return make_sentencepiece() if kind in ("llama", "mistral") else make_byte_level()


def save_model(kind: str, folder: Path, max_tokens: int = 512, seed: int = 0) -> Path:
    """Save a random model of a kind, "llama", "mistral", "qwen" or "neox", with its tokenizer."""
    tokenizer = make_tokenizer(kind)
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(make_config(kind, tokenizer, max_tokens))
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
    return folder


class Reciter(torch.nn.Module):
    """A model that knows what to answer: after a prompt that ends in a key, the answer, token by token.

    answers: from the end of a prompt to the answer; its tokens have the probability `p`, the rest is spread evenly.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, answers: dict[str, str], p: float = 0.9) -> None:
        super().__init__()
        self.p = p
        self.n_vocabulary = len(tokenizer)
        self.embeddings = torch.nn.Embedding(self.n_vocabulary, 1)
        self.config = SimpleNamespace(max_position_embeddings=512)
        self.generation_config = SimpleNamespace(eos_token_id=tokenizer.eos_token_id)
        self.device, self.dtype = torch.device("cpu"), torch.float32
        self.end = tokenizer.eos_token_id
        self.tokenizer = tokenizer
        self.answers = {
            query: [*tokenizer(answer, add_special_tokens=False)["input_ids"], self.end]
            for query, answer in answers.items()
        }

    def get_input_embeddings(self) -> torch.nn.Embedding:
        return self.embeddings

    def forward(self, input_ids: Any, attention_mask: Any, position_ids: Any, past_key_values: Any, use_cache: bool):
        keys = input_ids[:, None, :, None].float()  # the cache remembers the ids themselves
        seen = past_key_values.update(keys, keys, 0)[0][:, 0, :, 0].long()
        logits = torch.zeros(len(input_ids), input_ids.shape[1], self.n_vocabulary)
        odds = torch.tensor(self.p / (1 - self.p) * (self.n_vocabulary - 1)).log()
        if attention_mask.dim() == 4:  # else a text is read, to which nobody wants an answer
            for part, token in torch.cartesian_prod(*map(torch.arange, input_ids.shape)).tolist():
                visible = seen[part][attention_mask[part, 0, token] == 0]
                logits[part, token, self._next(visible.tolist())] = odds
        return CausalLMOutputWithPast(logits=logits, past_key_values=past_key_values)

    def _next(self, ids: list[int]) -> int:
        for query, answer in self.answers.items():
            for n_said in range(len(answer)):
                prompt = ids[: len(ids) - n_said]
                if ids[len(prompt) :] == answer[:n_said] and self.tokenizer.decode(prompt).endswith(query):
                    return answer[n_said]
        return self.end
