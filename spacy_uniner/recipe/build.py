"""From a teacher's passages to what is tuned with: filtered, split, asked, counted."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..distill import Absent, Negatives, rename, split_held_out
from ..hierarchy import Hierarchy
from ..passages import Passage
from .conversations import Conversation, Form, make_conversations
from .duplicates import find_duplicates
from .filters import filter_mentions
from .frequencies import count_types, cut_bands
from .sources import Source


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What is done to a teacher's passages.

    duplicate: passages that are as alike as this to an earlier one are left out, see `find_duplicates`; 1.0 for only
        those with the same runs of words.
    max_type_words: mentions with a longer type are left out, in words.
    one_in: about one passage in so many is held out; 0 for none.
    negatives: which types are asked that are not there, see `distill.Absent`.
    n_negatives: how many for each passage.
    other_names: share of the types with other names that are asked by one of them, see `distill.rename`.
    form: of the conversations.
    seed: of the random choices.
    RAISES: ValueError if a number is out of its range.
    """

    duplicate: float = 0.7
    max_type_words: int = 25
    one_in: int = 20
    negatives: Negatives = "frequency"
    n_negatives: int = 10
    other_names: float = 0.0
    form: Form = "one-by-one"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_type_words < 1 or self.one_in < 0 or not 0.0 <= self.other_names <= 1.0:
            raise ValueError(
                "A recipe needs max_type_words >= 1, one_in >= 0 and other_names in [0, 1], got "
                f"{self.max_type_words}, {self.one_in} and {self.other_names}."
            )


@dataclass(frozen=True)
class Distillation:
    """What a recipe gives.

    train: passages with all that is asked of them.
    held_out: passages that are kept apart, asked in the same way; no type that only they mention is asked in training.
    conversations: made of `train`.
    report: what was counted; as JSON can hold it.
    counts: how often each type is mentioned, in all passages that were kept.
    """

    train: list[Passage]
    held_out: list[Passage]
    conversations: list[Conversation]
    report: dict[str, Any]
    counts: Counter[str]


def distill(source: Source, hierarchy: Hierarchy, recipe: Recipe) -> Distillation:
    """Follow a recipe: filter, leave out near-duplicates, hold out, ask, and make conversations."""
    filtered, lost = _filter(source.passages, recipe.max_type_words)
    twins = set(find_duplicates((" ".join(passage.words) for passage in filtered), recipe.duplicate))
    unique = [passage for place, passage in enumerate(filtered) if place not in twins]
    kept = [passage for passage in unique if passage.mentions]
    train, held_out, unseen = split_held_out(kept, recipe.one_in) if recipe.one_in else (kept, [], frozenset())
    train_asked = _ask(train, train, hierarchy, recipe, unseen)
    held_out_asked = _ask(held_out, kept, hierarchy, recipe)
    conversations = make_conversations(train_asked, recipe.form)
    counts = count_types(kept)
    n_queries = sum(len(passage.types) for passage in train_asked)
    n_negatives = sum(
        len(set(passage.types) - {mention.type for mention in passage.mentions}) for passage in train_asked
    )
    report = {
        "recipe": asdict(recipe),
        "replies": dict(sorted(source.losses.items())),
        "passages": {
            "read": source.n_read,
            "could not be read": source.n_read - len(source.passages),
            "near-duplicates": len(twins),
            "without a mention": len(unique) - len(kept),
            "kept": len(kept),
            "to tune with": len(train),
            "held out": len(held_out),
        },
        "mentions": {
            "read": sum(len(passage.mentions) for passage in source.passages),
            **{f"left out, {reason}": n for reason, n in sorted(lost.items())},
            "kept": counts.total(),
        },
        "types": {"kept": len(counts), "in held-out passages only": len(unseen)},
        "conversations": {"made": len(conversations), "types asked": n_queries, "of them negatives": n_negatives},
        "bands": [asdict(band) for band in cut_bands(counts)],
    }
    return Distillation(train_asked, held_out_asked, conversations, report, counts)


def _filter(passages: Sequence[Passage], max_type_words: int) -> tuple[list[Passage], Counter[str]]:
    filtered = []
    lost: Counter[str] = Counter()
    for passage in passages:
        clean, reasons = filter_mentions(passage, max_type_words)
        filtered.append(clean)
        lost.update(reasons)
    return filtered, lost


def _ask(
    asked: Sequence[Passage],
    all_: Sequence[Passage],
    hierarchy: Hierarchy,
    recipe: Recipe,
    without: frozenset[str] = frozenset(),
) -> list[Passage]:
    """Add negatives to passages, drawn from the types of all, and give some types other names, none of `without`."""
    absent = Absent(all_, hierarchy, negatives=recipe.negatives, n_negatives=recipe.n_negatives, seed=recipe.seed)
    rng = random.Random(recipe.seed)
    with_negatives = (absent.add(passage) for passage in asked)
    return [rename(passage, hierarchy, recipe.other_names, rng, without) for passage in with_negatives]
