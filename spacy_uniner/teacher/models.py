"""Models for spaCy-llm: any server that speaks OpenAI's chat completions, and replies that were recorded."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Iterable  # noqa: UP035 - spaCy-llm does not know the one of collections.abc

from tqdm import tqdm

from .cache import Question, Reply, ReplyCache, read_replies
from .http import Outcome, Server
from .usage import Usage

logger = logging.getLogger(__name__)

PromptExecutor = Callable[[Iterable[Iterable[str]]], Iterable[Iterable[str]]]

# What the model sends by itself, or what it could not read the answer to.
RESERVED = {"model", "messages", "system", "stream", "n"}


def OpenAICompatible(
    *,
    name: str,
    base_url: str = "https://api.openai.com/v1",
    api_key_env: str | None = "OPENAI_API_KEY",
    config: dict[str, Any] | None = None,
    system: str | None = None,
    cache: str | Path | None = None,
    concurrency: int = 8,
    max_tries: int = 6,
    timeout_s: float = 120.0,
    max_wait_s: float = 60.0,
    api_version: str | None = None,
    key_header: str = "Authorization",
    prices: dict[str, float] | None = None,
    report: str | Path | None = None,
    progress: bool = False,
) -> PromptExecutor:
    """Make a model that asks a server by OpenAI's chat completions.

    name: the model, as the server knows it.
    config: what else is sent with each request, such as {"temperature": 0.0, "seed": 1}.
    system: the system prompt; none if not given.
    cache: a file that keeps the replies, see `ReplyCache`; it is the recording too. None keeps nothing.
    prices: see `Usage`.
    report: a JSON file that holds the counts after each batch.
    progress: whether a bar shows the counts on the standard error.
    The others: see `Server`.
    RAISES: ValueError if a setting cannot be.
    """
    config = config or {}
    if reserved := RESERVED & set(config):
        raise ValueError(
            f"config holds {', '.join(sorted(reserved))}. The model and the messages are sent anyway, the system "
            "prompt is the setting 'system', and there is one whole reply to a prompt: for more, ask with other seeds."
        )
    try:
        parameters = json.loads(json.dumps(config, allow_nan=False))
    except (TypeError, ValueError) as err:
        raise ValueError(f"config cannot be sent as JSON: {err}. Give numbers, texts, lists and mappings.") from err
    if system is not None:
        parameters["system"] = system
    server = Server(base_url, api_key_env, key_header, api_version, concurrency, max_tries, timeout_s, max_wait_s)
    return ServerModel(
        name,
        parameters,
        server,
        ReplyCache(cache) if cache is not None else None,
        Usage(prices),
        Path(report) if report is not None else None,
        progress,
    )


@dataclass
class ServerModel:
    """A model as spaCy-llm calls it, once for each batch of Docs.

    A prompt without a reply gets an empty one, is counted in `usage` with the reason, and is asked again next time.
    """

    name: str
    parameters: dict[str, Any]
    server: Server
    cache: ReplyCache | None
    usage: Usage
    report: Path | None
    progress: bool
    # So long that spaCy-llm never cuts a Doc: what it puts together again has another text than the Doc.
    context_length: int = field(default=sys.maxsize, init=False)
    _bar: tqdm | None = field(default=None, init=False, repr=False)

    def __call__(self, prompts: Iterable[Iterable[str]]) -> Iterable[Iterable[str]]:
        """Ask for replies; of prompts that are the same, one is asked.

        prompts: for each Doc its prompts.
        RETURNS: the replies in the same order and nesting.
        RAISES: ValueError if there is no key; RuntimeError if no prompt got a reply and others would not either.
        """
        nested = [list(of_doc) for of_doc in prompts]
        questions = [
            Question(self.name, prompt, self.parameters)
            for prompt in dict.fromkeys(prompt for of_doc in nested for prompt in of_doc)
        ]
        try:
            with self.usage.timed():
                replies = self._answer(questions)
        finally:
            if self.report is not None:
                self.usage.write(self.report)
        return [[replies.get(prompt, "") for prompt in of_doc] for of_doc in nested]

    def _answer(self, questions: Sequence[Question]) -> dict[str, str]:
        """Give the replies by prompt, from the cache or from the server; those that failed are not among them."""
        replies: dict[str, str] = {}
        failed: list[Outcome] = []
        bar = self._lengthen_bar(len(questions))

        def show() -> None:
            bar.set_postfix(self.usage.postfix(), refresh=False)
            bar.update()

        def keep(question: Question, outcome: Outcome) -> None:
            if outcome.reply is None:
                failed.append(outcome)
                self.usage.count_failure(outcome.reason, outcome.n_tries)
            else:
                reply = self.cache.add(question, outcome.reply) if self.cache is not None else outcome.reply
                replies[question.prompt] = reply.text
                self.usage.count_reply(outcome.reply, outcome.n_tries)
            show()

        unknown = []
        for question, known in self._look_up(questions):
            if known is None:
                unknown.append(question)
            else:
                replies[question.prompt] = known.text
                self.usage.count_cached()
                show()
        if unknown:
            self.server.ask_all(unknown, keep)
        bar.refresh()
        self._judge(failed, len(questions))
        return replies

    def _look_up(self, questions: Sequence[Question]) -> list[tuple[Question, Reply | None]]:
        if self.cache is None:
            return [(question, None) for question in questions]
        self.cache.refresh()
        return [(question, self.cache.get(question)) for question in questions]

    def _lengthen_bar(self, n_prompts: int) -> tqdm:
        """Make room for a batch in the bar, which is one for all batches."""
        if self._bar is None:
            self._bar = tqdm(total=0, desc=self.name, unit=" prompts", disable=not self.progress)
        self._bar.total += n_prompts
        return self._bar

    def _judge(self, failed: Sequence[Outcome], n_questions: int) -> None:
        """Report prompts without a reply, and stop if there is no sense in going on."""
        if not failed:
            return
        reason = failed[0].reason
        is_hopeless = all(outcome.is_setup for outcome in failed) or (
            n_questions > 1 and all(outcome.is_permanent for outcome in failed)
        )
        if len(failed) == n_questions and is_hopeless:
            raise RuntimeError(
                f"No prompt of {n_questions} got a reply from {self.server.base_url} (model '{self.name}'): {reason}. "
                f"Check base_url, name, config and the key in {self.server.api_key_env}, and that the server runs."
            )
        logger.warning(
            "%d of %d prompts got no reply from '%s' and are left without one; the first because: %s",
            len(failed),
            n_questions,
            self.name,
            reason,
        )


def Recorded(*, path: str | Path, name: str | None = None, parameters: dict[str, Any] | None = None) -> PromptExecutor:
    """Make a model that replays the replies of a file that `OpenAICompatible` wrote as its cache.

    A reply is found by its prompt alone; the first in the file counts.

    path: the file; read when the first prompt is asked.
    name: if given, only replies of this model are replayed.
    parameters: if given, only replies to just these parameters are: all that was in `config`, and the system prompt as
        "system".
    """
    return RecordedModel(Path(path), name, parameters)


@dataclass
class RecordedModel:
    """A recording as spaCy-llm calls it; see `Recorded`."""

    path: Path
    name: str | None
    parameters: dict[str, Any] | None
    context_length: int = field(default=sys.maxsize, init=False)
    _replies: dict[bytes, str] = field(default_factory=dict, init=False, repr=False)  # by the prompt's SHA-256

    def __call__(self, prompts: Iterable[Iterable[str]]) -> Iterable[Iterable[str]]:
        """Give the recorded replies.

        prompts: for each Doc its prompts.
        RETURNS: the replies in the same order and nesting.
        RAISES: ValueError if the file is not there or a prompt has no reply in it.
        """
        if not self._replies:
            self._replies = self._read()
        return [[self._find(prompt) for prompt in of_doc] for of_doc in prompts]

    def _read(self) -> dict[bytes, str]:
        if not self.path.is_file():
            raise ValueError(f"There is no recording {self.path}. {_HOW_TO_RECORD.format(path=self.path)}")
        replies: dict[bytes, str] = {}
        for question, reply in read_replies(self.path):
            if self.name in (None, question.model) and self.parameters in (None, question.parameters):
                replies.setdefault(_digest(question.prompt), reply.text)
        return replies

    def _find(self, prompt: str) -> str:
        reply = self._replies.get(_digest(prompt))
        if reply is None:
            wanted = {"name": self.name, "parameters": self.parameters}
            narrowed = "".join(f", {key} {value!r}" for key, value in wanted.items() if value is not None)
            first = next((line for line in prompt.splitlines() if line.strip()), "")
            raise ValueError(
                f"{self.path} has no reply ({len(self._replies)} prompts{narrowed}) to the prompt that begins "
                f"'{first[:100]}'. {_HOW_TO_RECORD.format(path=self.path)}"
            )
        return reply


_HOW_TO_RECORD = 'To record, run once with the model spacy_uniner.OpenAICompatible.v1 and cache = "{path}".'


def _digest(prompt: str) -> bytes:
    return hashlib.sha256(prompt.encode("utf8", errors="surrogatepass")).digest()
