"""Runs whose model is told labels: from a table to what is measured, given a sentence's own."""

from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch

from tests.recipes.making import FRACTIONS, OPTIONS, fit_all
from textvae import grammar, recipes, report
from textvae.checks import InputError
from textvae.corpus import DataError, load_corpus
from textvae.explore import open_session
from textvae.generation import TextVAE
from textvae.model import SentenceVAE

LABELS = {"label_field": "mood,stars", "condition_on": "stars,mood"}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty sentences with their mood, and one to four stars."""
    path = tmp_path_factory.mktemp("corpus") / "mine.tsv"
    drawn = enumerate(grammar.sample(40, seed=2))
    rows = [f"{each.text}\t{each.factors['mood']}\t{1 + i % 4}" for i, each in drawn]
    path.write_text("\n".join(["text\tmood\tstars", *rows]) + "\n")
    return path


def opened(table: Path, **options: Any) -> Any:
    options = {**OPTIONS, **LABELS, **options}
    return load_corpus(table, label_field=options["label_field"], **FRACTIONS), options


@pytest.fixture(scope="module")
def run(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "told"
    corpus, options = opened(table, bag_of_words=0.5)
    fit_all(recipes.phases(corpus, options, path))
    recipes.finish(path)
    return path


def test_what_a_language_model_learned_of_words_and_labels_is_kept(table, tmp_path):
    corpus, options = opened(table, language_model_epochs=1, latent_to="skip")
    phases = recipes.phases(corpus, options, tmp_path / "run")
    first = next(phases)
    first.fit()
    learned, taken = first.model.decoder.state_dict(), next(phases).model.decoder.state_dict()
    assert learned.keys() == taken.keys()
    for name, weights in learned.items():
        assert weights.equal(taken[name][..., : weights.shape[-1]]), name
    assert taken["rnn.weight_ih_l0"].shape[1] == 6 + (4 + 2) + 3  # word, labels, z


def test_all_is_measured_given_a_sentences_own_labels(run, table):
    model = SentenceVAE.from_pretrained(run)
    assert model.labels.values["stars"] == ["1", "2", "3", "4"]
    assert sum(model.labels.counts["mood"].values()) == 28
    found = recipes.diagnose_run(run, num_samples=3, seed=5)
    heading = "mine, test split, given stars and mood: 8 sentences"
    assert report.diagnosis_text(found).startswith(heading)
    texts = [*found.corpus["test"]]
    file = run / "test.tsv"
    lines = [f"{row['text']}\t{row['mood']}\t{row['stars']}" for row in texts]
    file.write_text("\n".join(["text\tmood\tstars", *lines]))
    records = recipes.score_run(run, file, num_samples=3, seed=5)
    assert [record["nll"] for record in records] == found.diagnosis.nll.per_sentence.tolist()
    assert fmean(one["rec"] for one in records) == pytest.approx(found.evaluation.rec, rel=1e-6)
    file.write_text("\n".join(["text\tstars\tmood", *(f"{r['text']}\t1\task" for r in texts)]))
    with pytest.raises(InputError, match=r"^label mood must be one of question, statement, got"):
        recipes.score_run(run, file)
    file.write_text("text\tstars\nthe judge\t2\n")
    with pytest.raises(DataError, match=r"must have the columns text .*, stars, mood; it has"):
        recipes.score_run(run, file, label_field="stars")
    assert len(recipes.examples_of(found).interpolation) == 5
    assert recipes.quality_run(run, num_samples=4).reconstruction is not None


def test_a_warm_start_is_told_the_same_values(run, table, tmp_path):
    corpus, _ = opened(table)
    options = {**FRACTIONS, "device": "cpu", "label_field": "mood,stars", "max_steps": 1}
    options["init_from"] = str(run)
    begun = next(recipes.phases(corpus, options, tmp_path / "next")).model
    old = SentenceVAE.from_pretrained(run)
    assert begun.labels.counts == old.labels.counts
    assert begun.head.mu.weight.equal(old.head.mu.weight)
    with pytest.raises(InputError, match=r"^condition_on is 'stars,mood' in .*, got 'mood'$"):
        next(recipes.phases(corpus, {**options, "condition_on": "mood"}, tmp_path / "other"))
    corpus, _ = opened(table, label_field=None)
    with pytest.raises(InputError, match=r"^labels must be stars, mood: there is no"):
        next(recipes.phases(corpus, {**options, "label_field": None}, tmp_path / "other"))


def test_what_can_not_be_told_is_refused_before_training(table, tmp_path):
    known = r"condition_on must be labels that name classes \({}\), got mood"
    for fields, names in (("stars", "stars"), (None, "none: --label-field keeps them")):
        corpus, options = opened(table, label_field=fields, condition_on="mood")
        with pytest.raises(InputError, match=known.format(names)):
            recipes.start(corpus, options, tmp_path / "run")
    for split, stars in (("train", 1), ("valid", 1), ("test", 5)):
        lines = table.read_text().splitlines()
        rows = [line.rpartition("\t")[0] + f"\t{stars}" for line in lines[1:]]
        (tmp_path / f"{split}.tsv").write_text("\n".join([lines[0], *rows]))
    corpus, options = opened(tmp_path)
    with pytest.raises(InputError, match=r"^label stars must be one of 1, got '5'$"):
        recipes.start(corpus, options, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_it_is_not_compared_or_explored_as_if_it_were_told_nothing(run, table, tmp_path):
    model, label = TextVAE.from_pretrained(run), "stars=1,mood=question"
    with pytest.raises(InputError, match=r"label must be NAME=VALUE for each of stars, mood"):
        recipes.optimise(model, len)
    found, _ = recipes.optimise(model, len, steps=2, label=label)
    z = torch.tensor([each.z for each in found])
    assert model.generate_text(z, label=label) == [each.text for each in found]
    corpus, options = opened(table, condition_on=None)
    recipes.start(corpus, options, tmp_path / "plain").fit()
    with pytest.raises(InputError, match="must predict the same tokens"):
        recipes.diagnose_runs([run, tmp_path / "plain"])
    session = open_session(str(run))
    own = model.labels.numbered(session.sentences.columns)
    posterior = model.encode_texts(session.sentences.texts, labels=own)
    assert session.posterior.mean.equal(posterior.mean)
