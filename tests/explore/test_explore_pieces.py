"""Tests of `textvae.explore.pieces`: every text reaches the page as it is written."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textvae.explore import Session, pieces
from textvae.generation import Neighbour

HOSTILE = "<script>alert('x')</script> & \"${alert(1)}\" {{value}} `x` \\u003c"


class Reader(HTMLParser):
    """What a browser would make of it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.marked = ""
        self.in_mark = False
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.in_mark = tag == "mark"

    def handle_endtag(self, tag: str) -> None:
        self.in_mark = False

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.in_mark:
            self.marked += f"|{data}"


def plain(text: str) -> str:
    return " ".join(text.split())


texts = st.one_of(st.just(HOSTILE), st.text(min_size=1)).filter(lambda text: text.strip() != "")


@given(texts, texts)
def test_any_text_comes_out_as_it_went_in(text: str, other: str) -> None:
    neighbour = Neighbour(other, 1.0, 0)
    for html in (
        pieces.sentence(text),
        pieces.sentence(text, other, [other]),
        pieces.fault(text),
        pieces.listed([text, other]),
        pieces.way([other, text], 0.3),
        pieces.neighbours(text, [neighbour], [other]),
        pieces.heading(text, [other], text),
    ):
        read = Reader(html)
        assert plain(text) in plain(read.text)
        assert read.tags <= {"p", "ol", "li", "span", "mark", "h1"}
        assert read.attributes <= {"class"}
        assert not set("{}$`\\") & set(html)  # nothing for a template to take up


@pytest.mark.parametrize(
    ("before", "after", "marked"),
    [
        ("the cat sees a dog", "the cat sees a dog", ""),
        ("the cat sees a dog", "the cat hears a dog", "|hears"),
        ("the cat sees a dog", "a bird sees a big dog", "|a bird|big"),
        ("the cat sees a dog", "the cat", ""),
        ("the cat", "old dogs", "|old dogs"),
    ],
)
def test_new_words_are_marked(before: str, after: str, marked: str) -> None:
    read = Reader(pieces.sentence(after, before))
    assert read.marked == marked
    assert plain(read.text) == after


def test_nothing_is_said_to_be_nothing() -> None:
    for html in (pieces.sentence(""), pieces.sentence("", "a"), pieces.listed([" "])):
        assert "(an empty sentence)" in html


@pytest.mark.parametrize(
    ("share", "here"), [(0, "0.00"), (0.12, "0.00"), (0.4, "0.50"), (1, "1.00")]
)
def test_where_one_is_on_the_way(share: float, here: str) -> None:
    html = pieces.way(["a", "b", "c", "d", "e"], share)
    assert html.count("class=here") == 1
    assert f'<li class=here><span class="number">{here}' in html


def test_a_diagnosis_says_what_was_measured(session: Session) -> None:
    found = session.diagnosis()
    read = Reader(pieces.diagnosis(found, "textvae diagnose 'a & b'"))
    for part in (*found.verdict, f"{found.elbo.rec:.2f}"):
        assert plain(part) in plain(read.text)
    assert "textvae diagnose 'a & b'" in read.text
    assert "NLL" not in read.text.replace("importance-weighted NLL", "")
