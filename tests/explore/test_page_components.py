"""Tests of `textvae.explore.page`: the widgets without a browser."""

import asyncio
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from textvae.explore import Sentences, Session, page

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what gradio's own dependencies have to say
    gradio = pytest.importorskip("gradio", reason="the extra `demo` is missing")


async def build(session: Session) -> Any:
    # Where no loop runs, gradio makes some and leaves them open.
    return page.build(session)


@pytest.fixture(scope="module")
def blocks(session: Session) -> Any:
    return asyncio.run(build(session))


def test_visitors_are_served_in_turn_and_no_one_else(blocks):
    events = list(blocks.fns.values())
    assert len(events) == 8
    for event in events:
        assert event.queue
        assert (event.concurrency_id, event.concurrency_limit) == ("model", 1)
        assert event.api_visibility == "private" or event.renderable  # the map


def test_what_the_page_begins_with_and_that_nothing_is_told_to_anyone(blocks, session):
    assert blocks.analytics_enabled is False
    assert "http" not in Path(page.__file__).with_name("page.css").read_text(encoding="utf-8")
    said = str(blocks.get_config_file()["components"])
    assert "# lively" in said
    assert "6 sentences of six sentences" in said
    for dimension, kl, *_ in session.dimensions:
        assert f"Dimension {dimension}: {kl:.2f} nats" in said


def call(blocks: Any, name: str, *inputs: Any) -> Any:
    """What an event's function gives; a name that is there twice has the number of one."""
    name, _, number = name.partition(" ")
    found = [event.fn for event in blocks.fns.values() if event.name == name]
    return found[int(number or 0)](*inputs)


def words(shown: list[tuple[str, str | None]]) -> str:
    """What a sentence's component says."""
    return " ".join(part for part, _ in shown)


def test_two_sentences_and_the_path_between(blocks, session, texts):
    shown, rows = call(blocks, "show 0", texts[0], texts[1], 0.6)
    assert [words(shown)] == session.between(texts[0], texts[1], 0.6)
    path = session.between(texts[0], texts[1], 0, 0.25, 0.5, 0.75, 1)
    assert rows == [
        ["→" if at == 2 else "", f"{at / 4:.2f}", text or page.NOTHING]
        for at, text in enumerate(path)
    ]
    shown, _ = call(blocks, "show 0", "the zebra", texts[1], 0)
    assert shown[-1] == ("(read as <unk>: zebra)", "other")


def test_a_fault_is_said(blocks):
    with pytest.raises(gradio.Error, match="the first sentence is empty: type one"):
        call(blocks, "show 0", "", "a dog", 0.5)
    with pytest.raises(gradio.Error, match="number must be from 1 to 50, got 1000"):
        call(blocks, "show 2", 1000, "sample", 1.0, 0)


def test_sliders_left_alone_leave_the_sentence_alone(blocks, session, texts):
    for text in texts:
        shown, *values = call(blocks, "begin", text)
        assert values == session.sliders(text)
        again = call(blocks, "show 1", text, *values)
        assert words(shown) == words(again) == (session.reconstructed(text) or page.NOTHING)
        moved = call(blocks, "show 1", text, -3, *values[1:])
        assert words(moved) == (session.moved(text, [-3, *values[1:]]) or page.NOTHING)


def test_labels_that_a_model_is_told_can_be_changed(make_lively, texts):
    model = make_lively(classes={"mood": {"asked": 4, "told": 2}})
    session = Session(model, Sentences("six", texts, {"mood": ["told", "asked"] * 3}))
    blocks = asyncio.run(build(session))
    shown, mood, *values = call(blocks, "begin", texts[0])
    assert [mood] == session.told(texts[0])
    assert words(shown) == (session.reconstructed(texts[0]) or page.NOTHING)
    for other in ("asked", "told"):
        found = session.moved(texts[0], values, [other])
        assert words(call(blocks, "show 1", texts[0], other, *values)) == (found or page.NOTHING)


def test_a_listed_sentence_is_clicked(blocks, session, texts):
    click = gradio.SelectData(None, {"index": [0, 1], "value": "", "row_value": ["", texts[2]]})
    rows, *text, color = call(blocks, "chosen", click)
    assert (text, color) == ([texts[2]] * 2, "neighbours")
    assert rows == [[f"{each.distance:.2f}", each.text] for each in session.near(texts[2])]


@pytest.mark.parametrize("row", [None, 5, [], {}])
def test_a_selection_of_nothing_is_told(blocks, row):
    click = gradio.SelectData(None, {"index": 0, "value": "", "row_value": row})
    with pytest.raises(gradio.Error):
        call(blocks, "chosen", click)


def test_the_diagnosis(blocks, session):
    words, bars = call(blocks, "show 3")
    found = session.diagnosis
    assert words.startswith(f"## {found.verdict.verdict}\n")
    assert "textvae diagnose lively" in words
    assert f"| {found.elbo.rec:.2f} |" in words
    assert "| NLL |" not in words
    assert len(bars.value["data"]) == 3


def test_new_words_are_marked(session, monkeypatch):
    monkeypatch.setattr(session, "reconstructed", lambda text: "a b c")
    for text, marked in {
        "a b c": [("a b c", None)],
        "a x y c": [("a", None), ("x y", "new"), ("c", None)],
        "": [("(an empty sentence)", None)],
    }.items():
        assert page._sentence(session, text, "the dog") == marked


def test_the_heading_takes_names_for_text(session, monkeypatch):
    assert page._heading(session).count("\n") == 2
    escaped = r"\!\[x\]\(http:\/\/evil\) \<b\> a\_b \$1\$ \{\{v\}\}"
    assert page._escaped("![x](http://evil) <b> a_b $1$ {{v}}") == escaped
    monkeypatch.setattr(session, "kl", [0.05] * 6)
    told = replace(session.sentences, notice="The corpus can't be had: gone.")
    monkeypatch.setattr(session, "sentences", told)
    *_, notice, collapsed = page._heading(session).split("\n\n")
    assert notice == "The corpus can't be had: gone."
    assert collapsed.startswith("This model has collapsed: ")
