"""A resumed run is the uninterrupted one, bit for bit, wherever it was stopped."""

import signal
from collections.abc import Callable
from functools import partial

import pytest
import torch

from tests.able import needs_bf16
from tests.training.building import STEPS, Theirs, in_step, left_behind, lines, press_ctrl_c
from textvae.checks import InputError
from textvae.diagnostics import Evaluation
from textvae.training import SafeInterrupt, Trainer

Stop = Callable[[Trainer], None]

ADAM = {"optimizer": "adam", "lr": 0.01}
SGD = {"optimizer": "sgd", "momentum": 0.9, "lr": 0.05}
BF16 = {"precision": "bf16"}
# So fast that it gets worse: an epoch better, the next ones worse.
HASTY = {"lr_patience": 0, "warmup_epochs": 0.0}
DECAYING = {**SGD, **HASTY, "lr": 3.0}


class Rising(Theirs):
    """An annealer of another package: full weight after some steps."""

    def __init__(self) -> None:
        super().__init__([step / 9 for step in range(10)])


class KilledError(Exception):
    pass


def ctrl_c(step: int) -> Stop:
    return lambda trainer: in_step(trainer, step, press_ctrl_c)


def ctrl_c_in_evaluation(number: int) -> Stop:
    """In evaluation number `number`, from 1."""

    def arrange(trainer: Trainer) -> None:
        evaluate, calls = trainer._evaluate, iter(range(1, 99))

        def pressed() -> Evaluation:
            if next(calls) == number:
                press_ctrl_c()
            return evaluate()

        trainer._evaluate = pressed

    return arrange


def kill(trainer: Trainer) -> None:
    with trainer.run.metrics_file.open("a") as file:
        file.write('{"split": "train", "ste')  # half a line
    raise KilledError


def killed(step: int) -> Stop:
    return lambda trainer: in_step(trainer, step, partial(kill, trainer))


def killed_before_the_model_is_saved(trainer: Trainer) -> None:
    save, progress = trainer.model.save_pretrained, trainer.progress
    late = lambda path: kill(trainer) if progress.step == 2 * STEPS else save(path)  # noqa: E731
    trainer.model.save_pretrained = late


def killed_before_the_state_is_saved(trainer: Trainer) -> None:
    log = trainer.run.log
    trainer.run.log = lambda record: (
        log(record),
        record["split"] == "valid" and trainer.progress.step == 2 * STEPS and kill(trainer),
    )


@pytest.mark.parametrize(
    ("options", "stops", "begins_at"),
    [
        (ADAM, [ctrl_c(1)], 1),
        (ADAM, [ctrl_c(STEPS + 2)], STEPS + 2),  # mid-epoch, between two log lines
        (ADAM, [ctrl_c(4), ctrl_c(5)], 5),
        pytest.param({**ADAM, **BF16}, [ctrl_c(STEPS + 2)], STEPS + 2, marks=needs_bf16),
        (SGD, [ctrl_c(STEPS + 2)], STEPS + 2),
        pytest.param({**SGD, **BF16}, [ctrl_c(STEPS + 2)], STEPS + 2, marks=needs_bf16),
        (SGD, [ctrl_c(2 * STEPS)], 2 * STEPS),  # an epoch's last step, before its evaluation
        (ADAM, [ctrl_c_in_evaluation(1)], STEPS),
        (SGD, [ctrl_c_in_evaluation(3)], 3 * STEPS),
        ({"annealer": Rising, "max_epochs": 4, **DECAYING}, [ctrl_c(4)], 4),
        ({"annealer": Rising, "max_epochs": 4, **DECAYING}, [ctrl_c(14)], 14),
        ({"annealer": Rising, "max_epochs": 4}, [ctrl_c_in_evaluation(3)], 3 * STEPS),
        ({"posterior": "batch-norm", "bag_of_words": 0.5}, [ctrl_c(8)], 8),
        ({"aggressive_updates": 3, "max_epochs": 2}, [ctrl_c(8)], 8),
        ({"word_dropout_epochs": 2.0, "aggressive_updates": 2}, [ctrl_c(8)], 8),
        ({"importance_samples": 2, "max_epochs": 2}, [ctrl_c(8)], 8),
        ({"average_epochs": 1.0, "posterior": "batch-norm"}, [ctrl_c(8)], 8),
        ({"average_epochs": 0.5, "max_epochs": 5, **DECAYING}, [ctrl_c_in_evaluation(4)], 24),
        ({"save_every": 4, "log_every": 1}, [killed(2)], 0),
        ({"save_every": 4, "log_every": 1}, [killed(5)], 4),
        ({"save_every": 4, "log_every": 1}, [killed(STEPS + 1)], STEPS),
        ({"save_every": 4, "log_every": 1}, [killed(2 * STEPS)], 8),
        ({"save_every": 5}, [killed_before_the_model_is_saved], 10),
        ({"save_every": 5}, [killed_before_the_state_is_saved], 10),
    ],
)
def test_a_stopped_run_resumed_is_the_uninterrupted_one(
    build, uninterrupted, options, stops, begins_at
):
    whole = uninterrupted(**options)
    handler = signal.getsignal(signal.SIGINT)
    for stop in stops:
        trainer = build(**options)
        stop(trainer)
        with pytest.raises((SafeInterrupt, KilledError)):
            trainer.fit()
        assert trainer.model.training
        assert signal.getsignal(signal.SIGINT) is handler
    resumed = build(annealer=options.get("annealer"))
    assert resumed.progress.step == begins_at
    resumed.fit()
    assert left_behind(resumed) == whole


