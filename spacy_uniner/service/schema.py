"""What a request and its answer look like, and the checks of a request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Discriminator, FailFast, Field, Tag

from ..pipeline import UniversalNER
from ..pipeline.settings import Thresholds, check_labels, check_threshold
from ..spans import Overlap
from .finding import Question
from .limits import Limits

MAX_FOUND_CHARACTERS = 80
MAX_PROBLEMS = 20

Score = Annotated[float, Field(strict=True, ge=0.0, le=1.0)]


def _name_kind(value: Any) -> str:
    return "mapping" if isinstance(value, dict) else "plain"


# Told apart before they are checked, so that an error is one, and not one for each kind that a value could have been.
Types = Annotated[
    Annotated[list[str], Tag("plain")] | Annotated[dict[str, str], Tag("mapping")], Discriminator(_name_kind)
]
Scores = Annotated[
    Annotated[Score, Tag("plain")] | Annotated[dict[str, Score], Tag("mapping")], Discriminator(_name_kind)
]


class Asked(BaseModel):
    """Texts, and the types to find in them."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "texts": ["Cassini reached Saturn in July 2004."],
                    "types": ["spacecraft", "planet"],
                    "threshold": 0.15,
                    "overlap": "flat",
                }
            ]
        },
    )

    texts: Annotated[list[str], FailFast()] = Field(min_length=1, description="The texts.")
    types: Types | None = Field(
        None,
        description="Names of types as people say them, or a mapping of labels to descriptions. "
        "Left out: the pipeline's own labels.",
    )
    threshold: Scores | None = Field(
        None,
        description="The lowest score that is accepted, or a mapping with one for each label; those that it does not "
        "name keep the default. Left out: the pipeline's own.",
    )
    overlap: Overlap | None = Field(
        None,
        description="flat: no two entities share a word. nested: one may lie within another. any: all stay. "
        "Left out: the pipeline's own.",
    )


class Entity(BaseModel):
    """An entity of a text."""

    start: int = Field(description="Where it begins, in characters (Unicode code points).")
    end: int = Field(description="Where it ends, exclusive.")
    text: str
    label: str
    score: float = Field(description="The student's probability, in [0, 1].")


class Found(BaseModel):
    """For each text, in order, its entities, sorted by start, end and label."""

    entities: list[list[Entity]]


class Problem(BaseModel):
    """What went wrong and what to do."""

    detail: str


class Health(BaseModel):
    """How the service is, and what it looks for if a request does not say."""

    status: str = Field(description="ok, stopping, or stuck: a batch has taken longer than a request may.")
    version: str
    labels: list[str]
    threshold: Thresholds
    overlap: Overlap


def to_questions(asked: Asked, limits: Limits, component: UniversalNER) -> list[Question]:
    """Check a request and make a question of each text.

    RAISES: RequestValidationError if the request asks for too much, or contradicts itself.
    """
    _check_size("texts", "texts", len(asked.texts), limits.max_texts)
    for n, text in enumerate(asked.texts):
        _check_size(f"texts.{n}", "characters", len(text), limits.max_characters)
    if asked.types is None:
        types: dict[str, str] = dict(component.cfg["labels"])
        if not types:
            raise _problem("types", "No types are asked, and the pipeline has no labels of its own. Name some types.")
    else:
        types = _check_types(asked.types, limits)
    threshold = component.cfg["threshold"] if asked.threshold is None else asked.threshold
    if asked.threshold is not None:
        try:
            check_threshold(asked.threshold, types, "threshold")
        except ValueError as err:
            raise _problem("threshold", str(err)) from err
    overlap = asked.overlap or component.cfg["overlap"]
    return [Question(text, types, threshold, overlap) for text in asked.texts]


def _check_types(types: list[str] | dict[str, str], limits: Limits) -> dict[str, str]:
    _check_size("types", "types", len(types), limits.max_types)
    try:
        texts = check_labels(types, "types")
    except ValueError as err:
        raise _problem("types", str(err)) from err
    for name in (*texts, *texts.values()):
        _check_size("types", "characters in a name or description", len(name), limits.max_type_characters)
    return texts


def _check_size(where: str, what: str, found: int, most: int) -> None:
    if found > most:
        raise _problem(where, f"{found} {what}, but no more than {most} are taken. Send less at once.")


def _problem(where: str, message: str) -> RequestValidationError:
    return RequestValidationError([{"loc": ("body", *where.split(".")), "msg": message, "type": "value_error"}])


def say_problems(errors: Sequence[Any]) -> list[dict[str, Any]]:
    """Say for the first errors of a request where they are, what is wrong and what was found there, cut short."""
    return [
        {"loc": [str(part) for part in error["loc"]], "msg": _say(error), "type": str(error["type"])}
        for error in errors[:MAX_PROBLEMS]
    ]


def _say(error: dict[str, Any]) -> str:
    message = str(error["msg"])
    if "input" not in error or error["type"] == "missing":
        return message
    found = repr(error["input"])
    return f"{message}, got {found[:MAX_FOUND_CHARACTERS]}{'…' if len(found) > MAX_FOUND_CHARACTERS else ''}"
