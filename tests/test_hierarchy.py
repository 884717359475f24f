"""What one type name says about another."""

from __future__ import annotations

import pytest

from spacy_uniner.hierarchy import Hierarchy, read_hierarchy
from spacy_uniner.passages import Mention, Passage

HIERARCHY = Hierarchy(
    same={"city": ("town",), "physicist": ()},
    wider={
        "city": ("settlement", "place"),
        "village": ("settlement", "place"),
        "physicist": ("scientist", "person"),
        "chemist": ("scientist",),
        "scientist": ("person",),
    },
    broad={
        name: frozenset({broad})
        for broad, names in {
            "location": ("city", "town", "settlement", "place", "village", "river"),
            "person": ("physicist", "scientist", "person", "chemist", "guitarist", "actor"),
        }.items()
        for name in names
    },
)


def test_names_of_a_type_are_its_own_the_same_and_the_wider():
    assert HIERARCHY.names("city") == {"city", "town", "settlement", "place"}
    assert HIERARCHY.names("unheard of") == {"unheard of"}


@pytest.mark.parametrize(
    "asked, marked, verdict",
    [
        ("city", ("city", "location"), "yes"),
        ("town", ("city", "location"), "yes"),  # the same
        ("place", ("city", "location"), "yes"),  # wider
        ("location", ("city", "location"), "yes"),  # the broad type
        ("scientist", ("guitarist", "physicist", "person"), "yes"),  # a name of a later mark
        ("physicist", ("scientist", "person"), "unknown"),  # narrower
        ("capital city", ("city", "location"), "unknown"),  # one name contains the other
        ("technology company", ("company", "organization"), "unknown"),
        ("company", ("technology company", "organization"), "unknown"),
        ("actor", ("guitarist", "person"), "unknown"),  # both persons, nothing is known of guitarists
        ("river", ("city", "location"), "no"),  # both locations, but of cities the wider names are known
        ("actor", ("physicist", "person"), "no"),
        ("actor", ("guitarist", "musician"), "no"),  # under another broad type
        ("person", ("city", "location"), "no"),
        ("unheard of", ("guitarist", "person"), "no"),
        ("actor", ("person",), "unknown"),  # marked by the broad type alone; some persons are actors
    ],
)
def test_verdict_follows_what_is_known_of_both_names(asked, marked, verdict):
    assert HIERARCHY.judge(asked, marked) == verdict


def test_siblings_share_the_nearest_wider_name():
    assert HIERARCHY.siblings("city") == {"village"}
    assert HIERARCHY.siblings("physicist") == {"chemist"}
    assert HIERARCHY.siblings("unheard of") == frozenset()


def test_another_name_of_a_type_is_no_sibling():
    hierarchy = Hierarchy(same={"city": ("town",)}, wider={"city": ("place",), "town": ("place",), "lake": ("place",)})
    assert hierarchy.siblings("city") == {"lake"}


# Reading


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "types.tsv"
    path.write_text(
        "type\tsame\twider\n"
        "city\ttown; municipality\tsettlement; place\n"
        "comet\t\tcelestial body\n"
        "lake\t\tcomet; body of water\n"
        "river\t\t\n",
        encoding="utf8",
    )
    return path


def test_table_gives_same_and_wider_names_in_their_order(table):
    hierarchy = read_hierarchy(table, [])
    assert hierarchy.same == {"city": ("town", "municipality"), "comet": (), "lake": (), "river": ()}
    assert hierarchy.wider["city"] == ("settlement", "place")
    assert hierarchy.wider["lake"] == ("comet", "body of water")
    assert hierarchy.wider["river"] == ()


def test_type_left_out_is_known_neither_by_itself_nor_as_a_name(table):
    hierarchy = read_hierarchy(table, [], without=frozenset({"comet", "town"}))
    assert "comet" not in hierarchy.wider
    assert hierarchy.wider["lake"] == ("body of water",)
    assert hierarchy.same["city"] == ("municipality",)


def test_passages_tell_the_broad_types_of_all_names(table):
    mentions = (
        Mention(0, 1, "city"),
        Mention(0, 1, "location"),
        Mention(1, 3, "river"),
        Mention(1, 3, "location"),
        Mention(3, 4, "guitarist"),  # not in the table
        Mention(3, 4, "person"),
        Mention(4, 5, "event"),  # specific and broad at once
    )
    other = Passage(("Rhine",), ("river", "boundary"), (Mention(0, 1, "river"), Mention(0, 1, "boundary")))
    passage = Passage(tuple("abcde"), tuple(dict.fromkeys(m.type for m in mentions)), mentions)
    assert read_hierarchy(table, [passage, other]).broad == {
        **dict.fromkeys(("city", "town", "municipality", "settlement", "place"), frozenset({"location"})),
        "river": frozenset({"location", "boundary"}),
        "guitarist": frozenset({"person"}),
        "event": frozenset({"event"}),
    }


@pytest.mark.parametrize("line, n_fields", [("lake", 1), ("lake\tpond", 2), ("lake\t\t\tx", 4), ("", 1)])
def test_line_of_another_form_is_refused_by_its_number(table, line, n_fields):
    table.write_text(table.read_text(encoding="utf8") + line + "\n", encoding="utf8")
    with pytest.raises(ValueError, match=rf"types.tsv, line 6: {n_fields} fields, expected 3: type, same, wider"):
        read_hierarchy(table, [])
