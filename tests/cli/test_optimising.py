"""`textvae optimise`: what it prints of a search and of the random one beside it."""

import re

from tests.cli.calling import call, done

SCORE = """
def score(text):
    if text.startswith("a"):
        raise ValueError("no letter a")
    return len(text)
"""


def test_the_best_of_a_search_and_of_chance(lively_run, tmp_path):
    (tmp_path / "my.py").write_text(SCORE)
    given = ("optimise", lively_run, f"--property={tmp_path / 'my.py'}:score", "--steps=6")
    said = done(*given)
    rows = [line.split("\t") for line in said.lines]
    for sampler in ("gp", "random"):
        own = [row for row in rows if row[0] == sampler]
        assert 1 <= len(own) <= 5
        scores = [float(row[1]) for row in own]
        assert scores == sorted(scores, reverse=True)
        assert [len(row[3]) for row in own] == scores
        assert len({row[3] for row in own}) == len(own)
        assert f"textvae: {sampler}: " in said.err
        assert " of 6 scored" in said.err

    records = call(*given, "--json").records
    assert [list(record) for record in records[:1]] == [["sampler", "score", "step", "text", "z"]]
    found = {(each["sampler"], f"step {each['step']}", each["text"]) for each in records}
    assert {(row[0], row[2], row[3]) for row in rows} <= found
    skipped = map(int, re.findall(r"scored, (\d+) skip", said.err))
    assert len(records) + sum(skipped) == 12
