"""Causal language models of transformers: read from a folder or the hub, written as files, nothing executed."""

from __future__ import annotations

import importlib.util
import inspect
import io
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from .greedy import find_stops

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Attention = Literal["auto", "eager", "sdpa"]  # those that take the mask of `greedy`
Quantization = Literal["none", "8bit", "4bit"]

MAX_STORED_BYTES = 2**32 - 2**20  # msgpack, in which thinc writes models, holds no longer bytes


@dataclass(frozen=True, slots=True)
class CausalSettings:
    """How a causal language model is read.

    name: a folder, or a name on the hub.
    device: "auto" for the first GPU if there is one, else the CPU; or a device of torch, such as "cuda:1".
    dtype: "auto" is that of the files on a GPU, and float32 on a CPU.
    attention: "auto" leaves the choice to transformers.
    quantization: "8bit" and "4bit" need bitsandbytes and a GPU.
    RAISES: ValueError if a setting is none of these.
    """

    name: str
    device: str = "auto"
    dtype: Dtype = "auto"
    attention: Attention = "auto"
    quantization: Quantization = "none"

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise ValueError("A Generator needs the name of a causal language model: a folder, or a name on the hub.")
        for setting, value, values in (
            ("dtype", self.dtype, get_args(Dtype)),
            ("attention", self.attention, get_args(Attention)),
            ("quantization", self.quantization, get_args(Quantization)),
        ):
            if value not in values:
                raise ValueError(
                    f"Generator '{self.name}': {setting} is '{value}', expected one of {', '.join(values)}."
                )
        try:
            torch.device("cpu" if self.device == "auto" else self.device)
        except RuntimeError as err:
            raise ValueError(
                f"Generator '{self.name}': no device '{self.device}'. Use 'auto', 'cpu', 'cuda' or 'cuda:1'."
            ) from err

    def choose_device(self) -> torch.device:
        """Choose where the model runs."""
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return torch.device(self.device)


@dataclass(frozen=True, slots=True)
class Causal:
    """A causal language model that can hold a conversation.

    model, tokenizer: of transformers.
    max_tokens: the longest text that it can attend to, in tokens.
    special: its special tokens, as they are written.
    """

    model: Any
    tokenizer: Any
    max_tokens: int
    special: tuple[str, ...]


def read_causal(settings: CausalSettings, folder: str | None = None) -> Causal:
    """Read a model and its tokenizer.

    Only safetensors are read, and no code that lies beside them is run.

    folder: where the files are, if not where the name says.
    RAISES: ImportError if transformers or bitsandbytes is not installed. ValueError if there is no such model, its
        files are damaged or of another kind, or it cannot hold a conversation.
    """
    try:
        from safetensors import SafetensorError
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError as err:
        raise ImportError("A Generator needs transformers. Install it: pip install 'spacy-uniner[generator]'.") from err
    name = settings.name
    options = _make_options(settings)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder or name, trust_remote_code=False)
        model = AutoModelForCausalLM.from_pretrained(
            folder or name, use_safetensors=True, trust_remote_code=False, **options
        )
    except (OSError, ValueError, KeyError, SafetensorError) as err:
        raise ValueError(
            f"Generator '{name}' cannot be read: {err} Give a folder with a config.json, *.safetensors and the files "
            "of a fast tokenizer, or a name on the hub if this machine reaches it."
        ) from err
    if settings.quantization == "none":
        model = model.to(settings.choose_device())
    return check_causal(name, model.eval(), tokenizer)


def _make_options(settings: CausalSettings) -> dict[str, Any]:
    device = settings.choose_device()
    options: dict[str, Any] = {"torch_dtype": settings.dtype}
    if settings.dtype == "auto" and device.type == "cpu":
        options["torch_dtype"] = "float32"
    if settings.attention != "auto":
        options["attn_implementation"] = settings.attention
    if settings.quantization != "none":
        if device.type != "cuda":
            raise ValueError(
                f"Generator '{settings.name}': quantization '{settings.quantization}' needs a GPU, the device is "
                f"'{device}'. Leave it 'none', or use dtype 'bfloat16' to halve the memory."
            )
        if importlib.util.find_spec("bitsandbytes") is None:
            raise ImportError(
                f"Generator '{settings.name}': quantization '{settings.quantization}' needs bitsandbytes. "
                "Install it, or leave quantization 'none'."
            )
        from transformers.utils.quantization_config import BitsAndBytesConfig

        is_8bit = settings.quantization == "8bit"
        options["quantization_config"] = BitsAndBytesConfig(load_in_8bit=is_8bit, load_in_4bit=not is_8bit)
        options["device_map"] = {"": device}
    return options


