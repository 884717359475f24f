"""What is not worth learning: texts of no use, mentions that are none. Each loss is counted by its reason."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ..passages import Mention, Passage
from .ledger import Step, open_step, surface_of
from .quality import text_of

PRONOUNS = (
    "i me my mine myself you your yours yourself yourselves he him his himself she her hers herself it its itself we "
    "us our ours ourselves they them their theirs themselves who whom whose which what that this these those one ones "
    "someone somebody anyone anybody everyone everybody nobody"
)
DETERMINERS = "a an the some any each every either neither no all both another other others such"
NO_NAMES = frozenset((*PRONOUNS.split(), *DETERMINERS.split()))

MIN_CONTRADICTED = 4  # so many mentions make a surface form's majority
MAJORITY = 0.75


def filter_texts(passages: Sequence[Passage], min_words: int, max_words: int) -> tuple[list[Passage], Step]:
    """Leave out texts that are too short, too long, or there already; of the same text the first source stays.

    min_words, max_words: the length that a text may have, in words.
    """
    step = open_step("texts", passages)
    kept = []
    seen: set[str] = set()
    for passage in passages:
        reason = (
            "too short" * (len(passage.words) < min_words)
            or "too long" * (len(passage.words) > max_words)
            or "the same text as another" * (text_of(passage) in seen)
        )
        if reason:
            step.lose_text(reason, passage)
        else:
            seen.add(text_of(passage))
            kept.append(passage)
    step.close(kept)
    return kept, step


def filter_mentions(passages: Sequence[Passage], max_mention_words: int) -> tuple[list[Passage], Step]:
    """Leave out mentions that are too long, have no letter or digit, or are pronouns or determiners only.

    A text that has no mention left stays: that it has none is worth learning.

    max_mention_words: the longest mention, in words.
    """
    step = open_step("mentions", passages)
    kept = []
    for passage in passages:
        sound = []
        for mention in passage.mentions:
            reason = judge(passage.words, mention, max_mention_words)
            if reason:
                step.lose_mention(reason, passage, mention)
            else:
                sound.append(mention)
        kept.append(replace(passage, mentions=tuple(sound)))
    step.close(kept)
    return kept, step


def judge(words: Sequence[str], mention: Mention, max_words: int) -> str:
    """Say why a mention is none; an empty string if it may be one.

    words: of the text.
    """
    surface = words[mention.start : mention.end]
    if len(surface) > max_words:
        return f"longer than {max_words} words"
    if not any(character.isalnum() for word in surface for character in word):
        return "no letter or digit"
    begins = mention.start == 0 or not any(character.isalnum() for character in words[mention.start - 1])
    if all(is_no_name(word, begins and n == 0) for n, word in enumerate(surface)):
        return "pronouns or determiners only"
    return ""


def is_no_name(word: str, begins: bool) -> bool:
    """Tell whether a word is a pronoun or determiner, and written as one: "us", not "US"; "An" where a sentence begins.

    begins: whether the word begins a sentence, or follows a quotation mark, or the like.
    """
    is_written_so = word.islower() or word == "I" or (begins and word.istitle())
    return is_written_so and word.lower() in NO_NAMES


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A surface form that mostly has one label, and sometimes others.

    label: that of the majority.
    n_mentions: how many of all mentions have it.
    others: for each other label, the sources of its texts.
    """

    surface: str
    label: str
    n_mentions: int
    others: dict[str, list[str]]


def find_contradictions(passages: Iterable[Passage]) -> list[Contradiction]:
    """Find surface forms of at least four mentions of which three quarters or more, but not all, have one label.

    Not each is an error: a city may stand for its government.
    """
    sources: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for passage in passages:
        for mention in passage.mentions:
            sources[surface_of(passage, mention)][mention.type].append(passage.source)
    found = []
    for surface, by_label in sorted(sources.items()):
        n_mentions = sum(map(len, by_label.values()))
        label = min(by_label, key=lambda label: (-len(by_label[label]), label))
        if n_mentions >= MIN_CONTRADICTED and n_mentions > len(by_label[label]) >= MAJORITY * n_mentions:
            others = {other: of_other for other, of_other in sorted(by_label.items()) if other != label}
            found.append(Contradiction(surface, label, len(by_label[label]), others))
    return found


def drop_contradictions(
    passages: Sequence[Passage], contradictions: Sequence[Contradiction]
) -> tuple[list[Passage], Step]:
    """Leave out the texts in which a surface form has another label than in most texts.

    Whole texts, since of a mention taken out a student would learn that there is none.
    """
    step = open_step("contradictions", passages)
    others = {(c.surface, label) for c in contradictions for label in c.others}
    kept = []
    for passage in passages:
        if any((surface_of(passage, mention), mention.type) in others for mention in passage.mentions):
            step.lose_text("a surface form with another label than in most texts", passage)
        else:
            kept.append(passage)
    step.close(kept)
    return kept, step


def count_labels(passages: Iterable[Passage], labels: Sequence[str]) -> dict[str, int]:
    """Count the mentions of each label."""
    counts = Counter(mention.type for passage in passages for mention in passage.mentions)
    return {label: counts[label] for label in labels}
