"""What the loop does in a step, an epoch, and at the end."""

import math
import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from tqdm import tqdm

from tests.able import needs_bf16
from tests.training.building import STEPS, STILL, Theirs, left_behind, lines
from textvae.annealers import ConstantAnnealer
from textvae.batches import Batch
from textvae.model import Posterior
from textvae.training import Trainer, TrainingError
from textvae.training.step import RunningMeans

HASTY = {"lr_patience": 0, "max_epochs": 4}


def snapshot(trainer: Trainer) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def test_a_step_is_one_gradient_of_the_mean_over_sentences(build):
    no_noise = {"latent_dim": 0, **STILL}
    sgd = {"optimizer": "sgd", "lr": 0.5, "clip_norm": 1e6}
    trainer = build(train=7, max_steps=1, **no_noise, **sgd)
    (batch,) = trainer.train.epoch(0)
    rec = -trainer.model.log_likelihood(batch, torch.zeros(7, 0))
    assert len(set(batch.lengths.tolist())) > 1  # a mean over tokens would be another
    (rec.sum() / 7).backward()
    expected = {k: p.detach() - 0.5 * p.grad for k, p in trainer.model.named_parameters()}
    trainer.model.zero_grad()
    trainer.fit()
    torch.testing.assert_close(dict(trainer.model.named_parameters()), expected)
    assert lines(trainer.run, "train") == []  # log_every is 3
    assert lines(trainer.run, "valid")[0]["num_sentences"] == 12


@pytest.mark.parametrize(
    ("kind", "weighed"),
    [("batch", 6.0), ("total", 2.0)],  # three dimensions at the floor; one floor under them all
)
def test_free_bits_are_weighed_but_the_raw_kl_is_logged(build, kind, weighed):
    annealer, bits = Theirs([0.0]), {"free_bits": 2.0, "free_bits_kind": kind}
    trainer = build(annealer=annealer, log_every=1, max_steps=2, lr=1e-6, **bits)
    trainer.fit()
    assert annealer.kls == [pytest.approx(weighed)] * 2
    assert all(record["kl"] < 1 for record in lines(trainer.run, "train"))


def test_an_auxiliary_loss_is_logged_in_training_and_trained_by_its_weight(build):
    # Nothing but this loss reaches the layers of its own.
    moved, name = [], "auxiliaries.bag_of_words.output.bias"
    for weight in (1e-9, 10.0):
        trainer = build(str(weight), bag_of_words=weight, optimizer="sgd", max_steps=3)
        before = snapshot(trainer)[name]
        trainer.fit()
        moved.append(float((snapshot(trainer)[name] - before).abs().max()))
        assert lines(trainer.run, "train")[0]["bag_of_words"] > 1
        assert "bag_of_words" not in lines(trainer.run, "valid")[0]
    assert moved[0] < 1e-8 < 1e-3 < moved[1]


def test_gradients_are_clipped_after_they_are_there(build):
    trainer = build(optimizer="sgd", lr=1.0, clip_norm=0.001, max_steps=1, log_every=1)
    before = snapshot(trainer)
    trainer.fit()
    moved = [(after - before[k]).flatten() for k, after in trainer.model.state_dict().items()]
    assert float(torch.cat(moved).norm()) == pytest.approx(0.001, rel=1e-3)
    assert lines(trainer.run, "train")[0]["gradient_norm"] > 0.1  # the norm before clipping


def test_every_sentence_is_seen_once_an_epoch_and_modes_are_right(build):
    trainer = build(max_epochs=2)
    seen: list[tuple[bool, list[int]]] = []
    model, encode = trainer.model, trainer.model.encode

    def watched(batch: Batch) -> Posterior:
        seen.append((model.training, batch.indices.tolist()))
        return encode(batch)

    model.encode = watched
    trainer.fit()
    assert [trained for trained, _ in seen] == ([True] * STEPS + [False] * 3) * 2
    batches = [indices for _, indices in seen]
    for start, steps, number in ((0, 6, 48), (6, 3, 12), (9, 6, 48), (15, 3, 12)):
        found = [i for indices in batches[start : start + steps] for i in indices]
        assert sorted(found) == list(range(number))
    assert batches[:6] != batches[9:15]


def test_fewer_sentences_than_a_batch(build):
    trainer = build(train=3, valid=1, batch_size=32, max_epochs=2)
    assert (trainer.fit(), trainer.progress.step) == ("2 epochs done", 2)
    assert [record["num_sentences"] for record in lines(trainer.run, "valid")] == [1, 1]


@needs_bf16
def test_bf16_multiplies_in_bf16_and_keeps_fp32_weights(build):
    runs = {p: build(p, precision=p, max_steps=3) for p in ("fp32", "bf16")}
    for trainer in runs.values():
        trainer.fit()
    recs = [lines(trainer.run, "train")[0]["rec"] for trainer in runs.values()]
    assert recs[0] != recs[1]
    assert recs[0] == pytest.approx(recs[1], rel=0.01)
    assert {p.dtype for p in runs["bf16"].model.parameters()} == {torch.float32}