def test_interrupted_after_a_decay(build, uninterrupted):
    options = {**DECAYING, "max_epochs": 6}
    whole = uninterrupted(**options)
    verdicts = [line["verdict"] for line in whole["lines"] if line["split"] == "valid"]
    decayed = verdicts.index("decay") + 1
    assert "decay" in verdicts[decayed:]  # so that resuming must not undo the first one
    first = build(**options)
    ctrl_c(decayed * STEPS + 2)(first)
    with pytest.raises(SafeInterrupt):
        first.fit()
    second = build()
    assert second.stepper.lr == pytest.approx(options["lr"] / 2)
    second.fit()
    assert left_behind(second) == whole


@pytest.mark.parametrize(
    ("limit", "higher", "last"),
    [
        ({"max_steps": 1}, {"max_steps": 15}, 1),
        ({"max_steps": STEPS}, {"max_steps": 15}, STEPS),
        ({"max_steps": STEPS + 3}, {"max_steps": 15}, STEPS + 3),
        ({"max_epochs": 2}, {"max_epochs": 3}, 2 * STEPS),
    ],
)
def test_more_than_first_allowed(build, uninterrupted, limit, higher, last):
    first = build(**limit)
    first.fit()
    assert lines(first.run, "valid")[-1]["step"] == last
    second = build(**higher)
    second.fit()
    assert left_behind(second) == uninterrupted(**higher)


def test_an_evaluation_in_mid_epoch_changes_nothing_of_a_longer_run(build, script_elbos):
    script_elbos(-50, -55, -60)
    whole = build("whole", **HASTY)
    whole.fit()
    script_elbos(-50, -40, -55, -60)
    build(**HASTY, max_steps=STEPS + 3).fit()
    second = build(max_steps=None)
    second.fit()
    assert left_behind(second) == left_behind(whole)


@pytest.mark.parametrize(
    ("options", "again", "reason"),
    [
        ({"max_epochs": 2}, {}, "2 epochs done"),
        ({"max_steps": 8}, {}, "8 steps done"),
        ({"max_steps": 8}, {"max_steps": 5}, "8 steps done"),  # a lower limit than was reached
        ({**DECAYING, "max_lr_decays": 1, "max_epochs": 20}, {"max_epochs": 30}, "no better ELBO"),
    ],
)
def test_a_finished_run_stays_as_it_is(build, options, again, reason):
    first = build(**options)
    assert first.fit().startswith(reason)
    before = left_behind(first)
    second = build(**again)
    assert second.fit() == first.ended
    assert left_behind(second) == before


def test_their_annealer_steps_once_a_batch_and_its_weight_is_logged(build):
    theirs = Rising()
    trainer = build(annealer=theirs, max_epochs=4, lr_patience=9)
    best, judge = [], trainer._judge
    trainer._judge = lambda found: (judge(found), best.append(trainer.plateau.best))
    trainer.fit()
    assert theirs.events == ["call", "step"] * (4 * STEPS)  # validation does neither
    betas = {line["step"]: line["beta"] for line in lines(trainer.run, "train")}
    assert list(betas) == [3, 6, 9, 12, 15, 18, 21, 24]
    # Its own word is not to be had: the weight of the last batch.
    assert list(betas.values()) == pytest.approx([2 / 9, 5 / 9, 8 / 9, 1, 1, 1, 1, 1])
    # It gets to full weight in the second epoch and rests throughout the third.
    assert [value > -torch.inf for value in best] == [False, False, True, True]


def test_a_state_of_another_model(build):
    small, large = build("small", max_steps=1), build("large", decoder_hidden_size=9)
    small.fit()
    small.run.state_file.rename(large.run.state_file)
    with pytest.raises(InputError, match="does not fit the model"):
        large.resume()


def test_a_state_of_another_remedy(build):
    build(aggressive_updates=1, max_steps=1).fit()
    with pytest.raises(InputError, match=r"is of a training with \['aggressive_updates'\] too"):
        build(aggressive_updates=0)
