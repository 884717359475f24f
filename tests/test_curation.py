"""From annotation runs to a corpus: what is kept, what is lost and why, and that it adds up."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st
from spacy.scorer import PRFScore
from spacy.tokens import DocBin
from spacy.training import Corpus

from spacy_uniner.curation.agreement import (
    agree,
    count_by_votes,
    make_run,
    measure_agreement,
)
from spacy_uniner.curation.curate import Settings, curate, make_report, report_scores
from spacy_uniner.curation.files import write_docs, write_labels
from spacy_uniner.curation.filters import filter_mentions, filter_texts, find_contradictions, judge
from spacy_uniner.curation.gold import derive_gold, read_label_map
from spacy_uniner.curation.ledger import count_mentions
from spacy_uniner.curation.page import render_page
from spacy_uniner.curation.quality import check_gold, measure_quality, places_of, sort_errors
from spacy_uniner.passages import Mention, Passage
from spacy_uniner.teacher.annotations import read_texts

ROOT = Path(__file__).parent.parent
LABELS = ("LOC", "ORG", "PER")

TEXT = ["Ada", "Lovelace", "met", "the", "Royal", "Society", "in", "London", "."]
ADA, SOCIETY, LONDON = (0, 2, "PER"), (4, 6, "ORG"), (7, 8, "LOC")
ROYAL = (4, 5, "PER")
SOCIETY_AS_LOC = (4, 6, "LOC")


def make_passage(*places, source="t1", words=TEXT, labels=LABELS) -> Passage:
    return Passage(tuple(words), tuple(labels), tuple(Mention(*place) for place in places), source=source)


def make_runs(*runs):
    """Make runs named a, b, …; each is given as a list of passages."""
    return [make_run("abcdef"[n], passages, {}, LABELS) for n, passages in enumerate(runs)]


def places(passage: Passage) -> list[tuple[int, int, str]]:
    return [(mention.start, mention.end, mention.type) for mention in passage.mentions]


def lost(step) -> dict[str, tuple[int, int]]:
    return {reason: (loss.n_texts, loss.n_mentions) for reason, loss in step.losses.items()}


# Runs


def test_run_is_sorted_and_has_no_overlaps():
    run = make_run("a", [make_passage(source="t2"), make_passage(ADA, ROYAL, SOCIETY)], {"not in the text": 2}, LABELS)
    assert [passage.source for passage in run.passages] == ["t1", "t2"]
    assert places(run.passages[0]) == [ADA, SOCIETY]
    assert lost(run.step) == {"overlaps another mention": (0, 1)}
    assert run.step.losses["overlaps another mention"].examples == ["Royal (PER) in t1"]
    assert (run.step.n_mentions, run.step.n_mentions_left) == (3, 2)


def test_mention_given_twice_counts_once():
    run = make_run("a", [make_passage(ADA, ADA, LONDON)], {}, LABELS)
    assert places(run.passages[0]) == [ADA, LONDON]
    assert lost(run.step) == {"given twice": (0, 1)}


@pytest.mark.parametrize(
    "passages, match",
    [
        ([], r"Run 'a' holds no annotated text \(3 not parseable\)\. Is it the file"),
        ([make_passage(), make_passage()], r"Run 'a' annotates text 't1' more than once\. Give each text one id"),
        ([make_passage(source="")], r"Run 'a' has a text without an id\. Give"),
        (
            [make_passage(labels=["PER"])],
            r"text 't1' was asked PER, but the labels are LOC, ORG, PER\. Give the labels",
        ),
        ([make_passage(labels=[])], r"text 't1' was asked nothing, but"),
    ],
)
def test_run_that_cannot_be_is_refused(passages, match):
    with pytest.raises(ValueError, match=match):
        make_run("a", passages, {"not parseable": 3}, LABELS)


# Agreement


@pytest.mark.parametrize(
    "keep, share, kept",
    [
        ("primary", 0.5, [ADA, SOCIETY_AS_LOC]),
        ("all", 0.5, [ADA]),
        ("majority", 1.0, [ADA]),
        ("majority", 2 / 3, [ADA, SOCIETY]),
        ("majority", 1 / 3, [ADA, SOCIETY, LONDON]),  # of both labels of the society that of more runs
    ],
)
def test_mentions_are_kept_by_the_rule(keep, share, kept):
    runs = make_runs(
        [make_passage(ADA, SOCIETY_AS_LOC)], [make_passage(ADA, SOCIETY)], [make_passage(ADA, SOCIETY, LONDON)]
    )
    (passage,), step = agree(runs, keep, share)
    assert places(passage) == kept
    assert (step.n_mentions, step.n_mentions_left) == (4, len(kept))
    assert sum(loss.n_mentions for loss in step.losses.values()) == 4 - len(kept)


def test_score_is_the_share_of_runs():
    runs = make_runs([make_passage(ADA)], [make_passage(ADA)], [make_passage(ADA, LONDON)])
    (passage,), _ = agree(runs, "majority", 0.3)
    assert [mention.score for mention in passage.mentions] == [1.0, pytest.approx(1 / 3)]


def test_of_overlapping_mentions_with_equal_votes_that_of_the_earlier_run_stays():
    runs = make_runs([make_passage(ROYAL)], [make_passage(SOCIETY)])
    (passage,), step = agree(runs, "majority", 0.5)
    assert places(passage) == [ROYAL]
    assert lost(step) == {"overlaps a mention that was kept": (0, 1)}


@pytest.mark.parametrize(
    "keep, share, sources, losses",
    [
        ("primary", 0.5, ["t1", "t2"], {"not annotated by the primary run": (1, 2), "not in the primary run": (0, 1)}),
        ("all", 0.5, ["t1"], {"annotated by too few runs": (2, 3), "in too few runs": (0, 1)}),
        ("majority", 0.5, ["t1", "t2", "t3"], {}),
        ("majority", 0.6, ["t1"], {"annotated by too few runs": (2, 3), "in too few runs": (0, 1)}),
    ],
)
def test_texts_that_a_run_lacks_are_left_out_by_the_rule(keep, share, sources, losses):
    runs = make_runs(
        [make_passage(ADA, source="t1"), make_passage(ADA, source="t2")],
        [make_passage(ADA, LONDON, source="t1"), make_passage(SOCIETY, LONDON, source="t3")],
    )
    kept, step = agree(runs, keep, share)
    assert [passage.source for passage in kept] == sources
    assert lost(step) == losses


def test_runs_with_other_words_under_one_id_are_refused():
    runs = make_runs([make_passage(ADA)], [make_passage(ADA, words=[*TEXT, "!"])])
    with pytest.raises(ValueError, match=r"Text 't1' has other words in run 'b' than in 'a'\. Annotate the same texts"):
        agree(runs, "primary", 0.5)


def test_agreement_is_f1_by_label_on_the_texts_that_both_annotated():
    runs = make_runs(
        [make_passage(ADA, SOCIETY), make_passage(ADA, source="t2"), make_passage(ADA, source="t3")],
        [make_passage(ADA, SOCIETY_AS_LOC), make_passage(source="t2")],
    )
    (measured,) = measure_agreement(runs, LABELS)
    assert (measured.runs, measured.n_texts) == (("a", "b"), 2)
    assert {label: (s.tp, s.fp, s.fn) for label, s in measured.scores.items()} == {
        "PER": (1, 1, 0),
        "ORG": (0, 1, 0),
        "LOC": (0, 0, 1),
    }
    assert measured.scores["PER"].fscore == pytest.approx(2 / 3)
    assert count_by_votes(runs) == {1: 3, 2: 1}


def test_agreement_is_measured_for_each_pair():
    runs = make_runs([make_passage(ADA)], [make_passage(ADA)], [make_passage(LONDON)])
    assert [(m.runs, m.scores["PER"].fscore) for m in measure_agreement(runs, LABELS)] == [
        (("a", "b"), pytest.approx(1.0)),
        (("a", "c"), 0.0),
        (("b", "c"), 0.0),
    ]


# Filters


def test_texts_are_filtered_by_length_and_once_each():
    passages = [
        make_passage(ADA, LONDON, source="t1"),
        make_passage(ADA, source="t2"),
        make_passage(source="t3", words=["Hm"]),
        make_passage(ADA, source="t4", words=["Ada", "Lovelace"] * 9),
        make_passage(source="t5", words=["Ada", "won", "."]),
        make_passage(source="t6", words=["Ada", "won."]),  # the same characters, cut in another way
    ]
    kept, step = filter_texts(passages, min_words=2, max_words=10)
    assert [passage.source for passage in kept] == ["t1", "t5"]
    assert lost(step) == {"the same text as another": (2, 1), "too short": (1, 0), "too long": (1, 1)}
    assert step.losses["the same text as another"].examples == ["t2", "t6"]


@pytest.mark.parametrize(
    "before, surface, reason",
    [
        ("", "Ada Lovelace", ""),
        ("", "a b c d", ""),
        ("", "a b c d e", "longer than 4 words"),
        ("", "— …", "no letter or digit"),
        ("", "$ 5", ""),
        ("and", "he", "pronouns or determiners only"),
        ("", "She herself", "pronouns or determiners only"),
        ("said :", "The other", "pronouns or determiners only"),
        ("so", "I", "pronouns or determiners only"),
        ("", "A", "pronouns or determiners only"),
        ("", "US", ""),
        ("", "us", "pronouns or determiners only"),
        ("", "It Ends", ""),
        ("met", "An", ""),  # a name
        ("", "An", "pronouns or determiners only"),  # what cannot be told apart is counted, and shown as an example
        ("", "The Who", ""),
    ],
)
def test_mentions_that_are_none_are_told_by_their_words(before, surface, reason):
    words = [*before.split(), *surface.split(), "won"]
    assert judge(words, Mention(len(before.split()), len(words) - 1, "PER"), max_words=4) == reason


def test_text_whose_mentions_are_all_filtered_stays():
    passages = [make_passage((0, 1, "PER"), words=["She", "won"])]
    (kept,), step = filter_mentions(passages, 12)
    assert kept.mentions == ()
    assert kept.types == LABELS
    assert step.losses["pronouns or determiners only"].examples == ["She (PER) in t1"]


def make_contradictory() -> list[Passage]:
    """Make four texts in which the society is ORG three times and LOC once."""
    passages = [make_passage(ADA, SOCIETY, LONDON, source=f"t{n}", words=[*TEXT, str(n)]) for n in range(3)]
    return [*passages, make_passage(ADA, SOCIETY_AS_LOC, source="t3", words=[*TEXT, "3"])]


def test_surface_form_that_mostly_has_one_label_is_reported():
    (found,) = find_contradictions(make_contradictory())
    assert (found.surface, found.label, found.n_mentions, found.others) == ("Royal Society", "ORG", 3, {"LOC": ["t3"]})


@pytest.mark.parametrize("n_texts", [2, 3])
def test_surface_form_without_a_strong_majority_is_not(n_texts):
    assert find_contradictions(make_contradictory()[-n_texts:]) == []


def test_contradicted_texts_are_dropped_only_if_asked():
    runs = make_runs(make_contradictory())
    assert len(curate(runs, LABELS, Settings()).corpus) == 4
    curation = curate(runs, LABELS, Settings(drop_contradicted=True))
    assert [passage.source for passage in curation.corpus] == ["t0", "t1", "t2"]
    assert lost(curation.steps[-1]) == {"a surface form with another label than in most texts": (1, 2)}
    assert len(curation.contradictions) == 1  # those found, dropped or not


# Quality


def test_quality_has_scores_by_label_and_errors_by_kind():
    gold = [make_passage(ADA, SOCIETY, LONDON), make_passage(source="gold only", words=["Other", "text"])]
    found = [
        make_passage((0, 1, "PER"), SOCIETY_AS_LOC, (8, 9, "ORG")),
        make_passage(ADA, source="t2", words=["Ada", "Lovelace", "won"]),
    ]
    quality = measure_quality("a", gold, found, LABELS)
    assert (quality.name, quality.n_texts, quality.n_without_gold) == ("a", 1, 1)
    assert quality.errors == {"wrong label": 1, "wrong boundary": 1, "missed": 1, "made up": 1}
    assert quality.confusions == {("ORG", "LOC"): 1}
    assert {label: (s.tp, s.fp, s.fn) for label, s in quality.scores.items()} == {
        "PER": (0, 1, 1),
        "ORG": (0, 1, 1),
        "LOC": (0, 1, 1),
    }


def test_gold_that_was_cut_into_other_words_is_found():
    gold = [make_passage((0, 1, "PER"), (1, 2, "LOC"), words=["Ada-Maria", "London."], source="g")]
    found = [make_passage((0, 3, "PER"), (3, 4, "LOC"), words=["Ada", "-", "Maria", "London", "."], source="t")]
    scores = measure_quality("a", gold, found, LABELS).scores
    assert (scores["PER"].tp, scores["PER"].fp) == (1, 0)
    assert (scores["LOC"].tp, scores["LOC"].fp, scores["LOC"].fn) == (0, 1, 1)  # "London." is not "London"


def test_each_mention_is_one_error():
    gold, found = {(0, 5, "PER"), (2, 9, "PER")}, {(1, 6, "PER"), (0, 5, "LOC")}
    errors = sort_errors(gold, found)
    assert errors.wrong_label == (((0, 5, "PER"), (0, 5, "LOC")),)
    assert errors.wrong_boundary == (((2, 9, "PER"), (1, 6, "PER")),)
    assert (errors.missed, errors.made_up) == ((), ())


def test_report_has_no_score_where_there_is_nothing_to_score():
    scores = report_scores({"PER": PRFScore(tp=3, fp=1), "ORG": PRFScore(), "LOC": PRFScore(fn=2)})
    assert scores["ORG"]["f1"] is scores["ORG"]["precision"] is scores["LOC"]["precision"] is None
    assert scores["LOC"]["f1"] == 0.0
    assert (scores["PER"]["precision"], scores["PER"]["recall"], scores["PER"]["f1"]) == (0.75, 1.0, 0.8571)
    assert (scores["all"]["correct"], scores["all"]["not gold"], scores["all"]["not annotated"]) == (3, 1, 2)


@pytest.mark.parametrize(
    "gold, match",
    [
        ([], r"g.spacy has no mention in 0 texts\. Give a file with gold"),
        ([make_passage()], r"g.spacy has no mention in 1 texts"),
        (
            [make_passage((0, 1, "DATE"), labels=["DATE"])],
            r"g.spacy has mentions of DATE, but the labels are LOC, ORG, PER\. Give gold of the same labels",
        ),
        ([make_passage(ROYAL, SOCIETY)], r"g.spacy, text 't1' has mentions that overlap"),
    ],
)
def test_gold_that_cannot_be_measured_against_is_refused(gold, match):
    with pytest.raises(ValueError, match=match):
        check_gold("g.spacy", gold, LABELS)


def test_gold_of_fewer_labels_is_asked_all():
    (passage,) = check_gold("g.spacy", [make_passage(ADA, labels=["PER"])], LABELS)
    assert passage.types == LABELS


def test_gold_of_other_texts_is_refused():
    with pytest.raises(
        ValueError, match=r"None of the 1 texts of 'a' is among the 1 gold texts\. Give gold of the same"
    ):
        measure_quality("a", [make_passage(ADA, words=["Ada", "won"])], [make_passage(ADA)], LABELS)


# The whole way

WORDS = ("Ada", "Rome", "she", "—", "Acme", "the")


@st.composite
def draw_runs(draw):
    """Draw up to three runs of up to six texts of three to eight words, in which mentions may overlap."""
    texts = draw(st.lists(st.lists(st.sampled_from(WORDS), min_size=3, max_size=8), min_size=1, max_size=6))
    runs = []
    for _ in range(draw(st.integers(1, 3))):
        passages = []
        for n, words in enumerate(texts):
            if draw(st.booleans()) or n == 0:
                place = st.tuples(st.integers(0, 7), st.integers(1, 3), st.sampled_from(LABELS))
                drawn = draw(st.lists(place, max_size=5))
                mentions = [(start, start + n, label) for start, n, label in drawn if start + n <= len(words)]
                passages.append(make_passage(*mentions, source=f"t{n}", words=words))
        runs.append(passages)
    return make_runs(*runs)


@given(draw_runs(), st.sampled_from(["primary", "all", "majority"]), st.booleans())
def test_counts_add_up_from_the_runs_to_the_corpus(runs, keep, drop):
    settings = Settings(keep=keep, max_mention_words=2, min_words=4, drop_contradicted=drop, dev_share=0.3)
    try:
        curation = curate(runs, LABELS, settings)
    except ValueError as err:
        assert re.match("No (text|mention of .*) is left", str(err))  # noqa: PT017
        return
    report = make_report(curation)
    for step in (*report["runs"], *report["steps"]):
        for thing in ("texts", "mentions"):
            n_lost = sum(loss[thing] for loss in step["lost"].values())
            assert step[thing] - n_lost == step[f"{thing} left"] >= 0
    for before, after in pairwise(report["steps"]):
        assert (before["texts left"], before["mentions left"]) == (after["texts"], after["mentions"])
    last = report["steps"][-1]
    parts = report["corpus"]["train"], report["corpus"]["dev"]
    for thing in ("texts", "mentions"):
        assert last[f"{thing} left"] == sum(part[thing] for part in parts)
    for part in parts:
        assert sum(part["mentions by label"].values()) == part["mentions"]
    first = report["steps"][0]
    assert first["texts"] == len({passage.source for run in runs for passage in run.passages})
    every = {(p.source, *place) for run in runs for p in run.passages for place in places(p)}
    assert first["mentions"] == len(every)
    assert all(len(places_of(p)) == len(p.mentions) for p in curation.corpus)
    for passage in curation.corpus:
        assert all(left.end <= right.start for left, right in pairwise(passage.mentions))


def make_large(n_texts: int = 20) -> list[Passage]:
    return [make_passage(ADA, SOCIETY, LONDON, source=f"t{n:02}", words=[*TEXT, str(n)]) for n in range(n_texts)]


def test_dev_is_a_seeded_share_and_both_parts_are_sorted():
    runs = make_runs(make_large()[::-1])
    curation = curate(runs, LABELS, Settings(dev_share=0.2, seed=1))
    train, dev = ([p.source for p in part] for part in (curation.train, curation.dev))
    assert (len(train), len(dev)) == (16, 4)
    assert train == sorted(train)
    assert dev == sorted(dev)
    assert sorted(train + dev) == [p.source for p in curation.corpus] == [f"t{n:02}" for n in range(20)]
    assert curate(runs, LABELS, Settings(dev_share=0.2, seed=1)).dev == curation.dev
    assert curate(runs, LABELS, Settings(dev_share=0.2, seed=2)).dev != curation.dev
    assert len(curate(runs, LABELS, Settings(dev_share=0.001)).dev) == 1
    assert curate(runs, LABELS, Settings()).dev == ()


def test_corpus_of_what_was_kept_is_held_against_gold_too():
    runs = make_runs([make_passage(ADA, ROYAL)], [make_passage(ADA, SOCIETY, LONDON)])
    gold = [make_passage(ADA, SOCIETY, LONDON)]
    with pytest.raises(ValueError, match=r"No mention of LOC, ORG is left in the 1 texts to train on\. Lost were: 0"):
        curate(runs, LABELS, Settings(), gold)
    curation = curate(runs[::-1], LABELS, Settings(), gold)
    assert [quality.name for quality in curation.quality] == ["b", "a", "the corpus"]
    assert [report_scores(quality.scores)["all"]["f1"] for quality in curation.quality] == [1.0, 0.4, 1.0]


def test_runs_of_other_texts_are_compared_on_those_they_share():
    runs = make_runs(
        [make_passage(ADA, SOCIETY, LONDON), make_passage(ADA, source="t2", words=[*TEXT, "!"])],
        [make_passage(ADA, SOCIETY)],
    )
    gold = [make_passage(ADA, SOCIETY, LONDON), make_passage(LONDON, words=[*TEXT, "!"])]
    curation = curate(runs, LABELS, Settings(), gold)
    assert [(q.name, q.n_texts, report_scores(q.scores)["all"]["f1"]) for q in curation.quality] == [
        ("a", 2, 0.75),
        ("b", 1, 0.8),
        ("a, shared texts", 1, 1.0),
        ("b, shared texts", 1, 0.8),
        ("the corpus", 2, 0.75),
    ]


def test_texts_that_runs_share_may_have_no_gold():
    runs = make_runs(
        [make_passage(ADA, SOCIETY, LONDON), make_passage(ADA, source="t2", words=["Ada", "won"])],
        [make_passage(ADA, source="t2", words=["Ada", "won"]), make_passage(source="t3", words=["No", "one"])],
    )
    gold = [make_passage(ADA, SOCIETY, LONDON), make_passage(source="t3", words=["No", "one"])]
    curation = curate(runs, LABELS, Settings(), gold)
    assert [quality.name for quality in curation.quality] == ["a", "b", "the corpus"]


def test_nothing_left_says_what_was_lost():
    with pytest.raises(
        ValueError, match=r"No text is left to train on, of 1\. Lost were: 1 texts and 1 mentions: too sh"
    ):
        curate(make_runs([make_passage(ADA)]), LABELS, Settings(min_words=50))


def test_label_without_mention_says_what_to_do():
    with pytest.raises(
        ValueError, match=r"No mention of LOC, ORG is left in the 1 texts .* none\. Annotate texts that"
    ):
        curate(make_runs([make_passage(ADA)]), LABELS, Settings())


@pytest.mark.parametrize(
    "settings, match",
    [
        ({"keep": "some"}, r"keep must be 'primary', 'all' or 'majority', got 'some'"),
        ({"share": 0.0}, r"share of runs must be in \(0, 1\] and that of dev in \[0, 1\), got 0.0 and 0.0"),
        ({"share": 1.1}, r"got 1.1 and"),
        ({"dev_share": 1.0}, r"got 0.5 and 1.0"),
        ({"max_mention_words": 0}, r"Lengths in words need .* got 0, 1 and 1000"),
        ({"min_words": 9, "max_words": 8}, r"got 12, 9 and 8"),
        ({"min_words": 0}, r"got 12, 0 and 1000"),
    ],
)
def test_setting_out_of_its_range_is_refused(settings, match):
    with pytest.raises(ValueError, match=match):
        Settings(**settings)


def test_report_is_json_with_all_that_was_counted():
    runs = [make_run("a", [make_passage(ADA, SOCIETY, LONDON)], Counter({"not in the text": 2}), LABELS)]
    report = json.loads(json.dumps(make_report(curate(runs, LABELS, Settings(), [make_passage(ADA)]))))
    assert report["runs"][0]["losses of the reader"] == {"not in the text": 2}
    assert report["settings"]["max_mention_words"] == 12
    assert report["corpus"]["train"] == {
        "texts": 1,
        "texts without mention": 0,
        "words": 9,
        "mentions": 3,
        "mentions by label": {"LOC": 1, "ORG": 1, "PER": 1},
    }
    assert report["quality"][0]["errors"]["made up"] == 2
    assert report["agreement"] == []


# Files


def test_corpus_is_read_by_spacy_with_what_is_no_entity(tmp_path):
    write_docs([make_passage(ADA, LONDON), make_passage(source="t2", words=["Hm", "."])], tmp_path / "new" / "a.spacy")
    first, second = (example.reference for example in Corpus(tmp_path / "new" / "a.spacy")(spacy.blank("en")))
    assert [(ent.text, ent.label_) for ent in first.ents] == [("Ada Lovelace", "PER"), ("London", "LOC")]
    assert first.has_annotation("ENT_IOB", require_complete=True)
    assert second.has_annotation("ENT_IOB", require_complete=True)  # says that there is none
    docs = list(DocBin().from_disk(tmp_path / "new" / "a.spacy").get_docs(spacy.blank("en").vocab))
    assert [doc.user_data["source"] for doc in docs] == ["t1", "t2"]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("Ada's  mother\n(Annabella)", "Ada's  mother\n(Annabella)"),
        (None, "Ada 's   mother \n ( Annabella ) "),
    ],
)
def test_docs_have_the_white_space_of_the_text(tmp_path, nlp, text, expected):
    words = [token.text for token in nlp.make_doc("Ada's  mother\n(Annabella)")]
    write_docs([make_passage((0, 1, "PER"), words=words)], tmp_path / "a.spacy", {"t1": text} if text else {})
    (doc,) = DocBin().from_disk(tmp_path / "a.spacy").get_docs(nlp.vocab)
    assert doc.text == expected
    assert [ent.text for ent in doc.ents] == ["Ada"]


@pytest.mark.parametrize("text", ["Ada's father", "Ada's mother\n(Annabella)"])
def test_text_of_other_words_is_refused(tmp_path, nlp, text):
    words = [token.text for token in nlp.make_doc("Ada's  mother\n(Annabella)")]
    with pytest.raises(ValueError, match=r"Text 't1' is .* but its words are .* Give the text that was cut"):
        write_docs([make_passage(words=words)], tmp_path / "a.spacy", {"t1": text})


def test_bytes_are_the_same_in_every_process(tmp_path):
    code = (
        "import sys; sys.path.insert(0, sys.argv[2]); from test_curation import make_large, write_docs; "
        "from pathlib import Path; write_docs(make_large(), Path(sys.argv[1]))"
    )
    arguments = [sys.executable, "-c", code, str(tmp_path / "other.spacy"), str(Path(__file__).parent)]
    subprocess.run(arguments, check=True, env={**os.environ, "PYTHONHASHSEED": "1"})
    write_docs(make_large(), tmp_path / "this.spacy")
    assert (tmp_path / "this.spacy").read_bytes() == (tmp_path / "other.spacy").read_bytes()


def test_labels_are_read_by_spacy_as_if_taken_from_the_corpus(tmp_path):
    passages = make_large(3)
    write_docs(passages, tmp_path / "train.spacy")
    write_labels(passages, LABELS, tmp_path / "labels")
    read_labels = spacy.registry.readers.get("spacy.read_labels.v1")

    def make_ner(labels=None):
        nlp = spacy.blank("en")
        ner = nlp.add_pipe("ner")
        ner.initialize(lambda: list(Corpus(tmp_path / "train.spacy")(nlp)), nlp=nlp, labels=labels)
        return ner

    assert make_ner(read_labels(tmp_path / "labels" / "ner.json")).move_names == make_ner().move_names
    assert read_labels(tmp_path / "labels" / "universal_ner.json") == sorted(LABELS)


# The page


def render(*runs, gold=None, **settings) -> str:
    return render_page(curate(make_runs(*runs), LABELS, Settings(**settings), gold), gold)


def test_page_shows_texts_by_number_of_differences_and_no_others():
    everything = [ADA, SOCIETY, LONDON]
    left = [make_passage(*everything, source=f"t{n}", words=[*TEXT, str(n)]) for n in range(3)]
    right = [
        make_passage(ADA, SOCIETY, source="t0", words=[*TEXT, "0"]),
        make_passage(*everything, source="t1", words=[*TEXT, "1"]),
        make_passage(ADA, SOCIETY_AS_LOC, source="t2", words=[*TEXT, "2"]),
    ]
    page = render(left, right)
    assert re.findall(r"<h3>(.*?)</h3>", page) == ["t2: 3 differences", "t0: 1 difference"]
    assert "2 of 3 texts have mentions" in page
    assert re.findall(r'data-labels="(.*?)"', page) == ["[&quot;LOC&quot;, &quot;ORG&quot;]", "[&quot;LOC&quot;]"]
    assert re.findall(r"<dt>(.*?)</dt>", page) == ["a, kept", "b"] * 2


def test_page_frames_what_differs():
    page = render([make_passage(ADA, SOCIETY, LONDON)], [make_passage(ADA, SOCIETY_AS_LOC, LONDON)])
    framed = re.findall(r'<mark class="differs"[^>]*>(.*?)<b>(.*?)</b></mark>', page)
    plain = re.findall(r'<mark style="[^"]*">(.*?)<b>(.*?)</b></mark>', page)
    assert framed == [("Royal Society", "ORG"), ("Royal Society", "LOC")]
    assert plain == [("Ada Lovelace", "PER"), ("London", "LOC")] * 2


def test_gold_is_a_side_of_the_page_even_if_cut_into_other_words():
    gold = [make_passage((0, 2, "PER"), words=["Ada", "Lovelace", "met", "the", "RoyalSociety", "in", "London."])]
    page = render([make_passage(ADA, SOCIETY, LONDON)], gold=gold)
    assert re.findall(r"<dt>(.*?)</dt>", page) == ["a, kept", "gold"]
    assert "t1: 2 differences" in page
    assert "RoyalSociety" in page
    assert "Against gold" in page


def test_text_that_was_left_out_has_no_kept_side():
    page = render(
        [*make_large(2), make_passage(ADA, source="x", words=["Ada", "won"])],
        [*make_large(2), make_passage(source="x", words=["Ada", "won"])],
        min_words=5,
    )
    assert re.findall(r"<dt>(.*?)</dt>", page) == ["a", "b"]


def test_page_escapes_what_it_shows():
    words, labels = ["<script>alert(1)</script>", "&", '"x"'], ['<b a="1">']
    runs = [
        make_run("<i>", [make_passage((0, 1, labels[0]), (2, 3, labels[0]), words=words, labels=labels)], {}, labels),
        make_run("b", [make_passage((0, 2, labels[0]), words=words, labels=labels, source="t1")], {}, labels),
    ]
    page = render_page(curate(runs, labels, Settings()))
    assert page.count("<script>") == 1
    assert "alert(1)" in page
    assert "<i>" not in page
    assert '<b a="1">' not in page
    assert "http" not in page  # nothing from elsewhere


def test_page_of_one_run_without_gold_says_that_nothing_differs():
    page = render([make_passage(ADA, SOCIETY, LONDON)])
    assert "0 of 1 texts have mentions" in page
    assert "<article" not in page


# Gold from marks

MAP = ROOT / "assets" / "teacher" / "news_gold.yml"


def write_marked(path: Path, *records: dict) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf8")
    return path


def mark(text: str, *marks: tuple[str, str, str], id: str = "t1") -> dict:
    mentions = [
        {"start": text.index(s), "end": text.index(s) + len(s), "type": type_, "broad": broad}
        for s, type_, broad in marks
    ]
    return {"id": id, "text": text, "mentions": mentions, "absent": []}


@pytest.fixture(scope="module")
def nlp():
    return spacy.blank("en")


def test_marks_become_labels_where_they_are_names(tmp_path, nlp):
    record = mark(
        "Dr. Ada Byron, a doctor, reads Nature with police in Rome on Monday at Christmas.",
        ("Dr. Ada Byron", "physician", "person"),
        ("doctor", "medical profession", "job title"),
        ("Nature", "scientific journal", "creative work"),
        ("police", "law enforcement", "organization"),
        ("Rome", "location", "location"),
        ("Monday", "weekday", "date"),
        ("Christmas", "holiday", "date"),
    )
    path = write_marked(tmp_path / "marked.jsonl", record, mark("Rome is not asked.", id="other"))
    (passage,), step = derive_gold(path, read_label_map(MAP), {"t1": record["text"]}, nlp)
    surfaces = [(" ".join(passage.words[m.start : m.end]), m.type) for m in passage.mentions]
    assert surfaces == [("Ada Byron", "PER"), ("Nature", "ORG"), ("Rome", "LOC"), ("Christmas", "MISC")]
    assert passage.types == ("LOC", "MISC", "ORG", "PER")
    assert lost(step) == {"of no label": (0, 2), "no name: without a capital": (0, 1)}
    assert (step.n_mentions, step.n_mentions_left) == (7, 4)


@pytest.mark.parametrize(
    "text, reason",
    [
        ("rome fell", "upper and lower case say nothing"),
        ("Rome fell to the goths", "upper and lower case say nothing"),
        ("ROME FELL", "upper and lower case say nothing"),
        ("Rome fell  to Alaric", ""),
    ],
)
def test_texts_whose_case_says_nothing_are_left_out(tmp_path, nlp, text, reason):
    record = mark(text, (text[:4], "city", "location"))
    passages, step = derive_gold(write_marked(tmp_path / "m.jsonl", record), read_label_map(MAP), {"t1": text}, nlp)
    assert lost(step) == ({reason: (1, 1)} if reason else {})
    assert len(passages) == (0 if reason else 1)


def test_text_that_is_another_now_is_left_out(tmp_path, nlp):
    path = write_marked(tmp_path / "m.jsonl", mark("Rome fell to Alaric.", ("Rome", "city", "location")))
    passages, step = derive_gold(path, read_label_map(MAP), {"t1": "Rome fell to Odoacer."}, nlp)
    assert passages == []
    assert lost(step) == {"the corpus has another text of that id": (1, 1)}


def test_texts_of_another_corpus_are_refused(tmp_path, nlp):
    path = write_marked(tmp_path / "m.jsonl", mark("Rome fell."))
    with pytest.raises(ValueError, match=r"None of the 1 texts is in .*m.jsonl\. Give texts whose ids are of that"):
        derive_gold(path, read_label_map(MAP), {"x": "Rome fell."}, nlp)


def test_broad_type_that_the_map_lacks_is_refused(tmp_path, nlp):
    path = write_marked(tmp_path / "m.jsonl", mark("It is Rome.", ("Rome", "city", "place")))
    with pytest.raises(ValueError, match=r"Broad type 'place' of text 't1' is in no list of the label map\. Add it"):
        derive_gold(path, read_label_map(MAP), {"t1": "It is Rome."}, nlp)


@pytest.mark.parametrize(
    "content, match",
    [
        ("broad: {PER: [person]}", r"map.yml is no label map \(KeyError: 'specific'\)\. Expected broad and specific"),
        ("- person", r"map.yml is no label map \(TypeError"),
        ("{broad: [person], specific: {}, titles: []}", r"map.yml is no label map \(AttributeError"),
        (
            "{broad: {PER: [a], ORG: [a]}, specific: {}, titles: []}",
            r"'a' is PER and ORG\. Leave it in one of the lists",
        ),
    ],
)
def test_map_of_another_form_is_refused(tmp_path, content, match):
    (tmp_path / "map.yml").write_text(content, encoding="utf8")
    with pytest.raises(ValueError, match=match):
        read_label_map(tmp_path / "map.yml")


def test_gold_of_the_news_texts_has_the_counts_that_the_docs_state(tmp_path, nlp):
    texts = {text.id: text.text for text in read_texts(ROOT / "assets" / "teacher" / "news" / "texts.jsonl")}
    lines = (ROOT / "assets" / "corpus" / "passages.jsonl").read_text(encoding="utf8").splitlines()
    marked = [record for record in map(json.loads, lines) if record["id"] in texts]  # the rest takes long to read
    passages, step = derive_gold(write_marked(tmp_path / "marked.jsonl", *marked), read_label_map(MAP), texts, nlp)
    assert len(texts) == step.n_texts == 223
    assert lost(step) == {
        "no name: without a capital": (0, 168),
        "of no label": (0, 850),
        "the corpus has another text of that id": (3, 15),
        "upper and lower case say nothing": (14, 174),
    }
    assert (len(passages), count_mentions(passages)) == (206, 1132)
