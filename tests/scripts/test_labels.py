"""`scripts/labels.py`: who obeys, told by the grammar's parser and by a classifier."""

import pytest

from tests.scripts.conftest import OPTIONS
from tests.scripts.running import assert_refused
from textvae import grammar, recipes
from textvae.corpus import load_corpus

TOLD = {**OPTIONS, "condition_on": "mood"}


@pytest.mark.usefixtures("small_grammar")
def test_the_grammars_parser_judges(run, tmp_path):
    corpus = load_corpus("grammar")
    for name, options in (("told", TOLD), ("plain", OPTIONS)):
        recipes.start(corpus, options, tmp_path / name).fit()
    answer = run("labels", "told", "-n=20")
    assert answer.code == 0
    label, real, samples, guessed = answer.out.splitlines()[2].split()
    assert (label, real, samples) == ("mood", "100.0%", "0.0%")  # hardly trained: no grammar
    assert guessed.endswith("%")
    assert_refused(run("labels", "plain"), "is told no labels")


def test_a_classifier_judges_what_has_no_grammar(run, tmp_path):
    rows = [f"{one.text}\t{one.factors['polarity']}" for one in grammar.sample(120, seed=1)]
    (tmp_path / "mine.tsv").write_text("\n".join(["text\tpolarity", *rows]))
    shares = {"valid_fraction": 0.1, "test_fraction": 0.3}
    corpus = load_corpus(tmp_path / "mine.tsv", label_field="polarity", **shares)
    fields = {"label_field": "polarity", "condition_on": "polarity"}
    recipes.start(corpus, {**OPTIONS, **shares, **fields}, tmp_path / "told").fit()
    label, real, *_ = run("labels", "told", "-n=20").out.splitlines()[2].split()
    assert label == "polarity"
    assert float(real.rstrip("%")) > 80  # "never", or "always", in each
