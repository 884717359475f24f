"""How much one request, and all of them together, may ask for."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Limits:
    """What the service takes on. Everything it holds in memory is bounded by these.

    max_texts: of one request.
    max_characters: of one text.
    max_types: of one request.
    max_type_characters: of one type, and of one description.
    max_body_bytes: of one request as it is sent.
    max_queue_texts: that wait for their batch, of all requests.
    max_batch_texts: that the pipeline reads at once.
    max_batch_characters: that the pipeline reads at once; a longer text is a batch by itself.
    batch_seconds: how long a text waits for others to share its batch with.
    timeout_seconds: until a request is given up; so long may it take to arrive, and then to be answered.
    """

    max_texts: int = 64
    max_characters: int = 20_000
    max_types: int = 200
    max_type_characters: int = 500
    max_body_bytes: int = 1_000_000
    max_queue_texts: int = 256
    max_batch_texts: int = 32
    max_batch_characters: int = 40_000
    batch_seconds: float = 0.003
    timeout_seconds: float = 30.0

    def __post_init__(self) -> None:
        for field in fields(self):
            if not 0 < getattr(self, field.name) < float("inf"):
                raise ValueError(f"{field.name} is {getattr(self, field.name)}, expected a number above 0.")
        if self.max_queue_texts < self.max_texts:
            raise ValueError(
                f"max_queue_texts is {self.max_queue_texts}, but one request may bring {self.max_texts} texts, which "
                "would never find room. Raise max_queue_texts, or lower max_texts."
            )
