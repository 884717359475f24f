"""The server student: the conversation of UniversalNER with an OpenAI-compatible server of completions.

The prompts of a passage share their beginning. The first is asked alone, then the others, and only a few passages at
once: so a server that remembers prefixes reads each passage once.

SOURCE: the completions of the OpenAI API, as vLLM and llama.cpp serve them; the order of asking is our choice.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

from ..conversation import STOP
from ..passages import Passage
from . import StudentOutput
from .answers import NOT_TRAINED, QUOTE, Answer, Asking, Heard, Part, cut_parts, find_mentions

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger(__name__)

N_TOP = 5  # likeliest tokens asked for at each place, to tell how likely a quote is
BYTES_PER_WORD = 8  # a longer word counts as several
MAX_REPLY_BYTES = 8_000_000
MAX_WAIT_S = 20.0


class ServerError(ConnectionError):
    """A server cannot be reached, or keeps failing."""


class _Passing(ServerError):
    """What may be over at the next try; `wait_s` is how long the server asks to wait."""

    def __init__(self, message: str, wait_s: float = 0.0) -> None:
        super().__init__(message)
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Which server is asked, and how.

    url: the base of its interface, up to `/v1`.
    model: the name of the model there.
    api_key_env: the environment variable that holds the key; "" for a server that wants none.
    max_concurrency: requests at once.
    max_tries: how often a request is sent before it has failed.
    timeout_s: the longest that one try may take, in seconds.
    max_window_words: the longest text that is read at once, in words.
    scores: ask for log-probabilities; else every mention scores 1.0.
    RAISES: ValueError if a setting is out of its range, or the URL is none or holds a password.
    """

    url: str
    model: str
    api_key_env: str = ""
    max_concurrency: int = 8
    max_tries: int = 4
    timeout_s: float = 120.0
    max_window_words: int = 200
    scores: bool = True

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:  # of the port
            raise ValueError(f"A Server needs a URL such as 'http://localhost:8000/v1', got '{self.url}'.") from None
        if parts.username is not None or parts.password is not None:
            raise ValueError("The URL of a Server holds a user or password. Put the key into api_key_env's variable.")
        if not is_url:
            raise ValueError(f"A Server needs a URL such as 'http://localhost:8000/v1', got '{self.url}'.")
        if not self.model.strip():
            raise ValueError(f"Server {self.url}: the model's name is blank. Give the name that the server lists.")
        for setting in ("max_concurrency", "max_tries", "timeout_s", "max_window_words"):
            if not getattr(self, setting) > 0:
                raise ValueError(f"Server {self.url}: {setting} is {getattr(self, setting)}, expected more than 0.")


