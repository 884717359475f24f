"""The one record: what it refuses, and that it comes back from JSONL as it went."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_uniner.passages import (
    Mention,
    Passage,
    passage_from_dict,
    passage_to_dict,
    read_passages,
    write_passages,
)

APOLLO = Passage(
    words=("Apollo", "11", "left", "Florida", "."),
    types=("space mission", "mission", "state", "person"),
    mentions=(Mention(0, 2, "space mission"), Mention(0, 2, "mission", 0.25), Mention(3, 4, "state", 0.1)),
    unknown=(Mention(3, 4, "mission"),),
    source="news/17",
)
RECORD = {"words": ["Apollo", "11"], "types": ["mission"], "mentions": [[0, 2, "mission"]]}


@st.composite
def passages(draw: st.DrawFn) -> Passage:
    """Make passages of any words and types that hold together."""
    words = draw(st.lists(st.text(), max_size=6))
    types = draw(st.lists(st.text(min_size=1).filter(str.strip), max_size=4, unique=True))

    def draw_mentions() -> tuple[Mention, ...]:
        if not words or not types:
            return ()
        starts = draw(st.lists(st.integers(0, len(words) - 1), max_size=4))
        return tuple(
            Mention(
                start,
                draw(st.integers(start + 1, len(words))),
                draw(st.sampled_from(types)),
                draw(st.floats(0, 1)),
            )
            for start in starts
        )

    return Passage(tuple(words), tuple(types), draw_mentions(), draw_mentions(), draw(st.text()))


# Mention


@pytest.mark.parametrize("start, end", [(-1, 1), (2, 2), (3, 2), (-2, -1)])
def test_mention_needs_a_run_of_words(start, end):
    with pytest.raises(ValueError, match=rf"Mention 'state' needs 0 <= start < end, got \[{start}, {end}\)"):
        Mention(start, end, "state")


@pytest.mark.parametrize("type_", ["", " ", "\t\n"])
def test_mention_needs_a_type(type_):
    with pytest.raises(ValueError, match=r"Mention \[0, 2\) has a blank type. Name the type"):
        Mention(0, 2, type_)


@pytest.mark.parametrize("score", [-0.01, 1.01, float("nan"), float("inf")])
def test_mention_needs_a_probability_as_score(score):
    with pytest.raises(ValueError, match=rf"Mention 'state' needs a score in \[0, 1\], got {score}"):
        Mention(0, 2, "state", score)


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_mention_may_be_impossible_or_certain(score):
    assert Mention(0, 2, "state", score).score == score


def test_mention_is_gold_unless_it_has_a_score():
    assert Mention(0, 2, "state").score == 1.0


def test_equal_mentions_are_one_in_a_set():
    assert len({Mention(0, 2, "state"), Mention(0, 2, "state", 1.0), Mention(0, 2, "state", 0.9)}) == 2


def test_records_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        APOLLO.mentions[0].start = 1  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        APOLLO.words = ()  # type: ignore[misc]


# Passage


def test_passage_asks_each_type_once():
    with pytest.raises(ValueError, match=r"A passage asks types twice: city, state. Ask each type once."):
        Passage(("Ohio",), ("state", "city", "state", "river", "city"))


def test_passage_asks_no_blank_type():
    with pytest.raises(ValueError, match=r"A passage asks a blank type. Name it, or leave it out."):
        Passage(("Ohio",), ("state", " "))


@pytest.mark.parametrize("field", ["mentions", "unknown"])
def test_passage_marks_only_types_that_were_asked(field):
    with pytest.raises(ValueError, match=r"A passage: mention type 'river' was not asked. Asked: state, city."):
        Passage(("Ohio",), ("state", "city"), **{field: (Mention(0, 1, "river"),)})


def test_passage_that_asks_nothing_says_so():
    with pytest.raises(ValueError, match=r"mention type 'river' was not asked. Asked: nothing."):
        Passage(("Ohio",), mentions=(Mention(0, 1, "river"),))


@pytest.mark.parametrize("field", ["mentions", "unknown"])
def test_passage_marks_only_its_own_words(field):
    with pytest.raises(
        ValueError, match=r"mention 'state' \[1, 3\) ends behind the last word; the passage has 2 words"
    ):
        Passage(("in", "Ohio"), ("state",), **{field: (Mention(1, 3, "state"),)})


def test_passage_names_its_source_when_it_is_wrong():
    with pytest.raises(ValueError, match=r"^Passage 'news/17' asks a blank type"):
        Passage(("Ohio",), ("",), source="news/17")


def test_passage_may_be_empty():
    assert Passage(()) == Passage((), (), (), (), "")


def test_run_of_words_may_have_several_types():
    assert [mention.type for mention in APOLLO.mentions if mention.end == 2] == ["space mission", "mission"]


@pytest.mark.parametrize(
    "other",
    [
        Passage(("Ohio", "!"), ("state",), (Mention(0, 1, "state"),)),
        Passage(("Ohio",), ("state", "river"), (Mention(0, 1, "state"),)),
        Passage(("Ohio",), ("state",)),
        Passage(("Ohio",), ("state",), (Mention(0, 1, "state", 0.5),)),
        Passage(("Ohio",), ("state",), (Mention(0, 1, "state"),), (Mention(0, 1, "state"),)),
        Passage(("Ohio",), ("state",), (Mention(0, 1, "state"),), source="news/17"),
    ],
)
def test_passages_are_equal_if_all_of_their_fields_are(other):
    passage = Passage(("Ohio",), ("state",), (Mention(0, 1, "state"),))
    assert passage == Passage(("Ohio",), ("state",), (Mention(0, 1, "state"),))
    assert hash(passage) == hash(Passage(("Ohio",), ("state",), (Mention(0, 1, "state"),)))
    assert passage != other


# Dicts


def test_passage_becomes_what_json_can_hold():
    assert passage_to_dict(APOLLO) == {
        "words": ["Apollo", "11", "left", "Florida", "."],
        "types": ["space mission", "mission", "state", "person"],
        "mentions": [[0, 2, "space mission", 1.0], [0, 2, "mission", 0.25], [3, 4, "state", 0.1]],
        "unknown": [[3, 4, "mission", 1.0]],
        "source": "news/17",
    }


def test_dict_leaves_out_what_is_empty_and_may_be():
    assert passage_to_dict(Passage(())) == {"words": [], "types": [], "mentions": []}


def test_mention_without_score_is_gold():
    assert passage_from_dict(RECORD).mentions == (Mention(0, 2, "mission", 1.0),)


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"words": None}, "TypeError: expected a list, got None"),
        ({"words": "Apollo 11"}, "TypeError: expected a list, got 'Apollo 11'"),  # not the words A, p, o, …
        ({"words": ["Apollo", 11]}, "TypeError: expected a string, got 11"),
        ({"types": "mission"}, "TypeError: expected a list, got 'mission'"),
        ({"types": [["mission"]]}, r"TypeError: expected a string, got \['mission'\]"),
        ({"mentions": {"mission": [0, 2]}}, "TypeError: expected a list, got {'mission'"),
        ({"mentions": [{"start": 0}]}, "TypeError: expected a list, got {'start': 0}"),
        ({"mentions": [[0, 2]]}, r"TypeError: expected a mention, got \[0, 2\]"),
        ({"mentions": [["0", 2, "mission"]]}, r"TypeError: expected a mention, got \['0', 2, 'mission'\]"),
        ({"mentions": [[0.0, 2, "mission"]]}, r"TypeError: expected a mention, got \[0.0, 2, 'mission'\]"),
        ({"mentions": [[0, 2, 5]]}, r"TypeError: expected a mention, got \[0, 2, 5\]"),
        ({"mentions": [[0, 2, "mission", "sure"]]}, "TypeError: '<=' not supported"),
        ({"mentions": [[0, 2, "mission", 1.0, "sure"]]}, "TypeError: .*positional arguments"),
        ({"unknown": None}, "TypeError: expected a list, got None"),
        ({"source": 17}, "TypeError: expected a string, got 17"),
    ],
)
def test_field_of_another_form_is_no_passage(change, reason):
    with pytest.raises(ValueError, match=f"Not a passage: {reason}.*Expected the fields words, types and mentions"):
        passage_from_dict({**RECORD, **change})


@pytest.mark.parametrize("field", ["words", "types", "mentions"])
def test_missing_field_is_named(field):
    record = {name: value for name, value in RECORD.items() if name != field}
    with pytest.raises(ValueError, match=f"Not a passage: KeyError: '{field}'. Expected the fields words, types"):
        passage_from_dict(record)


def test_dict_that_contradicts_itself_is_no_passage():
    with pytest.raises(ValueError, match=r"mention type 'mission' was not asked. Asked: person."):
        passage_from_dict({**RECORD, "types": ["person"]})


@given(passages())
def test_passage_comes_back_from_a_dict(passage):
    assert passage_from_dict(passage_to_dict(passage)) == passage


# JSONL


def test_passages_come_back_from_jsonl(tmp_path):
    path = tmp_path / "passages.jsonl"
    written = [APOLLO, Passage(()), Passage(("Zoë", "日本", "🚀"), ("person",))]
    assert write_passages(written, path) == 3
    assert list(read_passages(path)) == written


@given(st.lists(passages(), max_size=3))
def test_any_passages_come_back_from_jsonl_whatever_signs_are_in_them(tmp_path_factory, written):
    path = tmp_path_factory.mktemp("any") / "passages.jsonl"
    assert write_passages(written, path) == len(written)
    assert list(read_passages(path)) == written


@pytest.mark.parametrize("end_of_line", ["\n", "\r", "\r\n", "\x0b", "\x1c", "\x85", "\u2028", "\u2029", "\x00"])
def test_sign_that_may_end_a_line_stays_within_its_word(tmp_path, end_of_line):
    path = tmp_path / "passages.jsonl"
    passage = Passage((f"a{end_of_line}b", end_of_line), (f"c{end_of_line}d",))
    write_passages([passage, passage], path)
    assert list(read_passages(path)) == [passage, passage]


def test_jsonl_has_a_passage_a_line_as_people_read_it(tmp_path):
    path = tmp_path / "passages.jsonl"
    write_passages([Passage(("Zoë",)), Passage(("日本",))], path)
    assert path.read_bytes().decode("utf8") == (
        '{"words": ["Zoë"], "types": [], "mentions": []}\n{"words": ["日本"], "types": [], "mentions": []}\n'
    )


def test_writing_no_passages_gives_an_empty_file(tmp_path):
    path = tmp_path / "passages.jsonl"
    assert write_passages([], path) == 0
    assert path.read_bytes() == b""
    assert list(read_passages(path)) == []


def test_writing_replaces_what_was_there(tmp_path):
    path = tmp_path / "passages.jsonl"
    write_passages([APOLLO, APOLLO], path)
    write_passages([APOLLO], path)
    assert list(read_passages(path)) == [APOLLO]


def test_reading_passes_over_blank_lines_and_minds_no_end_of_line(tmp_path):
    path = tmp_path / "passages.jsonl"
    line = json.dumps(RECORD).encode("utf8")
    path.write_bytes(b"\n" + line + b"\r\n  \t\n\r\n" + line)  # no end of line at the end
    assert list(read_passages(path)) == [passage_from_dict(RECORD)] * 2


@pytest.mark.parametrize(
    "line, reason",
    [
        (b"{", "Expecting property name"),
        (b'{"words": ["a"], "types": [], "mentions": []} {}', "Extra data"),
        (b'{"words": ["\xff"], "types": [], "mentions": []}', "'utf-8' codec can't decode byte 0xff"),
        (b"[]", "Not a passage: a JSON list, expected an object."),
        (b"null", "Not a passage: a JSON NoneType, expected an object."),
        (b'{"types": [], "mentions": []}', "Not a passage: KeyError: 'words'. Expected the fields"),
        (b'{"words": "a", "types": [], "mentions": []}', "Not a passage: TypeError: expected a list, got 'a'."),
        (b'{"words": [], "types": ["a", "a"], "mentions": []}', "A passage asks types twice: a."),
        (b'{"words": [], "types": [" "], "mentions": []}', "A passage asks a blank type."),
        (b'{"words": [], "types": ["a"], "mentions": [[0, 1, "a"]]}', "ends behind the last word"),
        (b'{"words": ["b"], "types": ["a"], "mentions": [[0, 0, "a"]]}', "needs 0 <= start < end"),
        (b'{"words": ["b"], "types": ["a"], "mentions": [[0, 1, "a", NaN]]}', "got nan"),
    ],
)
def test_line_that_is_no_passage_is_named_with_its_file(tmp_path, line, reason):
    path = tmp_path / "news.jsonl"
    path.write_bytes(json.dumps(RECORD).encode("utf8") + b"\n\n" + line + b"\n")
    with pytest.raises(ValueError, match=rf"news\.jsonl, line 3: .*{reason}"):
        list(read_passages(path))


def test_reading_is_lazy(tmp_path):
    path = tmp_path / "news.jsonl"
    path.write_text(json.dumps(RECORD) + "\nnot JSON\n", encoding="utf8")
    found = read_passages(path)
    assert next(found) == passage_from_dict(RECORD)
    with pytest.raises(ValueError, match=r"news\.jsonl, line 2"):
        next(found)


def test_missing_file_is_said_by_its_name(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.jsonl"):
        next(read_passages(tmp_path / "nowhere.jsonl"))
