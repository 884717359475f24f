"""A plain instruction to tag, in place of a conversation: what UniversalNER's is compared with."""

from __future__ import annotations

from collections.abc import Sequence

from ..conversation import Turn
from ..passages import Passage

NOTHING = "None"


def make_tagging_turns(passage: Passage, dataset: str = "") -> tuple[Turn, ...]:
    """Make an instruction that names all types and the text, and its answer: `type: surface form; …`.

    Mentions stand in the order of the text. A type of which the annotation cannot tell all mentions is not asked.

    RETURNS: two turns; none if nothing can be asked.
    SOURCE: after the instructions of InstructUIE (Wang et al. 2023), whose tuning the paper found worse and does not
        state; the wording is ours.
    """
    unknown = {mention.type for mention in passage.unknown}
    types = [type_ for type_ in passage.types if type_ not in unknown]
    if not types:
        return ()
    name = f"Dataset: {dataset} \n " if dataset else ""
    task = "List all entities in the text that have one of the types, as: type: entity; type: entity."
    mentions = sorted(passage.mentions, key=lambda m: (m.start, m.end))
    found = [f"{m.type}: {' '.join(passage.words[m.start : m.end])}" for m in mentions if m.type in types]
    query = f"{name}{task} Types: {', '.join(types)}. Text: {' '.join(passage.words)}"
    return Turn("human", query), Turn("gpt", "; ".join(found) or NOTHING)


def parse_tagging(text: str, types: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Read the surface forms of each type from an answer as `make_tagging_turns` writes it.

    A part that begins with no type asked belongs to the surface form before it, as its semicolon does.
    """
    surfaces: dict[str, list[str]] = {type_: [] for type_ in types}
    by_length = sorted(types, key=len, reverse=True)
    last: list[str] | None = None
    for part in text.strip().split("; "):
        type_ = next((type_ for type_ in by_length if part.startswith(f"{type_}: ")), None)
        if type_ is not None:
            last = surfaces[type_]
            last.append(part[len(type_) + 2 :])
        elif last:
            last[-1] += f"; {part}"
    return {type_: tuple(dict.fromkeys(found)) for type_, found in surfaces.items()}
