"""Labels that a model is told: by hand, as an oracle, and in a model that is saved and loaded."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from tests.draws import draws
from tests.model.conftest import rows_of, widened
from textvae.batches import Batch, collate
from textvae.checks import InputError
from textvae.diagnostics import evaluate, importance_nll, score
from textvae.model import SentenceVAE
from textvae.model.labels import Labels

CLASSES = {"topic": {"sea": 3, "farm": 1, "court": 4}, "mood": {"asked": 4, "told": 4}}
TOLD = np.array([[0, 1], [2, 0], [1, 1], [0, 0], [2, 1]])


@pytest.fixture
def told(batch: Batch) -> Batch:
    return batch._replace(labels=torch.from_numpy(TOLD))


def test_a_layer_reads_a_one_for_each_value_that_is_true():
    labels, read = Labels(CLASSES), torch.tensor([[0.5], [0.25]])
    numbers = labels.numbered({"mood": ["told", "asked"], "topic": ["farm", "sea"]})
    assert numbers.tolist() == [[1, 1], [0, 0]]
    assert labels.named(numbers)[0] == {"topic": "farm", "mood": "told"}
    expected = torch.tensor([[0, 1, 0, 0, 1, 0.5], [1, 0, 0, 1, 0, 0.25]])
    assert labels.told(numbers, read).equal(expected)
    assert labels.told(numbers, torch.stack([read, read]))[1].equal(expected)
    assert Labels(None).told(numbers[:, :0], read) is read
    assert Labels({"stars": {"1": 2, "5": 1}}).numbered({"stars": [5, 1]}).tolist() == [[1], [0]]


def test_what_is_given_takes_the_place_of_what_is_known():
    labels = Labels(CLASSES)
    known = torch.tensor([[0, 1], [2, 0]])
    assert labels.changed(known, 2, "mood=asked").tolist() == [[0, 0], [2, 0]]
    assert labels.changed(torch.tensor([[0, 1]]), 2, None).tolist() == [[0, 1], [0, 1]]
    assert labels.changed(None, 1, "mood=told,topic=court").tolist() == [[2, 1]]
    assert Labels(None).changed(None, 3, None).shape == (3, 0)


@pytest.mark.parametrize(
    ("counts", "label", "said"),
    [
        (CLASSES, "taste=sweet", "label must be NAME=VALUE, NAME of topic, mood, got 'taste'"),
        (CLASSES, "topic,mood=told", "label topic must be one of sea, farm, court, got ''"),
        (CLASSES, "mood=sad,topic=sea", "label mood must be one of asked, told, got 'sad'"),
        (CLASSES, "mood=told", "label must be NAME=VALUE for each of topic, mood, got mood=told"),
        (None, "mood=told", "NAME of none (training had no --condition-on), got 'mood'"),
    ],
)
def test_what_can_not_be_told_is_refused_with_what_can(counts, label, said):
    with pytest.raises(InputError) as refusal:
        Labels(counts).changed(None, 1, label)
    assert said in str(refusal.value)


def test_columns_and_batches_must_have_the_labels(make_model, batch):
    with pytest.raises(InputError, match=r"^labels must be topic, mood: there is no mood$"):
        Labels(CLASSES).numbered({"topic": ["sea"]})
    with pytest.raises(InputError, match=r"is told topic, mood: batches must have these labels"):
        make_model(classes=CLASSES).encode(batch)


@pytest.mark.parametrize("latent_to", ["state", "input", "both", "skip"])
def test_a_label_changes_both_ways_and_neighbours_change_nothing(make_model, told, latent_to):
    model = make_model(classes=CLASSES, latent_to=latent_to, decoder_num_layers=2)
    z, other = draws(2, 5, 3), told._replace(labels=told.labels.flip(0))
    posterior, log_p = model.encode(told), model.log_likelihood(told, z)
    changed = (told.labels != other.labels).any(1)
    assert changed.tolist() == [True, True, False, True, True]
    assert ((model.encode(other).mean != posterior.mean).any(1) == changed).all()
    assert ((model.log_likelihood(other, z) != log_p).all(0) == changed).all()
    for rows in ([1], [4, 0, 2]):
        some = widened(rows_of(told, rows))
        torch.testing.assert_close(model.encode(some).mean, posterior.mean[rows])
        torch.testing.assert_close(model.log_likelihood(some, z[:, rows]), log_p[:, rows])


def test_every_measure_is_given_a_sentences_own_label(make_model, told):
    model, indices = make_model(classes=CLASSES, bag_of_words=0.5), told.indices
    parts = [rows_of(told, rows)._replace(indices=indices[rows]) for rows in ([3, 1], [0, 2, 4])]
    found = score(model, parts, 5, num_samples=3, tokens=True)
    assert [sum(own) for own in found.tokens] == pytest.approx(found.rec.tolist(), rel=1e-5)
    assert evaluate(model, [told], 5).rec == pytest.approx(float(found.rec.mean()), rel=1e-6)
    whole = importance_nll(model, [told], num_samples=3, max_tokens=1)
    torch.testing.assert_close(whole.per_sentence, found.nll, rtol=1e-5, atol=0)
    terms = model.train()(told, draws(4, 5, 3)).terms
    assert terms["bag_of_words"].shape == terms["rec"].shape == (4, 5)


def test_a_label_that_decides_the_sentence_leaves_nothing_to_learn():
    sentences, counts = [[5, 6], [7, 5], [6, 8], [8, 7]], {"which": dict.fromkeys("abcd", 1)}
    told = collate(sentences, labels=np.arange(4)[:, None])
    nats = {}
    for classes in (None, counts):
        torch.manual_seed(0)
        sizes: Any = {"latent_dim": 0, "embedding_dim": 8, "decoder_hidden_size": 16}
        kept = {"embedding_dropout": 0.0, "output_dropout": 0.0}
        model = SentenceVAE(9, classes=classes, **sizes, **kept)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
        for _ in range(60):
            loss = model(told).terms["rec"].mean()
            optimizer.zero_grad(), loss.backward(), optimizer.step()
        nats[classes is None] = evaluate(model, [told], 4).rec
    assert nats[False] < 0.05
    assert math.log(4) < nats[True] < math.log(4) + 0.05