def test_what_is_logged(build):
    trainer = build(max_epochs=2, warmup_epochs=2.0)
    trainer.fit()
    train, valid = lines(trainer.run, "train"), lines(trainer.run, "valid")
    at = [(record["step"], record["epoch"]) for record in train]
    assert at == [(3, 1), (6, 1), (9, 2), (12, 2)]
    # The weight that was applied last, not the next one.
    assert [record["beta"] for record in train] == pytest.approx([2 / 12, 5 / 12, 8 / 12, 11 / 12])
    assert [record["beta"] for record in valid] == pytest.approx([5 / 12, 11 / 12])
    assert [(record["step"], record["epoch"]) for record in valid] == [(6, 1), (12, 2)]
    both = {"split", "step", "epoch", "beta", "lr", "rec", "kl", "num_tokens"}
    norms = {"gradient_norm", "encoder_gradient_norm", "decoder_gradient_norm"}
    assert set(train[0]) == both | norms
    measured = {"elbo", "elbo_ppl", "mi", "mi_max", "au", "active_dimensions", "kl_per_dim"}
    assert set(valid[0]) == both | measured | {"verdict", "num_sentences"}
    assert sum(record["num_tokens"] for record in train[:2]) == trainer.train.num_tokens
    assert all(record["tokens_per_second"] > 0 for record in trainer.run.metrics()[:2])


def test_the_same_seed_gives_the_same_run_and_another_a_different_one(build):
    results = []
    for i, seed in enumerate((0, 0, 1)):
        trainer = build(str(i), seed=seed, max_epochs=1)
        trainer.fit()
        results.append(left_behind(trainer))
    assert results[0] == results[1]
    assert results[0]["weights"] != results[2]["weights"]


def test_decays_compound_and_go_back_to_the_best_weights(build, script_elbos):
    sgd = {"optimizer": "sgd", "momentum": 0.9, "lr": 0.4}
    trainer = build(annealer=ConstantAnnealer, lr_patience=0, max_lr_decays=2, max_epochs=9, **sgd)
    script_elbos(-50, -40, -41, -42, -43)
    judged, judge = list[dict[str, Tensor]](), trainer._judge
    trainer._judge = lambda found: (judge(found), judged.append(snapshot(trainer)))
    assert trainer.fit() == "no better ELBO for 3 epochs, the last at learning rate 0.1"
    valid = lines(trainer.run, "valid")
    assert [record["verdict"] for record in valid] == ["better", "better", "decay", "decay", "stop"]
    assert [record["lr"] for record in valid] == pytest.approx([0.4, 0.4, 0.2, 0.1, 0.1])
    assert [same(judged[1], after) for after in judged[2:]] == [True, True, False]
    assert same(judged[1], trainer.model.from_pretrained(trainer.run.path).state_dict())


@pytest.mark.parametrize("name", ["Adam", "AdamW"])
def test_a_decay_forgets_momentum_and_keeps_the_optimizer(build, script_elbos, name):
    script_elbos(-1, -2, -3)
    trainer = build(optimizer=name.lower(), warmup_epochs=0.0, lr_patience=0, weight_decay=0.125)
    trainer.fit()
    optimizer = trainer.stepper.optimizer
    assert (type(optimizer).__name__, optimizer.param_groups[0]["weight_decay"]) == (name, 0.125)
    assert trainer.stepper.lr == pytest.approx(0.01 / 4)
    assert not optimizer.state  # the last epoch decayed


@pytest.mark.parametrize(
    ("options", "elbos", "verdicts"),
    [
        # The annealed loss is best where the model is no VAE; so is the ELBO of some early epoch.
        ({"warmup_epochs": 2.0, **HASTY}, [-10, -60, -50, -51], "better better better decay"),
        # An autoencoder is never judged.
        ({"max_beta": 0.0, "early_stopping": 1}, [-10, -60, -70], "better better better"),
        # A language model, which has nothing to anneal, from the first epoch.
        ({"latent_dim": 0, "warmup_epochs": 9.0, "early_stopping": 1}, [-10, -11], "better stop"),
        # A gain that is too small is none.
        (
            {"latent_dim": 0, "lr_threshold": 0.5, **HASTY},
            [-9, -5, -4, -2],
            "better decay better decay",
        ),
    ],
)
def test_the_elbo_judges_only_what_is_trained_by_it(build, script_elbos, options, elbos, verdicts):
    script_elbos(*elbos)
    trainer = build(**options)
    trainer.fit()
    found = [record["verdict"] for record in lines(trainer.run, "valid")]
    assert found == verdicts.split()


@pytest.mark.parametrize(
    ("at", "value", "where"),
    [
        (7, math.nan, r"step 7 \(epoch 2, batch 1\)"),
        (12, math.inf, r"step 12 \(epoch 2, batch 6\)"),
    ],
)
def test_a_loss_that_is_not_finite(build, at, value, where):
    annealer = Theirs([1.0] * (at - 1) + [value])
    trainer = build(annealer=annealer, log_every=5)
    with pytest.raises(TrainingError, match=rf"loss or gradient not finite at {where}") as caught:
        trainer.fit()
    message = str(caught.value)
    assert f"the last good state is {trainer.run.state_file}" in message
    assert "smaller learning rate (now 0.01) or clip_norm (now 5)" in message
    state = trainer.run.load_state()
    assert state["progress"]["step"] == STEPS
    assert all(bool(tensor.isfinite().all()) for tensor in trainer.model.state_dict().values())
    assert same(state["model"], trainer.model.from_pretrained(trainer.run.path).state_dict())