class ServerStudent:
    """Finds mentions of any type by asking a server for one type after another.

    settings: which server, and how it is asked.
    asking: how the conversation is held.
    """

    def __init__(self, settings: ServerSettings, asking: Asking) -> None:
        self.settings = settings
        self.asking = asking
        self.heard = Heard()
        self._is_checked = False
        self._has_reported_scores = False

    def predict(self, passages: Sequence[Passage], floor: float) -> StudentOutput:
        """Find the mentions of each passage's types that score above `floor`; see `answers.score_surfaces`.

        RAISES: ServerError if the server cannot be reached or keeps failing; ValueError if it refuses a request, or
            what it sends is no completion.
        """
        parts: list[Part] = []
        n_cut = 0
        for n_passage, passage in enumerate(passages):
            cut, n_words = cut_parts(n_passage, passage, self.asking, _count, self.settings.max_window_words)
            parts += cut
            n_cut += n_words
        answers = _run(self._answer(parts)) if parts else []
        return StudentOutput(find_mentions(len(passages), parts, answers, floor, self.heard), n_cut=n_cut)

    def losses(self, passages: Sequence[Passage]) -> NoReturn:
        """RAISES: ValueError: it is tuned elsewhere."""
        raise ValueError(NOT_TRAINED.format(kind="Server"))

    async def _answer(self, parts: Sequence[Part]) -> list[list[Answer]]:
        try:
            import httpx
        except ImportError as err:
            raise ImportError("A Server needs httpx and tenacity: pip install 'spacy-uniner[server]'.") from err
        connection = _Connection(self.settings)
        open_parts = asyncio.Semaphore(self.settings.max_concurrency)
        slots = asyncio.Semaphore(self.settings.max_concurrency)

        async def ask(prompt: str) -> Answer:
            async with slots:
                reply = await connection.request("POST", "completions", self._make_request(prompt))
            return self._read(reply)

        async def ask_all(part: Part) -> list[Answer]:
            async with open_parts:
                first = await ask(part.prompts[0])
                return [first, *await asyncio.gather(*map(ask, part.prompts[1:]))]

        limits = httpx.Limits(max_connections=self.settings.max_concurrency)
        async with httpx.AsyncClient(timeout=self.settings.timeout_s, limits=limits) as connection.client:
            if not self._is_checked:
                await connection.check()
                self._is_checked = True
            return await asyncio.gather(*map(ask_all, parts))

    def _make_request(self, prompt: str) -> dict[str, Any]:
        request: dict[str, Any] = {
            "model": self.settings.model,
            "prompt": prompt,
            "max_tokens": self.asking.max_new_tokens,
            "temperature": 0.0,
            "stop": [STOP],
        }
        return {**request, "logprobs": N_TOP} if self.settings.scores else request

    def _read(self, reply: Any) -> Answer:
        """Read a completion.

        RAISES: ValueError if it is none.
        """
        try:
            choice = reply["choices"][0]
            text = choice["text"]
            is_endless = choice.get("finish_reason") == "length"
        except (KeyError, IndexError, TypeError, AttributeError):
            text = None
        if not isinstance(text, str):
            raise ValueError(
                f"Server {self.settings.url} sent no completion, but {str(reply)[:200]}. Is this the base URL of an "
                "OpenAI-compatible server that offers /completions?"
            )
        tokens = read_logprobs(choice.get("logprobs"), text) if self.settings.scores else None
        if tokens is None:
            if self.settings.scores and not self._has_reported_scores:
                self._has_reported_scores = True
                logger.warning(
                    "Server %s gives no log-probabilities that fit its text: its mentions score 1.0.", self.settings.url
                )
            return Answer(text.partition(STOP)[0], is_endless=is_endless)
        return Answer(text.partition(STOP)[0], *tokens, is_endless=is_endless)


class _Connection:
    """Sends requests to one server, again if need be, each try within its time.

    RAISES: ValueError if there is no key where there should be one.
    """

    client: httpx.AsyncClient

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        self.key = os.environ.get(settings.api_key_env, "").strip() if settings.api_key_env else ""
        if settings.api_key_env and not (self.key.isascii() and self.key.isprintable() and self.key):
            raise ValueError(
                f"Server {settings.url} needs a key, but the environment variable {settings.api_key_env} is not set or "
                "holds no key. Set it to the key that the server wants."
            )

    async def check(self) -> None:
        """See whether the server is there and takes the key."""
        await self.request("GET", "models", is_optional=True)

    async def request(self, method: str, path: str, content: Any = None, is_optional: bool = False) -> Any:
        """Send a request and read the JSON that comes back; None if it is optional and there is no such path."""
        from tenacity import (
            AsyncRetrying,
            RetryCallState,
            retry_if_exception_type,
            stop_after_attempt,
            wait_random_exponential,
        )

        backoff = wait_random_exponential(multiplier=0.25, max=MAX_WAIT_S)

        def wait(state: RetryCallState) -> float:
            err = state.outcome.exception() if state.outcome else None
            asked = err.wait_s if isinstance(err, _Passing) else 0.0
            return max(backoff(state), min(asked, MAX_WAIT_S))

        tries = AsyncRetrying(
            stop=stop_after_attempt(self.settings.max_tries),
            wait=wait,
            retry=retry_if_exception_type(_Passing),
            reraise=True,
        )
        try:
            return await tries(self._try, method, path, content, is_optional)
        except _Passing as err:
            raise ServerError(
                f"Server {self.settings.url} gave no answer in {self.settings.max_tries} tries; the last one: {err}. "
                "Is it running, and is its address right? If it is slow, raise timeout_s or lower max_concurrency."
            ) from None

    async def _try(self, method: str, path: str, content: Any, is_optional: bool) -> Any:
        import httpx

        try:
            status, headers, body = await asyncio.wait_for(self._send(method, path, content), self.settings.timeout_s)
        except (asyncio.TimeoutError, httpx.TimeoutException):
            raise _Passing(f"no whole answer within {self.settings.timeout_s:g} s") from None
        except httpx.HTTPError as err:
            raise _Passing(f"{type(err).__name__}: {self._hide(str(err))}") from None
        if status == 200:
            return self._parse(body)
        said = self._hide(body.decode("utf8", "replace"))[:300]
        if status == 429 or status >= 500:
            raise _Passing(f"status {status}, {said}", _read_seconds(headers.get("retry-after", "")))
        if is_optional and status in (404, 405, 501):
            return None
        if status in (401, 403):
            key = f"the key in {self.settings.api_key_env}" if self.key else "a request without a key"
            raise ValueError(
                f"Server {self.settings.url} refuses {key} (status {status}): {said}. Set api_key_env to the "
                "environment variable that holds a valid key."
            )
        raise ValueError(
            f"Server {self.settings.url} refuses a request for '{self.settings.model}' (status {status}): {said}. "
            "Check url and model; if the text is too long, lower max_window_words; if it is about logprobs, set "
            "scores = false."
        )

    async def _send(self, method: str, path: str, content: Any) -> tuple[int, Mapping[str, str], bytes]:
        """Send one request. RAISES: ValueError if the answer does not come to an end."""
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        url = f"{self.settings.url.rstrip('/')}/{path}"
        body = bytearray()
        async with self.client.stream(method, url, json=content, headers=headers) as response:
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_REPLY_BYTES:
                    raise ValueError(
                        f"Server {self.settings.url} sent more than {MAX_REPLY_BYTES // 1_000_000} MB for one request. "
                        "This is no server of completions."
                    )
            return response.status_code, response.headers, bytes(body)

    def _parse(self, body: bytes) -> Any:
        try:
            return json.loads(body.decode("utf8"))
        except UnicodeDecodeError as err:
            raise ValueError(
                f"Server {self.settings.url} sent what is no UTF-8 (at byte {err.start}). It, or a proxy, is broken."
            ) from None
        except (ValueError, RecursionError):
            said = self._hide(body.decode("utf8"))[:100]
            raise ValueError(f"Server {self.settings.url} sent what is no JSON: {said}. Check its URL.") from None

    def _hide(self, text: str) -> str:
        """Take the key out of what is going to be shown."""
        return text.replace(self.key, "…") if self.key else text


