"""What the students that hold a conversation share: from passages to parts that can be asked about, and from a model's
answers to scored mentions."""

from __future__ import annotations

import json
import logging
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from ..conversation import System, parse_reply, prompt_of
from ..passages import Mention, Passage
from ..spans import Window, cut_windows, locate, merge_windows

logger = logging.getLogger(__name__)

OVERLAP_WORDS = 32
QUOTE = '"'
NOT_TRAINED = (
    "A {kind} is not trained by nlp.update or nlp.rehearse. Tune the language model with 'uniner tune', and leave the "
    "component out of training: frozen_components in [training]."
)

# What could steer a conversation: its own roles and the special tokens of common models.
_STEERING = re.compile(r"(?:USER|ASSISTANT):|</?s>|<unk>|<pad>|<\|[^|<>]*\|>|\[/?INST\]|<</?SYS>>")
_OPENING = re.compile(r"[\[,]\s*[\"'“‘]?\s*\Z")


@dataclass(frozen=True, slots=True)
class Asking:
    """How the conversation is held.

    system: the last word of the system prompt, see `conversation.prefix_of`.
    dataset: the name of a supervised dataset; "" for none.
    max_new_tokens: where an answer is cut that does not end by itself.
    RAISES: ValueError if a setting is out of its range.
    """

    system: System = "text"
    dataset: str = ""
    max_new_tokens: int = 256

    def __post_init__(self) -> None:
        if self.system not in ("text", "paragraph"):
            raise ValueError(f"system is '{self.system}', expected 'text' or 'paragraph'.")
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens is {self.max_new_tokens}; an answer needs 1 or more, 256 as published.")


