"""Which mentions of a teacher are left out, and why."""

from __future__ import annotations

import unicodedata
from collections import Counter
from dataclasses import replace
from typing import Literal

from ..passages import Mention, Passage

Reason = Literal["ELSE type", "not English", "no letter or digit", "long type"]

ELSE_TYPES = frozenset({"none", "na", "n/a", "misc", "miscellaneous", "else", "other", "others"})


def judge_mention(surface: str, type_: str, max_type_words: int) -> Reason | None:
    """Say why a mention is left out; None if it stays.

    "ELSE type": the type is one of `ELSE_TYPES`. "not English": most letters of the surface form are not Latin.
    "no letter or digit": it has none. "long type": the type has more than `max_type_words` words.

    SOURCE: the first two are those of Zhou et al. 2023, section 3.1, who do not say how they tell English; the others
        are our choice.
    """
    if type_.strip().casefold() in ELSE_TYPES:
        return "ELSE type"
    if not any(sign.isalnum() for sign in surface):
        return "no letter or digit"
    letters = [sign for sign in surface if sign.isalpha()]
    n_latin = sum(unicodedata.name(sign, "").startswith("LATIN") for sign in letters)
    if 2 * n_latin < len(letters):
        return "not English"
    return "long type" if len(type_.split()) > max_type_words else None


def filter_mentions(passage: Passage, max_type_words: int) -> tuple[Passage, Counter[Reason]]:
    """Leave out mentions by `judge_mention`.

    A type that lost all of its mentions is not asked any more: it is no negative.

    RETURNS: the passage, and how many mentions were left out for which reason.
    """
    kept: list[Mention] = []
    lost: Counter[Reason] = Counter()
    left_out = {type_ for type_ in passage.types if type_.strip().casefold() in ELSE_TYPES}
    for mention in passage.mentions:
        surface = " ".join(passage.words[mention.start : mention.end])
        reason = judge_mention(surface, mention.type, max_type_words)
        if reason is None:
            kept.append(mention)
        else:
            lost[reason] += 1
            left_out.add(mention.type)
    left_out -= {mention.type for mention in kept}
    types = tuple(type_ for type_ in passage.types if type_ not in left_out)
    unknown = tuple(mention for mention in passage.unknown if mention.type not in left_out)
    return replace(passage, types=types, mentions=tuple(kept), unknown=unknown), lost