def check_causal(name: str, model: Any, tokenizer: Any) -> Causal:
    """Check that a model can hold the conversation.

    RAISES: ValueError if it takes no positions, states no context length, or nothing would end its answers; if its
        tokenizer is none of the fast ones or knows more tokens than the model.
    """
    wrong = ""
    max_tokens: int = getattr(model.config, "max_position_embeddings", None) or 0
    if "position_ids" not in inspect.signature(model.forward).parameters:
        wrong = (
            f"a {type(model).__name__} takes no position_ids. Use a model of the LLaMA, Mistral, Qwen or GPT-NeoX kind"
        )
    elif not max_tokens:
        wrong = "its config.json states no max_position_embeddings. Write there how many tokens the model can attend to"
    elif not tokenizer.is_fast:
        wrong = "its tokenizer has no tokenizer.json. Save it again as a fast tokenizer of transformers"
    elif not find_stops(model, tokenizer):
        wrong = (
            "it has no end-of-sequence token, so nothing would end its answers. Set eos_token in tokenizer_config.json "
            "or eos_token_id in generation_config.json"
        )
    elif max(tokenizer.get_vocab().values()) >= model.get_input_embeddings().num_embeddings:
        wrong = (
            f"its tokenizer has ids up to {max(tokenizer.get_vocab().values())}, and its embeddings are "
            f"{model.get_input_embeddings().num_embeddings}. They belong to different models"
        )
    if wrong:
        raise ValueError(f"Generator '{name}' cannot be used: {wrong}.")
    window: int = getattr(model.config, "sliding_window", None) or max_tokens  # attention looks no further back
    special = tuple(sorted(token.content for token in tokenizer.added_tokens_decoder.values() if token.special))
    return Causal(model, tokenizer, min(max_tokens, window), special)


def causal_to_bytes(causal: Causal, name: str) -> bytes:
    """Write a model with its config and tokenizer as one uncompressed zip file.

    RAISES: ValueError if it is longer than a pipeline can hold, or an adapter without its model.
    """
    if getattr(causal.model, "_hf_peft_config_loaded", False):
        raise ValueError(
            f"Generator '{name}' is an adapter on another model, of which only the adapter would be stored. Merge it "
            "first (peft: merge_and_unload), or set store_weights = false."
        )
    n_bytes = sum(tensor.numel() * tensor.element_size() for tensor in causal.model.state_dict().values())
    if n_bytes > MAX_STORED_BYTES:
        raise ValueError(
            f"Generator '{name}': weights of {n_bytes / 2**30:.1f} GiB cannot be stored with the pipeline, whose limit "
            f"is {MAX_STORED_BYTES / 2**30:.1f} GiB. Set store_weights = false and keep the folder beside the pipeline."
        )
    content = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(content, "w") as archive:
        causal.model.save_pretrained(folder, safe_serialization=True)
        causal.tokenizer.save_pretrained(folder)
        for path in sorted(Path(folder).iterdir()):
            archive.writestr(zipfile.ZipInfo(path.name), path.read_bytes())  # dated 1980: same bytes each time
    return content.getvalue()


def causal_from_bytes(content: bytes, settings: CausalSettings) -> Causal:
    """Read what `causal_to_bytes` wrote.

    RAISES: ValueError if it is cut.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                archive.extractall(folder)
        except (zipfile.BadZipFile, EOFError) as err:
            raise ValueError(f"The stored weights of '{settings.name}' are cut or no zip file ({err}).") from err
        return read_causal(settings, folder)
