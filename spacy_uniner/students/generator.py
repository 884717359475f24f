"""The generator student: a causal language model in the conversation of UniversalNER, read once for all types.

SOURCE: Zhou et al. 2023, section 3.2; one query a type as there. Sharing the cache among queries, and scores, are our
    choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from ..passages import Passage
from . import StudentOutput
from .answers import NOT_TRAINED, Asking, Heard, Part, cut_parts, find_mentions
from .causal import Causal, CausalSettings, causal_from_bytes, causal_to_bytes, read_causal
from .greedy import GreedyDecoder, Prompts

MAX_WINDOW_TOKENS = 512  # as the released command line; the training passages had 256
AS_PUBLISHED = Asking()


class GeneratorStudent:
    """Finds mentions of any type by asking a causal language model for one type after another.

    The model is read when it is first needed.

    settings: which model, and how it is read.
    asking: how the conversation is held.
    max_batch_tokens: how many tokens are held at once, padding included, which bounds the memory.
    RAISES: ValueError if a batch could hold nothing.
    """

    def __init__(self, settings: CausalSettings, asking: Asking = AS_PUBLISHED, max_batch_tokens: int = 8192) -> None:
        if max_batch_tokens < 1:
            raise ValueError(
                f"Generator '{settings.name}': max_batch_tokens is {max_batch_tokens}, expected 1 or more."
            )
        self.settings = settings
        self.asking = asking
        self.max_batch_tokens = max_batch_tokens
        self.heard = Heard()
        self._causal: Causal | None = None
        self._decoder: GreedyDecoder | None = None

    def predict(self, passages: Sequence[Passage], floor: float) -> StudentOutput:
        """Find the mentions of each passage's types that score above `floor`; see `answers.score_surfaces`."""
        parts: list[Part] = []
        prompts: list[Prompts] = []
        n_cut = 0
        for n_passage, passage in enumerate(passages):
            of_passage, ids, n_cut_words = self._cut(n_passage, passage)
            parts += of_passage
            prompts += ids
            n_cut += n_cut_words
        answers = self._get_decoder().answer(prompts) if parts else []
        return StudentOutput(find_mentions(len(passages), parts, answers, floor, self.heard), n_cut=n_cut)

    def losses(self, passages: Sequence[Passage]) -> NoReturn:
        """RAISES: ValueError: it is tuned elsewhere."""
        raise ValueError(NOT_TRAINED.format(kind="Generator"))

    def get(self) -> Causal:
        """Give the language model; read it first if that was not done yet."""
        if self._causal is None:
            self._causal = read_causal(self.settings)
        return self._causal

    def to_bytes(self) -> bytes:
        """Write the model with its tokenizer."""
        return causal_to_bytes(self.get(), self.settings.name)

    def from_bytes(self, content: bytes) -> None:
        """Take the model that `to_bytes` wrote, wherever it was once read from."""
        self._causal, self._decoder = causal_from_bytes(content, self.settings), None

    def _get_decoder(self) -> GreedyDecoder:
        if self._decoder is None:
            causal, n_new = self.get(), self.asking.max_new_tokens
            self._decoder = GreedyDecoder(causal.model, causal.tokenizer, n_new, self.max_batch_tokens)
        return self._decoder

    def _cut(self, n_passage: int, passage: Passage) -> tuple[list[Part], list[Prompts], int]:
        """Cut a passage into parts whose prompts and answers fit the model's context.

        Words are counted apart and may take more tokens together; if so, windows are made smaller.

        RETURNS: the parts, their prompts as tokens, and the number of words cut.
        RAISES: ValueError if a query leaves no room for words.
        """
        if not passage.types or not any(map(str.strip, passage.words)):
            return [], [], 0
        causal = self.get()
        limit = causal.max_tokens - self.asking.max_new_tokens
        bare = self._tokenize(
            cut_parts(n_passage, Passage(("…",), passage.types), self.asking, _count_none, 1, causal.special)[0][0]
        )
        longest = max(range(len(bare)), key=lambda n: len(bare[n]))
        room = limit - len(bare[longest])
        max_units = min(MAX_WINDOW_TOKENS, room)
        while max_units >= 1:
            parts, n_cut = cut_parts(n_passage, passage, self.asking, self._count, max_units, causal.special)
            ids = [self._tokenize(part) for part in parts]
            n_over = max((len(prompt) for of_part in ids for prompt in of_part), default=0) - limit
            if n_over <= 0:
                return parts, [Prompts.of(of_part) for of_part in ids], n_cut
            max_units = min(max_units - 1, max_units * room // (room + n_over))
        raise ValueError(
            f"Generator '{self.settings.name}': the conversation with the query for '{passage.types[longest]:.60}' "
            f"takes {len(bare[longest])} tokens and the answer up to {self.asking.max_new_tokens}, which leaves no "
            f"room for a text in a context of {causal.max_tokens}. Use a shorter type or fewer max_new_tokens."
        )

    def _count(self, words: Sequence[str]) -> list[int]:
        """Count the tokens of words, each by itself behind a space."""
        encoded = self.get().tokenizer([f" {word}" for word in words], add_special_tokens=False, verbose=False)
        return [max(1, len(ids)) for ids in encoded["input_ids"]]

    def _tokenize(self, part: Part) -> list[list[int]]:
        """Tokenize the prompts of a part, without a special token behind them, where the answer goes on."""
        causal = self.get()
        encoded: list[list[int]] = causal.tokenizer(list(part.prompts), verbose=False)["input_ids"]
        end = causal.tokenizer.eos_token_id
        return [ids[:-1] if ids[-1] == end else ids for ids in encoded]


def _count_none(words: Sequence[str]) -> list[int]:
    return [1] * len(words)