def read_logprobs(logprobs: Any, text: str) -> tuple[tuple[int, ...], tuple[float, ...], tuple[float, ...]] | None:
    """Read log-probabilities, in the form of completions (vLLM) or of chats (llama.cpp).

    text: the text of the completion.
    RETURNS: ends, logprobs and closes as in `Answer`; None if there are none, or they are of another text.
    """
    try:
        if "content" in logprobs:
            steps = [
                (
                    bytes(step["bytes"]) if step.get("bytes") else step["token"].encode(),
                    float(step["logprob"]),
                    {top["token"]: float(top["logprob"]) for top in step.get("top_logprobs") or ()},
                )
                for step in logprobs["content"]
            ]
        else:
            tops = logprobs.get("top_logprobs") or [{}] * len(logprobs["tokens"])
            steps = [
                (token.encode(), float(logprob), dict(top or {}))
                for token, logprob, top in zip(logprobs["tokens"], logprobs["token_logprobs"], tops, strict=True)
            ]
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    if not all(math.isfinite(logprob) for _, logprob, _ in steps):
        return None
    n_chars = len(text.partition(STOP)[0])
    said, ends, values, closes = b"", [], [], []
    for token, logprob, top in steps:
        said += token
        ends.append(min(len(said.decode("utf8", "ignore")), n_chars))
        values.append(min(0.0, logprob))
        closing = {other: value for other, value in top.items() if other.startswith(QUOTE)}
        if token.startswith(QUOTE.encode()):
            closing[token.decode("utf8", "ignore")] = logprob
        mass = sum(math.exp(min(0.0, value)) for value in closing.values())
        closes.append(math.log(min(1.0, mass)) if mass > 0.0 else min(0.0, logprob))
    fits = said.decode("utf8", "ignore").startswith(text.partition(STOP)[0])
    return (tuple(ends), tuple(values), tuple(closes)) if fits else None


def _count(words: Sequence[str]) -> list[int]:
    """Count words, a long one as several."""
    return [max(1, math.ceil(len(word.encode()) / BYTES_PER_WORD)) for word in words]


def _read_seconds(text: str) -> float:
    """Read how long a server asks to wait; a date instead of seconds is passed over."""
    return float(text) if text.isdigit() else 0.0


def _run(work: Coroutine[Any, Any, list[list[Answer]]]) -> list[list[Answer]]:
    """Run asynchronous work to its end, also where a loop runs already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()
