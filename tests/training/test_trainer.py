"""Tests of `textvae.training.trainer`: what the loop does in a step, an epoch, and at the end."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from textvae import runtime
from textvae.annealers import ANNEALERS, LinearAnnealer
from textvae.batches import Batch
from textvae.diagnostics import Evaluation
from textvae.model import Posterior
from textvae.training import Trainer, TrainingError
from textvae.training.schedule import configured_annealer

Build = Callable[..., Trainer]
STEPS = 6  # of an epoch


class Recorder(LinearAnnealer):
    """Writes down what the loop does with it."""

    def __init__(self, warmup_steps: int = 4) -> None:
        super().__init__(warmup_steps)
        self.events: list[str] = []
        self.weights: list[float] = []
        self.kls: list[float] = []

    def __call__(self, kl: Any) -> Any:
        self.events.append("call")
        self.weights.append(self.value)
        self.kls.append(float(kl.detach()))
        return super().__call__(kl)

    def step(self) -> None:
        self.events.append("step")
        super().step()


def script_elbos(monkeypatch: pytest.MonkeyPatch, elbos: list[float], kl: float = 1.0) -> None:
    """Let evaluations find these ELBOs, one after the other."""
    values: Iterator[float] = iter(elbos)

    def evaluate(*arguments: Any, **options: Any) -> Evaluation:
        elbo = next(values)
        return Evaluation(-elbo - kl, kl, elbo, 9.0, 0.5, 2.5, 1, 1, [kl], 12, 99)

    monkeypatch.setattr("textvae.training.trainer.evaluate", evaluate)


def lines(trainer: Trainer, split: str) -> list[dict[str, Any]]:
    return [record for record in trainer.run.metrics() if record["split"] == split]


def snapshot(trainer: Trainer) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


# Steps


def test_the_annealer_weighs_each_batch_then_steps_once(build: Build, tmp_path: Path) -> None:
    annealer = Recorder(warmup_steps=4)
    build(tmp_path / "run", annealer=annealer, max_epochs=2).fit()
    assert annealer.events == ["call", "step"] * (2 * STEPS)  # validation neither calls nor steps
    assert annealer.weights[:6] == [0, 0.25, 0.5, 0.75, 1, 1]  # the first batch sees value_at(0)
    assert annealer.current_step == 2 * STEPS


def test_a_step_is_one_gradient_of_the_mean_over_sentences(
    build: Build, sixty: list[str], tmp_path: Path
) -> None:
    still = {"word_dropout": 0.0, "embedding_dropout": 0.0, "output_dropout": 0.0}
    trainer = build(
        tmp_path / "run",
        train=sixty[:7],
        latent_dim=0,  # no noise
        optimizer="sgd",
        lr=0.5,
        clip_norm=1e6,
        max_steps=1,
        **still,
    )
    (batch,) = trainer.train.epoch(0)
    rec = -trainer.model.log_likelihood(batch, torch.zeros(7, 0))
    assert len(set(batch.lengths.tolist())) > 1  # a mean over tokens would be another
    (rec.sum() / 7).backward()
    expected = {k: p.detach() - 0.5 * p.grad for k, p in trainer.model.named_parameters()}
    trainer.model.zero_grad()
    trainer.fit()
    for name, parameter in trainer.model.named_parameters():
        torch.testing.assert_close(parameter, expected[name])
    assert lines(trainer, "train") == []  # log_every is 3
    assert lines(trainer, "valid")[0]["num_sentences"] == 12


def test_the_kl_weighed_is_summed_over_dimensions_and_a_mean_over_sentences(
    build: Build, sixty: list[str], tmp_path: Path
) -> None:
    annealer = Recorder()
    trainer = build(tmp_path / "run", annealer=annealer, train=sixty[:5], max_steps=1)
    (batch,) = trainer.train.epoch(0)
    with torch.no_grad():
        expected = float(trainer.model.encode(batch).kl().sum(1).mean())
    trainer.fit()
    assert annealer.kls == [pytest.approx(expected)]


@pytest.mark.parametrize(
    ("options", "weighed"),
    [
        ({}, 6.0),  # three dimensions at the floor
        ({"free_bits_kind": "total"}, 2.0),  # one floor under them all
    ],
)
def test_free_bits_are_weighed_but_the_raw_kl_is_logged(
    build: Build, tmp_path: Path, options: dict[str, str], weighed: float
) -> None:
    annealer = Recorder()
    trainer = build(
        tmp_path / "run",
        annealer=annealer,
        free_bits=2.0,
        log_every=1,
        max_steps=2,
        lr=1e-6,
        **options,
    )
    trainer.fit()
    assert annealer.kls == [pytest.approx(weighed)] * 2
    assert all(record["kl"] < 1 for record in lines(trainer, "train"))


def test_gradients_are_clipped_after_they_are_there(build: Build, tmp_path: Path) -> None:
    trainer = build(
        tmp_path / "run", optimizer="sgd", lr=1.0, clip_norm=0.001, max_steps=1, log_every=1
    )
    before = snapshot(trainer)
    trainer.fit()
    moved = [(after - before[k]).flatten() for k, after in trainer.model.state_dict().items()]
    assert float(torch.cat(moved).norm()) == pytest.approx(0.001, rel=1e-3)
    assert lines(trainer, "train")[0]["gradient_norm"] > 0.1  # the norm before clipping


def test_every_sentence_is_seen_once_an_epoch_and_modes_are_right(
    build: Build, tmp_path: Path
) -> None:
    trainer = build(tmp_path / "run", max_epochs=2)
    seen: list[tuple[bool, list[int]]] = []
    model, encode = trainer.model, trainer.model.encode

    def watched(batch: Batch) -> Posterior:
        seen.append((model.training, batch.indices.tolist()))
        return encode(batch)

    model.encode = watched  # type: ignore[method-assign]
    trainer.fit()
    passes = [trained for trained, _ in seen]
    assert passes == ([True] * STEPS + [False] * 3) * 2
    for start, number in ((0, 48), (STEPS, 12), (STEPS + 3, 48), (2 * STEPS + 3, 12)):
        stop = start + (STEPS if number == 48 else 3)
        assert sorted(i for _, indices in seen[start:stop] for i in indices) == list(range(number))
    orders = [[indices for _, indices in seen[at : at + STEPS]] for at in (0, STEPS + 3)]
    assert orders[0] != orders[1]


@pytest.mark.parametrize("number", [1, 3])
def test_fewer_sentences_than_a_batch(
    build: Build, sixty: list[str], tmp_path: Path, number: int
) -> None:
    trainer = build(
        tmp_path / "run", train=sixty[:number], valid=sixty[:1], batch_size=32, max_epochs=2
    )
    assert trainer.fit() == "2 epochs done"
    assert trainer.progress.step == 2
    assert [record["num_sentences"] for record in lines(trainer, "valid")] == [1, 1]


def test_bf16_multiplies_in_bf16_and_keeps_fp32_weights(build: Build, tmp_path: Path) -> None:
    runs = {p: build(tmp_path / p, precision=p, max_steps=3) for p in ("fp32", "bf16")}
    for trainer in runs.values():
        trainer.fit()
    recs = [lines(trainer, "train")[0]["rec"] for trainer in runs.values()]
    assert recs[0] != recs[1]
    assert recs[0] == pytest.approx(recs[1], rel=0.01)
    assert {p.dtype for p in runs["bf16"].model.parameters()} == {torch.float32}


# Records


def test_what_is_logged(build: Build, tmp_path: Path) -> None:
    trainer = build(tmp_path / "run", max_epochs=2, warmup_epochs=2.0)
    trainer.fit()
    train, valid = lines(trainer, "train"), lines(trainer, "valid")
    assert [(record["step"], record["epoch"]) for record in train] == [
        (3, 1),
        (6, 1),
        (9, 2),
        (12, 2),
    ]
    assert [record["beta"] for record in train] == pytest.approx([2 / 12, 5 / 12, 8 / 12, 11 / 12])
    assert set(train[0]) == {
        *("split", "step", "epoch", "beta", "rec", "kl", "gradient_norm", "lr"),
        *("encoder_gradient_norm", "decoder_gradient_norm", "num_tokens", "tokens_per_second"),
    }
    assert [(record["step"], record["epoch"]) for record in valid] == [(6, 1), (12, 2)]
    keys = {"split", "step", "epoch", "beta", "lr", "verdict", "seconds"}
    keys |= {
        "rec",
        "kl",
        "elbo",
        "elbo_ppl",
        "mi",
        "mi_max",
        "au",
        "active_dimensions",
        "kl_per_dim",
    }
    assert set(valid[0]) == keys | {"num_sentences", "num_tokens"}


def test_the_same_seed_gives_the_same_run_and_another_a_different_one(
    build: Build, left_behind: Callable[[Trainer], dict[str, Any]], tmp_path: Path
) -> None:
    results = []
    for i, seed in enumerate((0, 0, 1)):
        trainer = build(tmp_path / str(i), seed=seed, max_epochs=1)
        trainer.fit()
        results.append(left_behind(trainer))
    assert results[0] == results[1]
    assert results[0]["weights"] != results[2]["weights"]


def test_the_process_is_left_as_it_was_found(build: Build, tmp_path: Path) -> None:
    before = torch.is_grad_enabled(), torch.get_num_threads()
    for annealer in (Recorder(), Spoiler(1, math.nan)):
        trainer = build(tmp_path / type(annealer).__name__, annealer=annealer, max_epochs=1)
        with contextlib.suppress(TrainingError):
            trainer.fit()
        # Tiny numbers are no longer flushed to zero.
        assert float(torch.tensor(1e-30) * torch.tensor(1e-10)) > 0
    assert before == (torch.is_grad_enabled(), torch.get_num_threads())


# The end


def test_limits_on_steps_and_epochs(build: Build, tmp_path: Path) -> None:
    by_epochs = build(tmp_path / "a", max_epochs=2, max_steps=99)
    assert by_epochs.fit() == "2 epochs done"
    assert by_epochs.progress.step == 2 * STEPS
    by_steps = build(tmp_path / "b", max_epochs=2, max_steps=8)
    assert by_steps.fit() == "8 steps done"
    assert [record["step"] for record in lines(by_steps, "valid")] == [6, 8]
    at_an_end = build(tmp_path / "c", max_epochs=2, max_steps=STEPS)
    assert at_an_end.fit() == "6 steps done"
    assert [record["step"] for record in lines(at_an_end, "valid")] == [6]


def test_decays_compound_and_go_back_to_the_best_weights(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = build(
        tmp_path / "run",
        annealer=Recorder(0),
        optimizer="sgd",
        momentum=0.9,
        lr=0.4,
        lr_patience=0,
        max_lr_decays=2,
        max_epochs=9,
    )
    script_elbos(monkeypatch, [-50, -40, -41, -42, -43])
    judged: list[dict[str, Tensor]] = []
    judge = trainer._judge_epoch

    def watch(evaluation: Evaluation) -> None:
        judge(evaluation)
        judged.append(snapshot(trainer))

    monkeypatch.setattr(trainer, "_judge_epoch", watch)
    assert trainer.fit() == "no better ELBO for 3 epochs at learning rate 0.1"
    valid = lines(trainer, "valid")
    assert [record["verdict"] for record in valid] == ["better", "better", "decay", "decay", "stop"]
    assert [record["lr"] for record in valid] == pytest.approx([0.4, 0.4, 0.2, 0.1, 0.1])
    best = judged[1]
    for after in judged[2:4]:
        assert all(torch.equal(best[name], after[name]) for name in best)
    assert any(not torch.equal(best[name], judged[4][name]) for name in best)
    kept = trainer.model.from_pretrained(trainer.run.path).state_dict()
    assert all(torch.equal(best[name], kept[name]) for name in best)


def test_a_decay_forgets_momentum_and_keeps_the_optimizer(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, kind in (("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)):
        trainer = build(
            tmp_path / name, optimizer=name, warmup_epochs=0.0, lr_patience=0, weight_decay=0.125
        )
        script_elbos(monkeypatch, [-1, -2, -3])
        trainer.fit()
        assert type(trainer.stepper.optimizer) is kind
        assert trainer.stepper.lr == pytest.approx(0.01 / 4)
        assert trainer.stepper.optimizer.param_groups[0]["weight_decay"] == 0.125
        assert not trainer.stepper.optimizer.state  # the last epoch decayed


def test_the_elbo_is_not_asked_while_the_weight_is_annealed(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The annealed loss is best where the model is no VAE; so is the ELBO of some early epoch.
    trainer = build(tmp_path / "run", warmup_epochs=2.0, lr_patience=0, max_epochs=4, lr=0.001)
    script_elbos(monkeypatch, [-10, -60, -50, -51])
    trainer.fit()
    valid = lines(trainer, "valid")
    assert [record["verdict"] for record in valid] == ["better", "better", "better", "decay"]
    assert trainer.plateau.best == -50


def test_an_autoencoder_is_never_judged(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = build(tmp_path / "run", annealer=ANNEALERS["constant"](0.0), early_stopping=1)
    script_elbos(monkeypatch, [-10, -60, -70])
    assert trainer.fit() == "3 epochs done"
    assert [record["verdict"] for record in lines(trainer, "valid")] == ["better"] * 3


def test_a_language_model_is_judged_from_the_first_epoch(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = build(tmp_path / "run", latent_dim=0, warmup_epochs=9.0, early_stopping=1)
    script_elbos(monkeypatch, [-10, -11], kl=0.0)
    assert trainer.fit() == "no better ELBO for 1 epochs at learning rate 0.01"


# What goes wrong


class Spoiler(LinearAnnealer):
    """Breaks the loss of one step, and knows whether anything was trained on after."""

    def __init__(self, at: int, value: float) -> None:
        super().__init__(0)
        self.at, self.broken = at, value

    def __call__(self, kl: Any) -> Any:
        return kl * (self.broken if self.current_step + 1 == self.at else 1.0)


@pytest.mark.parametrize(
    ("at", "options", "where"),
    [
        (8, {}, r"step 8 \(epoch 2, batch 2\)"),
        (7, {"log_every": 99}, r"step 7 \(epoch 2, batch 1\)"),
        (12, {"log_every": 99}, r"step 12 \(epoch 2, batch 6\)"),
    ],
)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite(
    build: Build, tmp_path: Path, at: int, options: dict[str, Any], where: str, value: float
) -> None:
    trainer = build(tmp_path / "run", annealer=Spoiler(at, value), **options)
    with pytest.raises(TrainingError, match=rf"loss or gradient not finite at {where}") as caught:
        trainer.fit()
    message = str(caught.value)
    assert f"the last good state is {trainer.run.state_file}" in message
    assert "smaller learning rate (now 0.01) or clip_norm (now 5)" in message
    state = trainer.run.load_state()
    assert state["progress"]["step"] == STEPS
    for tensor in state["model"].values():
        assert bool(torch.isfinite(tensor).all())
    kept = trainer.model.from_pretrained(trainer.run.path).state_dict()
    assert all(torch.equal(kept[name], tensor) for name, tensor in state["model"].items())


@pytest.mark.parametrize(
    ("options", "is_warned"),
    [
        ({}, True),
        ({"max_beta": 0.4}, False),  # not heard much
        ({"warmup_epochs": 9.0}, False),  # not heard at all yet
        ({"latent_dim": 0}, False),  # a language model has nothing to collapse
    ],
)
def test_a_collapse_is_said(
    build: Build,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: dict[str, Any],
    is_warned: bool,
) -> None:
    trainer = build(
        tmp_path / "run", **{"warmup_epochs": 0.0, "lr": 1e-9, "max_epochs": 1, **options}
    )
    for name, parameter in trainer.model.named_parameters():
        if name.startswith("head."):
            torch.nn.init.zeros_(parameter)
    trainer.fit()
    captured = capsys.readouterr()
    warning = "warning: KL 0.000 nats per sentence at β 1.00: the decoder ignores z"
    assert (warning in captured.err) == is_warned
    assert ("warning" in captured.err) == is_warned
    assert captured.out == ""


def test_no_collapse_is_said_of_a_kl_above_a_tenth(
    build: Build,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script_elbos(monkeypatch, [-50], kl=0.1)
    build(tmp_path / "a", annealer=ANNEALERS["constant"](1.0), max_epochs=1).fit()
    assert "warning" not in capsys.readouterr().err
    script_elbos(monkeypatch, [-50], kl=0.099)
    build(tmp_path / "b", annealer=ANNEALERS["constant"](0.51), max_epochs=1).fit()
    assert "warning: KL 0.099 nats per sentence at β 0.51" in capsys.readouterr().err


def script_window(trainer: Trainer, monkeypatch: pytest.MonkeyPatch, kls: list[float]) -> list[str]:
    """Let windows find these KLs, one after the other; gives what the bar said of each."""
    values, read, said = iter(kls), trainer.means.read, list[str]()
    status = trainer._status

    def tell(*arguments: Any) -> str:
        said.append(status(*arguments))
        return said[-1]

    monkeypatch.setattr(trainer.means, "read", lambda: read() | {"kl": next(values)})
    monkeypatch.setattr(trainer, "_status", tell)
    return said


def collapsed_since(said: list[str]) -> list[int | None]:
    found = [re.search(r"COLLAPSED since step (\d+) ", line) for line in said]
    return [int(match[1]) if match else None for match in found]


@pytest.mark.parametrize(
    ("kls", "since"),
    [
        ([0.5, 0.09, 0.01, 0.05], [None, 2, 2, 2]),
        ([0.01, 0.2, 0.01, 0.01], [1, None, 3, 3]),  # forgotten when KL rises
        ([0.1, 0.1, 0.0999, 0.1], [None, None, 3, None]),
    ],
)
def test_the_bar_says_since_when_the_kl_is_gone(
    build: Build,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kls: list[float],
    since: list[int | None],
) -> None:
    trainer = build(tmp_path / "run", warmup_epochs=0.0, max_steps=4, log_every=1)
    said = script_window(trainer, monkeypatch, kls)
    trainer.fit()
    assert collapsed_since(said) == since
    assert [f"KL {kl:.2f}" in line for kl, line in zip(kls, said, strict=True)] == [True] * 4


def test_the_bar_of_a_resumed_run_still_knows_since_when(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for max_steps, since in ((2, [1, 1]), (4, [1, 1])):
        trainer = build(tmp_path / "run", warmup_epochs=0.0, max_steps=max_steps, log_every=1)
        said = script_window(trainer, monkeypatch, [0.01, 0.01])
        trainer.fit()
        assert collapsed_since(said) == since


@pytest.mark.parametrize(
    ("options", "since"),
    [
        ({"annealer": Recorder(4)}, [None, None, None, 4]),  # weights 0, 0.25, 0.5, 0.75
        ({"annealer": ANNEALERS["constant"](0.5)}, [None] * 4),
        ({"annealer": ANNEALERS["constant"](0.51)}, [1] * 4),
        ({"latent_dim": 0}, [None] * 4),  # a language model has nothing to collapse
    ],
)
def test_the_bar_calls_it_collapsed_only_where_the_kl_is_weighed(
    build: Build,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    since: list[int | None],
) -> None:
    trainer = build(
        tmp_path / "run", warmup_epochs=0.0, max_steps=4, log_every=1, **options
    )  # fmt: skip
    said = script_window(trainer, monkeypatch, [0.01] * 4)
    trainer.fit()
    assert collapsed_since(said) == since


def test_the_bar_shows_the_last_evaluation(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = build(tmp_path / "run", max_epochs=2, log_every=STEPS)
    script_elbos(monkeypatch, [-50.25, -50.0])
    said = script_window(trainer, monkeypatch, [1.0, 1.0])
    trainer.fit()
    assert "valid" not in said[0]
    assert " valid 50.25 MI 0.50 AU 1 " in said[1]


def test_steps_are_at_full_speed(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "_onednn_is_quicker", lambda: True)
    matmul, seen = torch.backends.mkldnn.matmul, list[str]()
    before = matmul.fp32_precision
    trainer = build(tmp_path / "run", max_steps=1, precision="fp32")
    weight = trainer.model.decoder.output.weight
    trainer.model.register_forward_hook(lambda *_: seen.append(matmul.fp32_precision))
    weight.register_hook(lambda _: seen.append(matmul.fp32_precision))
    trainer.fit()
    assert (seen[:2], matmul.fp32_precision) == (["bf16", "bf16"], before)


# From options to parts


@pytest.mark.parametrize("name", sorted(ANNEALERS))
def test_the_configured_schedule_is_full_after_its_epochs(
    build: Build, tmp_path: Path, name: str
) -> None:
    trainer = build(tmp_path / "run", annealer=None, warmup_epochs=2.5, max_beta=0.8)
    config = type(trainer.config)(annealer=name, warmup_epochs=2.5, max_beta=0.8, num_cycles=3)
    annealer = configured_annealer(config, STEPS)
    assert type(annealer) is type(ANNEALERS[name](3))
    assert annealer.value_at(15) == 0.8  # 2.5 epochs of six steps
    assert (annealer.value_at(0) == 0) == (name != "constant")


def test_a_run_that_became_far_slower_says_so(
    build: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = build(tmp_path / "run", max_steps=6, log_every=1)
    observe, speeds = trainer._slowdown.observe, iter([900, 900, 900, 900, 90, 90])
    trainer._slowdown.observe = lambda _: observe(next(speeds))  # type: ignore[method-assign]
    trainer.fit()
    assert "warning: training is slow: 90 tokens/s, 900 at first" in capsys.readouterr().err
