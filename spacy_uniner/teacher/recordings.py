"""Recordings of what a teacher said, kept as data, become the file of replies that `spacy_uniner.Recorded.v1` replays.

The recordings are not raw replies: each is written in the form that the prompt of the task asks for.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from .annotations import Text, read_records
from .cache import Question, Reply, to_line
from .prompts import read_items, write_reply
from .tasks import NER

MODEL = "recorded"


def write_recordings(recordings: Path, texts: Iterable[Text], task: NER, output: Path) -> int:
    """Write recordings as a file of replies: for each the task's prompt, and the reply in the form it asks for.

    recordings: JSONL with `id`, and `entities` (an object from label to mentions) or `items` (objects with mention,
        label, is_entity and reason).
    texts: the texts, in which each id must be found.
    RETURNS: the number of replies.
    RAISES: ValueError with file and line if a recording has no text or is of another form; if there are none.
    """
    texts_by_id = {text.id: text.text for text in texts}
    lines = []
    for n_line, record in read_records(recordings):
        text = texts_by_id.get(str(record.get("id")))
        if text is None:
            raise ValueError(
                f"{recordings}, line {n_line}: no text has the id {record.get('id')!r}. Give its texts too."
            )
        try:
            items = read_items(record, task.labels, task.style)
        except ValueError as err:
            raise ValueError(f"{recordings}, line {n_line}: {err}") from err
        reply = write_reply(items, task.labels, task.style)
        lines.append(to_line(Question(MODEL, task.prompt_of(text)), Reply(reply)))
    if not lines:
        raise ValueError(f"{recordings} has no recordings. Expected one a line, as JSON with id and entities or items.")
    output.parent.mkdir(parents=True, exist_ok=True)
    part = output.with_name(output.name + ".part")
    part.write_bytes(b"".join(lines))
    os.replace(part, output)
    return len(lines)