@pytest.mark.parametrize("more", [{"max_steps": 1}, {"batch_size": 48}])  # one batch an epoch
def test_weights_that_are_not_finite_are_not_kept(build, more):
    trainer = build(lr=1e30, **more)
    with torch.no_grad():
        first = {name: weights.clone() for name, weights in trainer.model.state_dict().items()}
    with pytest.raises(TrainingError, match=r"^(ELBO|weights) not finite at step 2 .* last good"):
        trainer.fit()
    assert same(trainer.run.load_state()["model"], first)
    assert same(trainer.model.from_pretrained(trainer.run.path).state_dict(), first)


@pytest.mark.parametrize(
    ("options", "warning"),
    [
        ({}, "warning: KL 0.000 nats per sentence at β 1.00: the decoder ignores z"),
        ({"max_beta": 0.51}, "warning: KL 0.000 nats per sentence at β 0.51"),
        ({"max_beta": 0.5}, ""),  # not heard much
        ({"warmup_epochs": 9.0}, ""),  # not heard at all yet
        ({"latent_dim": 0}, ""),  # a language model has nothing to collapse
    ],
)
def test_a_collapse_is_said(build, capsys, options, warning):
    trainer = build(**{"warmup_epochs": 0.0, "lr": 1e-9, "max_epochs": 1, **options})
    for name, parameter in trainer.model.named_parameters():
        if name.startswith("head."):
            torch.nn.init.zeros_(parameter)
    trainer.fit()
    captured = capsys.readouterr()
    assert (warning in captured.err, "collapse" in captured.err) == (True, bool(warning))
    assert captured.out == ""
    assert trainer.progress.collapsed_since == (3 if warning else None)


@pytest.mark.parametrize(
    ("options", "is_said"),
    [
        ({"warmup_epochs": 2.0}, True),
        ({"warmup_epochs": 1.0}, False),
        ({"warmup_epochs": 2.0, "latent_dim": 0}, False),
    ],
)
def test_an_end_before_the_full_weight_is_said(build, capsys, options, is_said):
    build(**{"max_epochs": 1, **options}).fit()
    said = capsys.readouterr().err
    assert ("training ended while β still changed, at 0." in said) == is_said
    assert "step/s" not in said, "a bar is for a terminal, not for a file"


@pytest.fixture
def said_by_the_bar(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Lets log lines find these KLs, one after the other; gives what the bar says of each."""
    read = RunningMeans.read

    def fit(trainer: Trainer, kls: list[float]) -> list[str]:
        values, heard = iter(kls), list[str]()
        monkeypatch.setattr(RunningMeans, "read", lambda means: read(means) | {"kl": next(values)})
        monkeypatch.setattr(tqdm, "set_postfix_str", lambda bar, text: heard.append(text))
        trainer.fit()
        return heard

    return fit


def test_the_bar_says_since_when_the_kl_is_gone_in_a_resumed_run_too(build, said_by_the_bar):
    since = []
    for max_steps, kls in ((4, [0.5, 0.0999, 0.01, 0.05]), (7, [0.01, 0.1, 0.05])):
        said = said_by_the_bar(
            build(annealer=ConstantAnnealer, max_steps=max_steps, log_every=1), kls
        )
        assert all(f"KL {kl:.2f}" in line for kl, line in zip(kls, said, strict=True))
        found = [re.search(r"COLLAPSED since step (\d+) ", line) for line in said]
        since += [match and int(match[1]) for match in found]
    assert since == [None, 2, 2, 2, 2, None, 7]


def test_the_bar_shows_the_last_evaluation(build, script_elbos, said_by_the_bar):
    script_elbos(-50.25, -50.0)
    said = said_by_the_bar(build(max_epochs=2, log_every=STEPS), [1.0, 1.0])
    assert "valid" not in said[0]
    assert " valid 50.25 MI 0.50 AU 1 " in said[1]


def test_a_run_that_became_far_slower_says_so_once(build, capsys, monkeypatch):
    told = "training is slow"
    slowdown = lambda speeds: told if len(speeds) == 2 else None  # noqa: E731
    monkeypatch.setattr("textvae.training.trainer.slowdown", slowdown)
    build(max_steps=3, log_every=1).fit()
    assert capsys.readouterr().err.count(f"warning: {told}\n") == 1


def test_steps_are_at_full_speed(build):
    def flushes() -> bool:
        return float(torch.tensor(1e-30) * torch.tensor(1e-10)) == 0

    trainer, seen = build(max_steps=1), list[bool]()
    trainer.model.register_forward_hook(lambda *_: seen.append(flushes()))
    trainer.model.decoder.output.weight.register_hook(lambda _: seen.append(flushes()))
    trainer.fit()
    assert (seen[:2], flushes()) == ([True, True], False)
