"""A toy language whose types are told by cue words, and a tiny LLaMA with its tokenizer: what tuning is tested on."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer
from tokenizers.decoders import Fuse
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from tokenizers.processors import TemplateProcessing
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from spacy_uniner.conversation import STOP, make_turns, parse_reply, prompt_of, write_turns
from spacy_uniner.passages import Mention, Passage

FIRST = ("Ba", "Do", "Fe", "Ki", "Lu", "Me", "No", "Ri", "Su", "Wo")
ENDS = {"city": "tan", "person": "vis", "river": "mor"}
NAMES = {type_: tuple(first + end for first in FIRST) for type_, end in ENDS.items()}
WIDER = {"place": ("city", "river")}  # a new type to adapt to
FILLERS = ("then", "we", "they", "saw", "again", "and", "near", "slowly")
SPECIAL = ("<pad>", "<s>", STOP, "<unk>")


def make_passages(n_passages: int, seed: int, types: dict[str, tuple[str, ...]] | None = None) -> list[Passage]:
    """Make sentences of one to three names among other words; how a name ends tells its type.

    types: what to ask, with the types of names that each stands for; None for those of the names.
    """
    rng = random.Random(seed)
    types = types or {type_: (type_,) for type_ in NAMES}
    every = [(kind, name) for kind, names in NAMES.items() for name in names]
    passages = []
    for n in range(n_passages):
        words: list[str] = []
        mentions = []
        for kind, name in rng.sample(every, rng.randint(1, 3)):
            words += [*rng.sample(FILLERS, rng.randint(0, 2)), name]
            mentions += [Mention(len(words) - 1, len(words), type_) for type_, kinds in types.items() if kind in kinds]
        passages.append(Passage((*words, "."), tuple(types), tuple(mentions), source=f"{seed}.{n}"))
    return passages


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Make a tokenizer of whole words and single signs of the toy language and its conversation."""
    cut = Split(Regex(r" ?\w+|[^\w]"), "isolated")
    names = [name for some in NAMES.values() for name in some]
    passage = Passage((*names, *FILLERS), (*NAMES, *WIDER))
    text = write_turns(make_turns(passage)) + " paragraph" + ' ["' + '", "'.join(("", *names, *FILLERS)) + "]"
    pieces = dict.fromkeys(piece for piece, _ in cut.pre_tokenize_str(text.replace(STOP, "")))
    vocabulary = {piece: n for n, piece in enumerate([*SPECIAL, *pieces])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = cut
    tokenizer.decoder = Fuse()
    tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", SPECIAL.index("<s>"))])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token=STOP, pad_token="<pad>", unk_token="<unk>"
    )


def write_model(folder: Path, seed: int = 0) -> Path:
    """Write an untrained LLaMA of two layers of width 64 and its tokenizer."""
    tokenizer = make_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=512,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
        initializer_range=0.125,  # 1 / sqrt(64): so narrow a model learns nothing from LLaMA's 0.02 in this time
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def score(model: Any, tokenizer: Any, passages: list[Passage]) -> float:
    """Ask a model for each type of each passage by plain greedy generation.

    RETURNS: F1 over pairs of type and surface form.
    """
    prompts = [prompt_of(passage, type_) for passage in passages for type_ in passage.types]
    gold = [
        {passage.words[m.start] for m in passage.mentions if m.type == type_}
        for passage in passages
        for type_ in passage.types
    ]
    batch = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left", return_token_type_ids=False)
    model.eval()
    with torch.no_grad():
        written = model.generate(**batch, max_new_tokens=24, do_sample=False)
    replies = tokenizer.batch_decode(written[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    found = [set(parse_reply(reply).surfaces) for reply in replies]
    n_correct = sum(len(one & other) for one, other in zip(found, gold))
    return 2 * n_correct / max(1, sum(map(len, found)) + sum(map(len, gold)))
