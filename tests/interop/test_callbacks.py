"""The callbacks in the libraries' own trainers, and the code of docs/your-own-loop.md."""

import copy
import importlib
import re
import sys
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from tests import docs
from textvae.annealers import CyclicalAnnealer, LinearAnnealer, PIAnnealer, ScheduledAnnealer
from textvae.checks import InputError
from textvae.interop.vae_annealing import Annealer

Train = Callable[..., tuple[list[float], list[float]]]

# The libraries' own: they use what torch is about to drop, and give advice.
pytestmark = [
    pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)` is:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*pin_memory.*no accelerator is found:UserWarning"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* is not empty:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*GPU available but not used:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*resuming from a checkpoint that ended before:UserWarning"),
]


class Count:
    """All that a loop may ask of an annealer; its weight is the number of steps."""

    steps = 0

    def __call__(self, kl: Any) -> Any:
        return kl * self.steps

    def step(self) -> None:
        self.steps += 1


class Controller:
    """Sets its weight by each KL that it sees: the weight is known only after the call."""

    value = 0.0

    def __call__(self, kl: Any) -> Any:
        self.value += 0.125 * float(kl)
        return kl * self.value

    def step(self) -> None:
        self.value += 1.0


def weights(steps: Iterable[int]) -> list[float]:
    """Those of a linear warm-up over 8 steps, which even 32-bit floats hold exactly."""
    return [min(step / 8, 1.0) for step in steps]


def loop_of(library: str) -> Any:
    module = f"tests.interop.{library}_loop"
    return pytest.importorskip(module, reason="needs the extra interop")


@pytest.fixture(params=["lightning", "transformers"])
def train(request: pytest.FixtureRequest) -> Train:
    return loop_of(request.param).train


def test_every_batch_sees_the_weight_of_its_step_and_it_is_logged(train, tmp_path):
    annealer = LinearAnnealer(8)
    seen, logged = train(annealer, tmp_path)
    assert seen == logged == weights(range(16))
    assert annealer.current_step == 16  # the last step is not forgotten, validation not counted


@pytest.mark.parametrize("annealer", [LinearAnnealer(32), CyclicalAnnealer(4)])
def test_training_resumes_with_the_schedule(train, tmp_path, annealer):
    uninterrupted, _ = train(copy.deepcopy(annealer), tmp_path)
    seen, logged = train(copy.deepcopy(annealer), tmp_path, resume=True)
    assert seen == logged == uninterrupted[5:]


@pytest.mark.parametrize(
    ("batches", "steps"),
    [
        (2, [0, 0, 1, 1, 2, 2, 3, 3]),  # whole groups
        (3, [0, 0, 0, 1, 1, 1, 2, 2]),  # the epoch's end cuts the last group short, and steps
    ],
)
def test_accumulated_gradients_count_once(train, tmp_path, batches, steps):
    annealer = LinearAnnealer(8)
    seen, _ = train(annealer, tmp_path, accumulate=batches)
    assert seen == weights([*steps, *(step + steps[-1] + 1 for step in steps)])
    assert annealer.current_step == 2 * (steps[-1] + 1)


def test_any_annealer_will_do(train, tmp_path):
    seen, logged = train(Count(), tmp_path)
    assert seen == list(range(16))
    assert logged == []  # it has no `value` to show


def test_the_logged_weight_of_a_controller_is_the_applied_one(train, tmp_path):
    seen, logged = train(Controller(), tmp_path)
    assert seen == logged == [0.125 + 1.125 * step for step in range(16)]


@pytest.mark.parametrize(
    ("module", "library", "name"),
    [
        ("textvae.interop.lightning", "lightning.pytorch", "PyTorch Lightning"),
        ("textvae.interop.transformers", "transformers", "transformers"),
    ],
)
def test_a_missing_library_is_named_with_the_extra(monkeypatch, module, library, name):
    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, library, None)
    message = rf'{module} needs {name}: pip install "textvae\[interop\]"'
    with pytest.raises(ImportError, match=message):
        importlib.import_module(module)


def test_a_batch_with_two_optimizers_counts_once():
    lightning = loop_of("lightning")
    annealer = LinearAnnealer(8)
    model = lightning.VAE(annealer, optimizers=2)
    trainer = lightning.fit(model, lightning.KLAnnealingCallback(annealer))
    assert trainer.global_step == 16  # each of them counts for Lightning
    assert model.seen == weights(range(8))


def test_a_second_trainer_goes_on_with_the_schedule():
    lightning = loop_of("lightning")
    annealer = LinearAnnealer(8)
    callback, model = lightning.KLAnnealingCallback(annealer), lightning.VAE(annealer)
    for _ in range(2):
        lightning.fit(model, callback)
    assert model.seen == weights(range(16))


def test_a_checkpoint_from_between_optimizer_and_annealer_resumes_right(tmp_path):
    lightning = loop_of("lightning")

    class SaveEarly(lightning.Callback):
        def on_train_batch_end(self, trainer: Any, *unused: Any) -> None:
            if trainer.global_step == 5:
                trainer.save_checkpoint(tmp_path / "a.ckpt")

    first, second = LinearAnnealer(8), LinearAnnealer(8)
    lightning.fit(lightning.VAE(first), SaveEarly(), lightning.KLAnnealingCallback(first))
    model, callback = lightning.VAE(second), lightning.KLAnnealingCallback(second)
    lightning.fit(model, callback, path=tmp_path / "a.ckpt", max_steps=8)
    assert model.seen == weights(range(5, 8))


def test_each_callback_keeps_its_own_state(tmp_path):
    lightning = loop_of("lightning")

    def fit(*annealers: ScheduledAnnealer, **options: Any) -> Any:
        named = zip(annealers, "ab", strict=True)
        callbacks = [lightning.KLAnnealingCallback(*pair) for pair in named]
        return lightning.fit(lightning.VAE(annealers[0]), *callbacks, **options)

    old = LinearAnnealer(8), Annealer(9, cyclical=True)
    old[0].step()
    old[1].set_cyclical(False)
    fit(*old, max_steps=2).save_checkpoint(tmp_path / "a.ckpt")
    new = LinearAnnealer(8), Annealer(9, cyclical=True)
    fit(*new, path=tmp_path / "a.ckpt", max_steps=3)
    assert [annealer.current_step for annealer in new] == [4, 3]
    assert not new[1].cyclical


def test_training_again_begins_again_or_at_the_checkpoint(tmp_path):
    transformers = loop_of("transformers")
    annealer = LinearAnnealer(32)
    annealer.step()
    trainer = transformers.VAETrainer(annealer, tmp_path)
    for checkpoint in (None, None, str(tmp_path / "checkpoint-5")):
        trainer.train(resume_from_checkpoint=checkpoint)
    steps = [*range(1, 17), *range(1, 17), *range(6, 17)]
    assert trainer.seen == [step / 32 for step in steps]


def test_a_controller_is_not_resumed_in_silence(tmp_path):
    transformers = loop_of("transformers")
    transformers.VAETrainer(PIAnnealer(3.0), tmp_path).train()
    again = transformers.VAETrainer(PIAnnealer(3.0), tmp_path)
    with pytest.raises(InputError, match=r"a controller can't be resumed: .* got PIAnnealer"):
        again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-5"))


def test_reporters_in_front_see_the_weight_once_the_callback_is_moved_there(tmp_path):
    transformers = loop_of("transformers")
    reported: list[float] = []

    class Reporter(transformers.TrainerCallback):
        """Stands for TensorBoard: sees what the callbacks before it have left in the logs."""

        def on_log(self, args: Any, state: Any, control: Any, logs: Any, **unused: Any) -> None:
            assert ("beta" in logs) is ("loss" in logs), "only logs of training hold the weight"
            reported.extend(logs[name] for name in logs if name == "beta")

    trainer = transformers.VAETrainer(LinearAnnealer(8), tmp_path)
    callbacks = trainer.callback_handler.callbacks
    callbacks.insert(0, Reporter())
    callbacks.insert(0, trainer.pop_callback(transformers.KLAnnealingCallback))
    trainer.train()
    assert reported == weights(range(16))


CODE = re.compile(r"^```python ?(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
BLOCKS = CODE.findall(docs.text("docs/your-own-loop.md"))
STEPS = {0: 50, 1: 30, 2: 30}
"""Optimizer steps that the block of this position takes."""


def test_every_block_is_looked_at():
    assert [library for library, _ in BLOCKS] == ["", "lightning", "transformers", ""]


@pytest.mark.parametrize("position", range(4))
def test_blocks_run(position, tmp_path, monkeypatch):
    library, code = BLOCKS[position]
    if library:
        pytest.importorskip(library, reason="needs the extra interop")
    monkeypatch.chdir(tmp_path)
    code = code.replace("Trainer(max_epochs", "Trainer(logger=False, max_epochs")
    names: dict[str, object] = {"__name__": "doc"}
    exec(code, names)
    annealer = names.get("annealer")
    if position in STEPS:
        assert isinstance(annealer, ScheduledAnnealer)
        assert annealer.current_step == STEPS[position]
        assert annealer.finished
