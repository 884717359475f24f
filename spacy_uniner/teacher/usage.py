"""What a teacher was asked, what it answered and what that cost."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .cache import Reply


@dataclass
class Usage:
    """Counts of one model object since it was made. Replies from the cache cost nothing and count as cached only.

    prices: dollars for a million tokens of the "prompt" and of the "completion"; none, and no cost is estimated.
    RAISES: ValueError if a price is missing, unknown or negative.
    """

    prices: dict[str, float] | None = None
    n_prompts: int = 0  # that are done, each once a batch
    n_cached: int = 0  # of these, found in the cache
    n_requests: int = 0  # sent, retries among them
    n_retries: int = 0
    n_replies: int = 0  # received
    n_cut_replies: int = 0  # of these, cut off by the limit of tokens
    n_empty_replies: int = 0  # of these, without a text: a refusal, or all tokens were spent on thinking
    n_replies_without_usage: int = 0  # of these, from a server that did not tell their tokens, so the cost is too low
    n_failed: int = 0  # prompts without a reply
    prompt_tokens: int = 0
    completion_tokens: int = 0
    failures: Counter[str] = field(default_factory=Counter)  # prompts without a reply by reason
    seconds: float = 0.0  # spent on batches that are done
    _since: float | None = None  # when the batch that runs was begun

    def __post_init__(self) -> None:
        prices = self.prices
        if prices is not None and (set(prices) != {"prompt", "completion"} or min(prices.values()) < 0):
            raise ValueError(
                f"Prices are {prices}. Give both 'prompt' and 'completion', in dollars for a million tokens, or none."
            )

    @property
    def dollars(self) -> float | None:
        """What the tokens received in this run cost, by the prices given; an estimate."""
        if self.prices is None:
            return None
        return (
            self.prompt_tokens * self.prices["prompt"] + self.completion_tokens * self.prices["completion"]
        ) / 1_000_000

    def count_cached(self) -> None:
        """Count a prompt whose reply was in the cache."""
        self.n_prompts += 1
        self.n_cached += 1

    def count_reply(self, reply: Reply, n_tries: int) -> None:
        """Count a reply that a server gave after so many requests."""
        self._count_tries(n_tries)
        self.n_replies += 1
        self.n_cut_replies += reply.finish_reason == "length"
        self.n_empty_replies += not reply.text
        self.n_replies_without_usage += not reply.usage
        self.prompt_tokens += reply.usage.get("prompt_tokens", 0)
        self.completion_tokens += reply.usage.get("completion_tokens", 0)

    def count_failure(self, reason: str, n_tries: int) -> None:
        """Count a prompt that got no reply after so many requests."""
        self._count_tries(n_tries)
        self.n_failed += 1
        self.failures[reason] += 1

    def _count_tries(self, n_tries: int) -> None:
        self.n_prompts += 1
        self.n_requests += n_tries
        self.n_retries += n_tries - 1

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Count the time that the block takes."""
        self._since = time.monotonic()
        try:
            yield
        finally:
            self.seconds, self._since = self._spent(), None

    def _spent(self) -> float:
        return self.seconds + (0.0 if self._since is None else time.monotonic() - self._since)

    def report(self) -> dict[str, Any]:
        """Give all counts, the cost and the rate for a report in JSON; failures with the most frequent first."""
        seconds = self._spent()
        return {
            **{name: value for name, value in vars(self).items() if name.startswith("n_") or name.endswith("_tokens")},
            "prices": self.prices,
            "dollars": self.dollars,
            "seconds": round(seconds, 3),
            "replies_per_second": round(self.n_replies / seconds, 3) if seconds else 0.0,
            "failures": dict(self.failures.most_common()),
        }

    def postfix(self) -> dict[str, str]:
        """Give what stands behind a progress bar."""
        report = self.report()
        shown = {
            "requests": f"{self.n_requests}",
            "retries": f"{self.n_retries}",
            "cached": f"{self.n_cached}",
            "failed": f"{self.n_failed}",
            "tokens": f"{self.prompt_tokens}+{self.completion_tokens}",
            "replies/s": f"{report['replies_per_second']:.1f}",
        }
        return shown if self.dollars is None else {**shown, "cost": f"${self.dollars:.4f}"}

    def write(self, path: Path) -> None:
        """Write the report; a file that is there is replaced in one step."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        part.write_text(json.dumps(self.report(), indent=2) + "\n", encoding="utf8")
        os.replace(part, path)
