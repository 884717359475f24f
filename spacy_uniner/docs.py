"""The border between spaCy and the rest: Doc to Passage, Passage to Example, Example to Passage."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from itertools import chain

from spacy.tokens import Doc, Span, SpanGroup
from spacy.training import Example
from spacy.vocab import Vocab

from .passages import Mention, Passage

SPANS_KEY = "universal_ner"
UNKNOWN_SUFFIX = "_unknown"


def register_extensions() -> None:
    """Register `doc._.entity_types` (the types to ask of that Doc) and `span._.entity_score`."""
    if not Doc.has_extension("entity_types"):
        Doc.set_extension("entity_types", default=None)
    if not Span.has_extension("entity_score"):
        Span.set_extension("entity_score", getter=entity_score)


def entity_score(span: Span) -> float | None:
    """Look up the score of a span by its place and its label, so that two labels on one span keep their own.

    RETURNS: a probability, or None if no group of the Doc holds that span with a score. Spans that were appended to a
        group later have none.
    """
    place = (span.start, span.end)
    for group in span.doc.spans.values():
        scores = group.attrs.get("scores", ())
        n_scored = min(len(group), len(scores))
        # The component's own groups are sorted, so that the span is found at once; others are gone through.
        first = bisect_left(range(n_scored), place, key=lambda i: (group[i].start, group[i].end))
        for i in chain(range(first, n_scored), range(first)):
            other = group[i]
            if (other.start, other.end) == place and other.label == span.label:
                return float(scores[i])
    return None


def doc_to_passage(doc: Doc, types: Sequence[str]) -> Passage:
    """Give a Doc's words as a passage of which `types` are asked."""
    return Passage(words=tuple(token.text for token in doc), types=tuple(types))


def passage_to_example(passage: Passage, vocab: Vocab, spans_key: str = SPANS_KEY) -> Example:
    """Make an Example: the mentions as a span group of the reference, and as its entities where they do not overlap.

    Both Docs carry the passage's types in `doc._.entity_types`.
    """
    register_extensions()
    words = list(passage.words)
    predicted, reference = Doc(vocab, words=words), Doc(vocab, words=words)
    predicted._.entity_types = reference._.entity_types = list(passage.types)
    for key, mentions in ((spans_key, passage.mentions), (spans_key + UNKNOWN_SUFFIX, passage.unknown)):
        spans = [Span(reference, mention.start, mention.end, label=mention.type) for mention in mentions]
        reference.spans[key] = SpanGroup(reference, name=key, spans=spans)
    ends = 0
    flat = []
    for span in sorted(reference.spans[spans_key], key=lambda span: (span.start, -span.end, span.label_)):
        if span.start >= ends:
            flat.append(span)
            ends = span.end
    reference.set_ents(flat, default="outside")
    return Example(predicted, reference)


def example_to_passage(
    example: Example, types: Sequence[str], text_of: Callable[[str], str], spans_key: str
) -> tuple[Passage, int]:
    """Give the gold annotation of an Example as a passage in the words of its predicted Doc.

    Gold are the reference's spans under `spans_key`, or its entities where that group is missing. Those of labels that
    are not asked are passed over.

    types: what is asked.
    text_of: gives for a label what the student reads.
    RETURNS: the passage, and the number of gold spans whose bounds fall inside a word of the predicted Doc.
    """
    reference, predicted = example.reference, example.predicted
    gold = reference.spans.get(spans_key, reference.ents)
    unknown = reference.spans.get(spans_key + UNKNOWN_SUFFIX, ())
    is_aligned = [t.text for t in predicted] == [t.text for t in reference]
    asked = set(types)

    def to_mentions(spans: Iterable[Span]) -> tuple[list[Mention], int]:
        mentions: list[Mention] = []
        n_misaligned = 0
        for span in spans:
            if text_of(span.label_) not in asked:
                continue
            aligned = [span] if is_aligned else example.get_aligned_spans_y2x([span], allow_overlap=True)
            n_misaligned += not aligned
            mentions.extend(Mention(a.start, a.end, text_of(span.label_)) for a in aligned)
        return mentions, n_misaligned

    mentions, n_misaligned = to_mentions(gold)
    doubtful, _ = to_mentions(unknown)
    words = tuple(token.text for token in predicted)
    return Passage(words, tuple(types), tuple(mentions), tuple(doubtful)), n_misaligned
