"""A server that speaks OpenAI's chat completions: many questions at once, patiently, and no key in sight."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

import httpx
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    sleep_using_event,
    stop_after_attempt,
    stop_when_event_set,
    wait_random_exponential,
)

from .cache import Question, Reply

MAX_BODY_BYTES = 8 * 1024 * 1024  # of a server's answer; a reply of a hundred thousand tokens takes half a megabyte
MIN_SECRET_CHARS = 16  # shorter keys, such as "EMPTY", are placeholders and ordinary words of replies

TRANSIENT = {408, 409, 429, *range(500, 600)}  # as in OpenAI's own client
SETUP = {401, 402, 403, 404, 405}  # no other prompt would fare better


@dataclass(frozen=True)
class Outcome:
    """What became of a question.

    n_tries: the requests sent.
    reply: None if there is none.
    reason: why there is none.
    is_permanent: whether asking again would be in vain.
    is_setup: whether other prompts would fare no better: the key, the address or the account is wrong, or nobody
        listens.
    """

    n_tries: int
    reply: Reply | None = None
    reason: str = ""
    is_permanent: bool = False
    is_setup: bool = False


@dataclass(frozen=True)
class Server:
    """Where and how to ask.

    base_url: what stands before "/chat/completions", as in "https://api.openai.com/v1".
    api_key_env: the environment variable that holds the key; None for a server without keys.
    key_header: "Authorization" sends "Bearer KEY"; any other header, such as Azure's "api-key", the bare key.
    api_version: Azure's "api-version", sent in the query.
    concurrency: how many requests are under way at once.
    max_tries: how often a question is sent at most.
    timeout_s: how long a request may take, in seconds, and how long the server may be silent.
    max_wait_s: the longest wait between two tries, in seconds, whatever the server asks for.
    RAISES: ValueError if a number is out of range, or the address is none or has a user, a password or a query.
    """

    base_url: str
    api_key_env: str | None
    key_header: str
    api_version: str | None
    concurrency: int
    max_tries: int
    timeout_s: float
    max_wait_s: float

    def __post_init__(self) -> None:
        if self.concurrency < 1 or self.max_tries < 1 or self.timeout_s <= 0 or self.max_wait_s < 0:
            raise ValueError(
                "A server needs concurrency >= 1, max_tries >= 1, timeout_s > 0 and max_wait_s >= 0, got "
                f"{self.concurrency}, {self.max_tries}, {self.timeout_s} and {self.max_wait_s}."
            )
        try:
            url = httpx.URL(self.base_url)
        except httpx.InvalidURL:
            url = httpx.URL("")
        if url.scheme not in ("http", "https") or not url.host or url.userinfo or url.query:
            raise ValueError(
                "base_url must be an address such as 'http://127.0.0.1:8000/v1', without a user, a password or a query "
                "(it is not shown here, as it may hold a key). Put a key into the environment variable that "
                "api_key_env names, and Azure's version into api_version."
            )

    def ask_all(self, questions: Sequence[Question], keep: Callable[[Question, Outcome], None]) -> None:
        """Ask all questions, some at once.

        An interrupt (Ctrl-C) starts no more requests, and still keeps the replies to those under way.

        keep: is told each outcome as soon as it is there, one at a time. Whoever has asked asks no more before it
            returns, so never more replies are at stake than requests may be under way at once.
        RAISES: ValueError if there is no key where one is needed; what `keep` raises.
        """
        key = self._read_key()
        stop, one_at_a_time = threading.Event(), threading.Lock()

        def ask(question: Question) -> None:
            outcome = self._ask(client, key, stop, question)
            with one_at_a_time:
                keep(question, outcome)

        with self._connect(key) as client, ThreadPoolExecutor(self.concurrency) as pool:
            running = [pool.submit(ask, question) for question in questions]
            try:
                for future in as_completed(running):
                    future.result()
            finally:
                stop.set()
                pool.shutdown(cancel_futures=True)

    def _read_key(self) -> str:
        """Read the key; empty if the server needs none. It is never kept beyond a batch."""
        if self.api_key_env is None:
            return ""
        key = os.environ.get(self.api_key_env, "").strip()
        if not key:
            raise ValueError(
                f"The environment variable {self.api_key_env} holds no key for {self.base_url}. "
                f"Set it, or set api_key_env to null if the server needs none."
            )
        if not key.isascii() or not key.isprintable():
            raise ValueError(f"The key in {self.api_key_env} has characters that no header can carry. Set it anew.")
        return key

    def _connect(self, key: str) -> httpx.Client:
        headers = {"Content-Type": "application/json"}
        if key:
            headers[self.key_header] = f"Bearer {key}" if self.key_header == "Authorization" else key
        return httpx.Client(
            headers=headers,
            params={"api-version": self.api_version} if self.api_version else {},
            timeout=self.timeout_s,
            # A connection serves one request: a server that answers twice cannot answer the next question by that.
            limits=httpx.Limits(max_connections=self.concurrency, max_keepalive_connections=0),
        )

    def _ask(self, client: httpx.Client, key: str, stop: threading.Event, question: Question) -> Outcome:
        """Ask one question until there is a reply or no hope."""
        retrying = Retrying(
            retry=retry_if_exception(lambda err: isinstance(err, _Failed) and not err.is_permanent),
            stop=stop_after_attempt(self.max_tries) | stop_when_event_set(stop),
            wait=self._wait,
            sleep=sleep_using_event(stop),
            reraise=True,
        )
        try:
            reply = retrying(self._try_once, client, key, question)
        except _Failed as failed:
            reason = failed.reason.replace(key, "***") if key else failed.reason
            return Outcome(_count_tries(retrying), None, reason, failed.is_permanent, failed.is_setup)
        return Outcome(_count_tries(retrying), reply)

    def _wait(self, state: RetryCallState) -> float:
        """Say how long to wait, in seconds: what the server asks for, or longer each time and never the same."""
        failed = state.outcome.exception() if state.outcome else None
        asked = failed.wait_s if isinstance(failed, _Failed) else 0.0
        return min(max(asked, wait_random_exponential(max=self.max_wait_s)(state)), self.max_wait_s)

    def _try_once(self, client: httpx.Client, key: str, question: Question) -> Reply:
        parameters = {name: value for name, value in question.parameters.items() if name != "system"}
        turns = [{"role": "user", "content": question.prompt}]
        if "system" in question.parameters:
            turns.insert(0, {"role": "system", "content": question.parameters["system"]})
        content = json.dumps({**parameters, "model": question.model, "messages": turns}).encode("ascii")
        try:
            with client.stream("POST", f"{self.base_url.rstrip('/')}/chat/completions", content=content) as response:
                body = self._read_body(response)
        except httpx.RequestError as err:
            raise _Failed(
                f"{type(err).__name__}: {err}",
                is_permanent=isinstance(err, httpx.LocalProtocolError),  # ours, such as a header that none can be
                is_setup=isinstance(err, httpx.ConnectError | httpx.LocalProtocolError),
            ) from None
        if len(key) >= MIN_SECRET_CHARS:
            body = body.replace(key.encode("ascii"), b"***")
        if response.status_code != 200:
            raise _judge(response.status_code, body, response.headers.get("Retry-After", ""))
        return read_reply(body)

    def _read_body(self, response: httpx.Response) -> bytes:
        """Read a body of bounded size in bounded time: a timeout of httpx only bounds the silence between two reads."""
        deadline = time.monotonic() + self.timeout_s
        body = bytearray()
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise _Failed(f"the answer is longer than {MAX_BODY_BYTES} bytes", is_permanent=True)
            if time.monotonic() > deadline:
                raise _Failed(f"the answer took longer than {self.timeout_s} s")
        return bytes(body)


class _Failed(Exception):
    """A request got no reply.

    wait_s: how long the server wants us to wait, in seconds.
    See `Outcome` for the others.
    """

    def __init__(self, reason: str, *, is_permanent: bool = False, is_setup: bool = False, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_permanent = is_permanent
        self.is_setup = is_setup
        self.wait_s = wait_s


def read_reply(body: bytes) -> Reply:
    """Read the body of a chat completion. A reply of null, such as a refusal, becomes an empty text.

    RAISES: _Failed if it is none.
    """
    try:
        answer = json.loads(body)
        choice = answer["choices"][0]
        text = choice["message"]["content"]
        if isinstance(text, list):  # parts, as some servers give
            text = "".join(part["text"] for part in text if part.get("type", "text") == "text")
        finish_reason = choice.get("finish_reason")
        usage = answer.get("usage")
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        raise _Failed(f"status 200, but no chat completion: {_quote(body)}") from None
    if text is not None and not isinstance(text, str):
        raise _Failed(f"status 200, but the content is no text: {_quote(body)}", is_permanent=True)
    counts = usage if isinstance(usage, dict) else {}
    tokens = {name: counts.get(name) for name in ("prompt_tokens", "completion_tokens")}
    return Reply(
        text or "",
        {name: n for name, n in tokens.items() if type(n) is int and n >= 0},
        finish_reason if isinstance(finish_reason, str) else "",
    )


def read_retry_after(header: str) -> float:
    """Read a `Retry-After`, which holds seconds or a date.

    RETURNS: seconds from now; 0 if it holds neither or the date has gone by.
    """
    try:
        seconds = float(header)
    except ValueError:
        try:
            date = parsedate_to_datetime(header)
        except ValueError:
            return 0.0
        date = date if date.tzinfo else date.replace(tzinfo=timezone.utc)
        seconds = (date - datetime.now(timezone.utc)).total_seconds()
    return seconds if seconds > 0 else 0.0  # not a number is not above 0 either


def _judge(status: int, body: bytes, retry_after: str) -> _Failed:
    """Say what a status that is not 200 means."""
    # Out of money is no matter of patience, though OpenAI says 429 to it.
    is_broke = b"insufficient_quota" in body
    is_setup = status in SETUP or status < 400 or is_broke
    is_permanent = is_setup or status not in TRANSIENT
    # Servers quote parts of a wrong key.
    told = "" if status in (401, 403) else f": {_quote(body)}"
    return _Failed(
        f"status {status}{told}",
        is_permanent=is_permanent,
        is_setup=is_setup,
        wait_s=read_retry_after(retry_after),
    )


def _quote(body: bytes) -> str:
    """Give the beginning of a body on one line."""
    return " ".join(body[:1000].decode("utf8", errors="replace").split())[:200]


def _count_tries(retrying: Retrying) -> int:
    return int(retrying.statistics["attempt_number"])
