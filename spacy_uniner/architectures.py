"""Students as thinc models, for `[components.universal_ner.model]`."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, cast

import torch
from thinc.api import ArgsKwargs, Model, PyTorchShim, Shim, get_torch_default_device
from torch import Tensor, nn

from .conversation import System
from .passages import Passage
from .students import Student, StudentOutput
from .students.answers import Asking
from .students.causal import Attention, CausalSettings, Dtype, Quantization
from .students.encoder import EncoderStudent
from .students.generator import GeneratorStudent
from .students.server import ServerSettings, ServerStudent
from .students.sizes import Precision
from .students.weights import read_student, student_from_bytes, student_to_bytes

StudentModel = Model[list[Passage], StudentOutput]


class LazyEncoder(nn.Module):
    """An encoder student that is read when it is first needed.

    A pipeline that is loaded from disk brings its own weights, so the folder that they were once read from is never
    asked for again.

    name: the name of a student, see `read_student`.
    precision: of its forward pass.
    """

    def __init__(self, name: str, precision: Precision) -> None:
        super().__init__()
        self.name = name
        self.precision = precision
        self.student: EncoderStudent | None = None

    def get(self) -> EncoderStudent:
        """Give the student; read it first if that was not done yet."""
        if self.student is None:
            self.student = read_student(self.name, self.precision).to(get_torch_default_device())
        return self.student

    def forward(self, passages: list[Passage], floor: float, dropout: float) -> StudentOutput | Tensor:
        """Give the losses of passages while training, else the mentions in them."""
        if not self.training:
            return self.get().predict(passages, floor)
        student = self.get()
        for module in student.modules():
            if isinstance(module, nn.Dropout):
                module.p = dropout
        return student.losses(passages)


def Encoder(name: str = "en_uniner_sm", precision: Precision = "auto") -> StudentModel:
    """Make the thinc model of an encoder student.

    Its input are passages with the types asked. When it predicts, its output holds the mentions that score above
    `attrs["floor"]`; when it trains, the losses, whose gradient the backward pass takes. Shape: (n_passages,).

    name: "en_uniner_sm" for the embedded student, or a folder with a student or a Hugging Face BERT.
    precision: of the encoder's forward pass; "auto" is bfloat16 where the processor multiplies in it, else float32.
    RAISES: ValueError, when it is first used, if there is no such student or its files are damaged.
    """
    shim = PyTorchShim(
        LazyEncoder(name, precision),
        serialize_model=_to_bytes,
        deserialize_model=partial(_restore, precision=precision),
    )
    return Model("encoder_student", forward, shims=[shim], attrs={"floor": 0.5, "dropout_rate": 0.1})


def forward(
    model: StudentModel, passages: list[Passage], is_train: bool
) -> tuple[StudentOutput, Callable[[Any], list[Passage]]]:
    """Ask the student; passages have no gradient, so the backward pass gives them back as they are."""
    guard_forked_process()
    arguments = ArgsKwargs(args=(passages, model.attrs["floor"], model.attrs["dropout_rate"]), kwargs={})
    output, backprop_torch = model.shims[0](arguments, is_train)
    if not is_train:
        return output, lambda _: passages

    def backprop(d_losses: Any) -> list[Passage]:
        gradient = torch.as_tensor(d_losses, dtype=torch.float32, device=output.device)
        backprop_torch(ArgsKwargs(args=((output,),), kwargs={"grad_tensors": (gradient,)}))
        return passages

    return StudentOutput(losses=output.detach().cpu().numpy()), backprop


def guard_forked_process() -> None:
    """Let torch use one thread in a worker of `nlp.pipe(n_process=…)`: with more it waits for ever after a fork."""
    if multiprocessing.parent_process() is not None and torch.get_num_threads() > 1:
        torch.set_num_threads(1)


# Language models: they answer, and are tuned elsewhere


class Storable(Student, Protocol):
    """A student that can be written into the pipeline."""

    def to_bytes(self) -> bytes:
        """Write the student."""

    def from_bytes(self, content: bytes) -> None:
        """Take what `to_bytes` wrote."""


class AskedStudent(Shim):
    """A student that is asked and never trained, and what of it is saved with a pipeline.

    student: the student.
    stored: the same student if its weights are to be saved; None if the config, where it comes from, is enough.
    """

    def __init__(self, student: Student, stored: Storable | None = None) -> None:
        super().__init__(student)
        self.student = student
        self.stored = stored

    def to_bytes(self) -> bytes:
        """Give the weights, or nothing."""
        return self.stored.to_bytes() if self.stored is not None else b""

    def from_bytes(self, data: bytes) -> AskedStudent:
        """Take the weights, if there are any; else the student is read from where the config says."""
        if data and self.stored is None:
            raise ValueError("weights are stored here, but the config says store_weights = false")
        if data and self.stored is not None:
            self.stored.from_bytes(data)
        return self

    def to_device(self, device_type: str, device_id: int) -> None:
        """Pass over: where the student runs is a setting of its own."""


def Generator(
    name: str,
    *,
    device: str = "auto",
    dtype: Dtype = "auto",
    attention: Attention = "auto",
    quantization: Quantization = "none",
    system: System = "text",
    dataset: str = "",
    max_new_tokens: int = 256,
    max_batch_tokens: int = 8192,
    store_weights: bool = False,
) -> StudentModel:
    """Make the thinc model of a generator student: a causal language model in the conversation of UniversalNER.

    Its input are passages with the types asked, its output the mentions that score above `attrs["floor"]`. The
    language model is read when it is first used.

    name, device, dtype, attention, quantization: see `CausalSettings`.
    system, dataset, max_new_tokens: see `Asking`.
    max_batch_tokens: how many tokens are held at once, padding included, which bounds the memory.
    store_weights: save the weights with the pipeline; else only the config, with the name.
    RAISES: ValueError if a setting is out of its range; and when it is first used, if there is no such model, or it
        cannot hold a conversation.
    """
    student = GeneratorStudent(
        CausalSettings(name, device, dtype, attention, quantization),
        Asking(system, dataset, max_new_tokens),
        max_batch_tokens,
    )
    shim = AskedStudent(student, stored=student if store_weights else None)
    return Model("generator_student", ask, shims=[shim], attrs={"floor": 0.5})


def Server(
    url: str,
    model: str,
    *,
    api_key_env: str = "",
    system: System = "text",
    dataset: str = "",
    max_new_tokens: int = 256,
    max_window_words: int = 200,
    max_concurrency: int = 8,
    max_tries: int = 4,
    timeout_s: float = 120.0,
    scores: bool = True,
) -> StudentModel:
    """Make the thinc model of a server student: the conversation of UniversalNER with an OpenAI-compatible server.

    Its input are passages with the types asked, its output the mentions that score above `attrs["floor"]`. The server
    is asked when the model is first used; what is saved with a pipeline is the config.

    url, model, api_key_env, max_window_words, max_concurrency, max_tries, timeout_s, scores: see `ServerSettings`.
    system, dataset, max_new_tokens: see `Asking`.
    RAISES: ValueError if a setting is out of its range.
    """
    settings = ServerSettings(url, model, api_key_env, max_concurrency, max_tries, timeout_s, max_window_words, scores)
    student = ServerStudent(settings, Asking(system, dataset, max_new_tokens))
    return Model("server_student", ask, shims=[AskedStudent(student)], attrs={"floor": 0.5})


def ask(
    model: StudentModel, passages: list[Passage], is_train: bool
) -> tuple[StudentOutput, Callable[[Any], list[Passage]]]:
    """Ask a student for mentions; if it is to learn, it says that it is tuned elsewhere."""
    guard_forked_process()
    student = cast(AskedStudent, model.shims[0]).student
    if is_train:
        student.losses(passages)
    return student.predict(passages, model.attrs["floor"]), lambda _: passages


def _to_bytes(encoder: LazyEncoder) -> bytes:
    return student_to_bytes(encoder.get())


def _restore(encoder: LazyEncoder, content: bytes, device: torch.device, *, precision: Precision) -> LazyEncoder:
    encoder.student = student_from_bytes(content, precision, origin="The saved pipeline").to(device)
    return encoder