@dataclass(frozen=True, slots=True)
class Part:
    """A window of a passage, ready to be asked about.

    n_passage: which passage of the batch it is cut from.
    window: its place there, in words.
    words: its words, as the text has them.
    types: the types asked.
    prompts: the prompt for each type.
    """

    n_passage: int
    window: Window
    words: tuple[str, ...]
    types: tuple[str, ...]
    prompts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model answered to one query.

    text: the reply.
    ends: for each of its tokens, the offset behind it in the text, in characters. Empty if nothing is known of tokens;
        then every mention scores 1.0.
    logprobs: the log-probability of each token.
    closes: at each token, the log-probability that the reply goes on with a quote, whatever follows in its token.
    is_endless: whether it was cut at the most tokens allowed.
    """

    text: str
    ends: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    closes: tuple[float, ...] = ()
    is_endless: bool = False


@dataclass(slots=True)
class Heard:
    """What became of all answers so far; what is lost is reported the first time.

    n_answers, n_endless: how many there were, and how many of these did not end by themselves.
    n_surfaces, n_lost: how many surface forms were read, and how many of these stand nowhere in the text.
    problems: how often which problem was met, see `conversation.Reply`.
    """

    n_answers: int = 0
    n_endless: int = 0
    n_surfaces: int = 0
    n_lost: int = 0
    problems: Counter[str] = field(default_factory=Counter)
    is_reported: bool = False

    def report(self) -> None:
        """Say once that answers were lost in full or in part."""
        unread = sum(self.problems[problem] for problem in ("empty", "no list", "not strings", "cut off"))
        if (unread or self.n_lost or self.n_endless) and not self.is_reported:
            self.is_reported = True
            logger.warning(
                "Of the first %d answers, %d could not be read in full and %d did not end by themselves; of %d surface "
                "forms, %d stand nowhere in the text. How many there are in all is in `heard`.",
                *(self.n_answers, unread, self.n_endless, self.n_surfaces, self.n_lost),
            )


# From a passage to prompts


def disarm(text: str, special: Iterable[str] = ()) -> str:
    """Write a space into whatever in a text could steer the conversation: `USER:`, `ASSISTANT:`, special tokens.

    Surface forms are located without regard to white space, so nothing is lost by it.

    special: the special tokens of the model at hand.
    SOURCE: our choice; the released code takes such a text at its word.
    """
    text = _STEERING.sub(lambda found: _split(found[0]), text)
    for token in special:
        if len(token) > 1:
            text = text.replace(token, _split(token))
    return text


def cut_parts(
    n_passage: int,
    passage: Passage,
    asking: Asking,
    count: Callable[[Sequence[str]], list[int]],
    max_units: int,
    special: Sequence[str] = (),
) -> tuple[list[Part], int]:
    """Cut a passage into parts that can be asked about.

    A word that fills a window by itself keeps its beginning only.

    count: gives the units (such as tokens) that each word takes.
    max_units: the most that a window may take, in units.
    special: see `disarm`.
    RETURNS: the parts, none if there is nothing to ask or only white space to read; and the number of words cut.
    """
    words = [disarm(word, special) for word in passage.words]
    if not passage.types or not any(map(str.strip, words)):
        return [], 0
    n_units = count(words)
    n_cut = 0
    for place, n_taken in enumerate(n_units):
        if n_taken > max_units:
            n_cut += 1
            while n_units[place] > max_units and len(words[place]) > 1:
                words[place] = words[place][: max(1, len(words[place]) * max_units // n_units[place])]
                n_units[place] = count([words[place]])[0]
    parts = []
    for window in cut_windows(n_units, max_units, OVERLAP_WORDS):
        seen = Passage(tuple(words[window.start : window.end]))
        asked = tuple(disarm(type_, special) for type_ in passage.types)
        prompts = tuple(prompt_of(seen, type_, asking.system, asking.dataset) for type_ in asked)
        parts.append(Part(n_passage, window, passage.words[window.start : window.end], passage.types, prompts))
    return parts, n_cut


# From answers to mentions


def find_mentions(
    n_passages: int, parts: Sequence[Part], answers: Sequence[Sequence[Answer]], floor: float, heard: Heard
) -> list[tuple[Mention, ...]]:
    """Read answers as mentions that score above `floor`.

    answers: for each part, the answer for each of its types.
    heard: counts them.
    RETURNS: for each passage, its mentions, sorted by start, end and type.
    """
    by_passage: list[tuple[list[Window], list[list[Mention]]]] = [([], []) for _ in range(n_passages)]
    for part, of_part in zip(parts, answers, strict=True):
        mentions = [
            mention
            for type_, answer in zip(part.types, of_part, strict=True)
            for mention in read_answer(answer, type_, part.words, heard)
            if mention.score > floor
        ]
        windows, by_window = by_passage[part.n_passage]
        windows.append(part.window)
        by_window.append(mentions)
    heard.report()
    return [merge_windows(by_window, windows) for windows, by_window in by_passage]


def read_answer(answer: Answer, type_: str, words: Sequence[str], heard: Heard) -> list[Mention]:
    """Find the mentions that an answer names, at all places where they stand."""
    reply = parse_reply(answer.text)
    best: dict[tuple[int, int], float] = {}
    for surface, score in zip(reply.surfaces, score_surfaces(answer, reply.surfaces), strict=True):
        runs, lost = locate([surface], words)
        heard.n_lost += len(lost)
        for run in runs:
            best[run] = max(score, best.get(run, 0.0))
    heard.n_answers += 1
    heard.n_endless += answer.is_endless
    heard.n_surfaces += len(reply.surfaces)
    if reply.problem is not None:
        heard.problems[reply.problem] += 1
    return [Mention(start, end, type_, score) for (start, end), score in best.items()]


def score_surfaces(answer: Answer, surfaces: Iterable[str]) -> list[float]:
    """Score surface forms: the probability that the answer goes on with just this one, after all that stands before.

    It is the product of the probabilities of its tokens: of the bracket or comma that opens it, where the model could
    have ended the list instead; of its own; and of a quote behind them, where the surface form could have gone on. A
    token such as `",` closes one and opens the next: the first is given the probability of any token that begins with
    a quote, the next what is left of this token's own. So the scores of a list and the probability of its end multiply
    to that of the answer.

    surfaces: in the order of the answer. One that is not found there as it is written (in a reply that had to be
        repaired) is given the probability of the whole answer.
    RETURNS: a score in [0, 1] for each; 1.0 if nothing is known of tokens.
    SOURCE: our choice. Not the geometric mean, which forgives one unlikely token in a long name.
    """
    scores, behind = [], 0
    for surface in surfaces:
        start = _find_written(answer.text, surface, behind)
        if not answer.ends:
            scores.append(1.0)
        elif start is None:
            scores.append(_to_score(sum(answer.logprobs)))
        else:
            place, end = start
            opening = _OPENING.search(answer.text, behind, place)
            scores.append(_to_score(_sum_logprobs(answer, opening.start() if opening else behind, end)))
            behind = end
    return scores


def _sum_logprobs(answer: Answer, start: int, end: int) -> float:
    """Sum the log-probabilities of what stands at [start, end), in characters, and of the quote behind it."""
    total, begin = 0.0, 0
    for token_end, logprob, close in zip(answer.ends, answer.logprobs, answer.closes, strict=True):
        closes = answer.text.startswith(QUOTE, begin)
        if begin >= end and token_end > begin:
            return total + (close if closes else logprob)
        if token_end > start:
            total += logprob - close if closes and begin < start else logprob
            if token_end > end:
                return total
        begin = token_end
    return total


def _find_written(text: str, surface: str, behind: int) -> tuple[int, int] | None:
    """Find where a surface form is written, in quotes if possible; start and end, in characters."""
    forms = list(dict.fromkeys((json.dumps(surface)[1:-1], json.dumps(surface, ensure_ascii=False)[1:-1], surface)))
    for quote in (QUOTE, ""):
        found = [(place, form) for form in forms if (place := text.find(f"{quote}{form}{quote}", behind)) >= 0]
        if found:
            place, form = min(found)
            return place + len(quote), place + len(quote) + len(form)
    return None


def _to_score(logprob: float) -> float:
    return min(1.0, math.exp(min(0.0, logprob)))


def _split(token: str) -> str:
    """Write a space into a token: before a closing colon, else behind its first character."""
    return f"{token[:-1]} :" if token.endswith(":") else f"{token[0]} {token[1:]}"
