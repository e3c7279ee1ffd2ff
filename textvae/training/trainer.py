"""`Trainer`: one loop, one order in it.

A step is `Stepper.update`, then the annealer's step, then the log. After each epoch the true ELBO
(β = 1) on validation data alone decides what is kept, when the learning rate decays and when
training ends, and only once annealing has ended.

Of several processes each computes a part of every batch, all take the same decisions, and the
first alone writes and speaks.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from accelerate import Accelerator
from safetensors.torch import load_model
from tqdm import tqdm

from textvae.annealers import KLAnnealer
from textvae.batches import Batch, BatchLoader
from textvae.checks import InputError
from textvae.diagnostics import Evaluation, evaluate
from textvae.model import SentenceVAE
from textvae.run import RunDirectory
from textvae.runtime import SlowdownWatch, full_speed, join, resolve_precision
from textvae.training.interrupt import Interrupt, SafeInterrupt
from textvae.training.log import CollapseWatch, RunningMeans, Tracker
from textvae.training.remedies import REMEDIES, Remedy
from textvae.training.schedule import (
    Counters,
    Decision,
    KLWeight,
    Plateau,
    configured_annealer,
)
from textvae.training.step import NotFiniteError, Stepper, Update, local_batches


class TrainingError(RuntimeError):
    """Training can't go on; the message says where, and what is safe."""


@dataclass
class Progress(Counters):
    """How far a training is."""

    epoch: int = 0  # whole ones
    batch: int = 0  # of the present epoch
    step: int = 0
    seconds: float = 0.0
    num_tokens: int = 0  # since the last log line
    decision: Decision = "wait"  # after the last evaluation


class Trainer:
    """Trains a model and keeps its run directory.

    Args:
        model: The model; its tokenizer is saved with it.
        train: Batches to train on.
        valid: Batches to judge by.
        run: Where to write; its configuration is what is followed.
        annealer: Weight of the KL term: called on each batch's KL, stepped once per optimizer
            step. Anything with those two serves. By default the configured schedule.
        remedies: Further remedies by name, beside those that the configuration asks for.

    Attributes:
        ended: Why training ended, in words; None before.
        parts: All that has a state, by name: what is saved and resumed.
    """

    def __init__(
        self,
        model: SentenceVAE,
        train: BatchLoader,
        valid: BatchLoader,
        run: RunDirectory,
        *,
        annealer: KLAnnealer | None = None,
        remedies: Mapping[str, Remedy] = MappingProxyType({}),
    ) -> None:
        self.config = config = run.config.training
        self.processes = join(cpu=config.device == "cpu")
        self.accelerator = Accelerator(cpu=config.device == "cpu")
        self.train, self.valid, self.run = train, valid, run
        self.model = model.to(self.accelerator.device)
        self.model.decoder.max_scores = config.max_scores
        if annealer is None:
            annealer = configured_annealer(config, len(train))
        self.weight = KLWeight(annealer)
        self.precision = resolve_precision(config.precision, self.accelerator.device)
        self.stepper = Stepper(
            self.model,
            self.weight,
            config,
            self.accelerator,
            processes=self.processes,
            precision=self.precision,
        )
        self.plateau = Plateau(config.lr_patience, config.max_lr_decays, config.early_stopping)
        self.progress, self.means, self.collapse = Progress(), RunningMeans(), CollapseWatch()
        asked_for = {name: make for name, make in REMEDIES.items() if getattr(config, name, 0)}
        self.remedies = {name: make(config) for name, make in asked_for.items()} | dict(remedies)
        self.parts: dict[str, Any] = {
            "progress": self.progress,
            "model": self.model,
            "optimizer": self.stepper,
            "weight": self.weight,
            "plateau": self.plateau,
            "means": self.means,
            "collapse": self.collapse,
            "random": self.stepper.randomness,
            **self.remedies,
        }
        self.tracker = Tracker(run, tensorboard=config.tensorboard, processes=self.processes)
        self._slowdown = SlowdownWatch()
        self.ended: str | None = None
        self._last_evaluation: Evaluation | None = None
        self._ticked = self._logged = 0.0

    def fit(self) -> str:
        """Train until the configuration says enough. Ctrl-C saves, then raises.

        Of several processes all must call this; Ctrl-C in any of them stops all.

        Returns:
            Why training ended, in words.

        Raises:
            SafeInterrupt: After Ctrl-C, with the training state saved. A second Ctrl-C raises a
                plain KeyboardInterrupt at once; then the state before counts.
            TrainingError: If loss or gradient is not finite; the step is not taken.
        """
        self._ticked = self._logged = time.monotonic()
        self.stepper.randomness.begin(self.config.seed)
        device = self.accelerator.device
        with full_speed(device), Interrupt(self.processes) as interrupt, self._bar() as bar:
            try:
                if self.progress.step == 0:
                    self.save()  # from here on there is always a state to resume from
                while self.ended is None:
                    self._train_epoch(interrupt, bar)
                    is_whole = self.progress.batch == len(self.train)
                    if not is_whole:
                        self.save()  # mid-epoch, in case more steps are allowed later
                    self._judge_epoch(self._evaluate(interrupt))
                    if is_whole:
                        self.save()
                self.processes.wait()  # the first has written all that others may now read
            except SafeInterrupt:
                self.save()
                self.processes.wait()
                raise
        return self.ended

    def _train_epoch(self, interrupt: Interrupt, bar: tqdm[Any]) -> None:
        at = self.progress
        self.model.train()
        for local in local_batches(self.train, at.epoch, at.batch, self.processes):
            if self._has_done_all_steps():
                break
            try:
                for remedy in self.remedies.values():
                    remedy.before_step(self)
                update = self.stepper.update(local)
            except NotFiniteError:
                raise self._not_finite() from None
            self.weight.step()

            at.step += 1
            at.batch += 1
            self._note(update, local.num_sentences, local.num_tokens)
            bar.update()
            if at.step % self.config.log_every == 0:
                self._log_means(bar)
            if at.step % self.config.save_every == 0:
                self.save()
            interrupt.check()

    def _evaluate(self, interrupt: Interrupt) -> Evaluation:
        def checked() -> Iterator[Batch]:
            for batch in self.valid.epoch(0):
                # Parts differ in their number of batches: several processes can't agree in between.
                if self.processes.world == 1:
                    interrupt.check()
                yield batch

        began = time.monotonic()
        evaluation = evaluate(
            self.model, checked(), self.valid.num_sentences, processes=self.processes
        )
        interrupt.check()
        self._logged += time.monotonic() - began  # tokens/s is of training alone
        return evaluation

    def _judge_epoch(self, evaluation: Evaluation) -> None:
        at = self.progress
        self.weight.end_epoch()
        self._last_evaluation = evaluation
        self._warn_of_collapse(evaluation)
        at.decision = "better"
        if self._optimises_elbo() and at.batch == len(self.train):
            at.decision = self.plateau.update(evaluation.elbo)
        elif self.plateau.best > -math.inf:
            # Part of an epoch must not outdo the best whole one: a run that is later allowed more
            # steps would return to other weights than one that was never stopped.
            at.decision = "wait"
        if at.decision == "better" and self.processes.is_first:
            self.model.save_pretrained(self.run.path)
        elif at.decision == "decay":
            load_model(self.model, self.run.weights_file)
            # Moments and momentum were gathered on the way to the abandoned weights.
            self.stepper.restart(self.stepper.lr * self.config.lr_decay)
        for remedy in self.remedies.values():
            remedy.after_evaluation(self, evaluation)
        self.tracker.log(
            {
                **self._where("valid"),
                "lr": self.stepper.lr,
                "verdict": at.decision,
                **evaluation.to_dict(),
                "seconds": round(self._tick(), 1),
            }
        )
        at.epoch, at.batch = at.epoch + 1, 0
        self.ended = self._reason_to_end()

    def _optimises_elbo(self) -> bool:
        """Whether the ELBO can judge: not while β is annealed, nor an autoencoder (β = 0)."""
        if self.model.latent_dim == 0:
            return True  # a language model has no KL, and so nothing to anneal
        return self.weight.finished and self.weight.value > 0

    def _reason_to_end(self) -> str | None:
        at = self.progress
        if at.decision == "stop":
            stale, lr = self.plateau.stale, self.stepper.lr
            return f"no better ELBO for {stale} epochs at learning rate {lr:g}"
        if self._has_done_all_steps():
            return f"{at.step} steps done"
        if at.epoch >= self.config.max_epochs:
            return f"{at.epoch} epochs done"
        return None

    def _has_done_all_steps(self) -> bool:
        # More than all, where a resumed run was given a lower limit than it had reached.
        return self.config.max_steps is not None and self.progress.step >= self.config.max_steps

    def save(self) -> None:
        """Write everything that continuing to the same result needs."""
        self._tick()
        # All processes take part: some parts are of all of them, whoever writes.
        state = {name: part.state_dict() for name, part in self.parts.items()}
        if self.processes.is_first:
            self.run.save_state(state)

    def resume(self) -> None:
        """Continue from the run's last training state.

        Raises:
            FileNotFoundError: If there is no training state.
            InputError: If the state does not fit, or is of another number of processes.
        """
        state = self.run.load_state()
        if unknown := set(state) - set(self.parts):
            raise InputError(f"{self.run.state_file} is of a training with {sorted(unknown)} too")
        for name, part in self.parts.items():
            try:
                part.load_state_dict(state[name])
            except (KeyError, RuntimeError) as error:
                raise InputError(
                    f"{self.run.state_file} does not fit the {name}: {error}"
                ) from None
        at = self.progress
        if at.epoch > 0 and at.batch == 0:
            self.ended = self._reason_to_end()
        if self.processes.is_first:
            self.run.forget_metrics_after(at.step, is_judged=at.batch == 0)

    def _tick(self) -> float:
        """Seconds trained in all, up to now."""
        now = time.monotonic()
        self.progress.seconds += now - self._ticked
        self._ticked = now
        return self.progress.seconds

    def _bar(self) -> tqdm[Any]:
        steps = self.config.max_epochs * len(self.train)
        return tqdm(
            total=min(steps, self.config.max_steps or steps),
            initial=self.progress.step,
            desc="training",
            unit="step",
            dynamic_ncols=True,
            mininterval=0.5,
            disable=not self.processes.is_first,
        )

    def _where(self, split: str) -> dict[str, Any]:
        at = self.progress
        return {
            "split": split,
            "step": at.step,
            "epoch": at.epoch + 1,
            "beta": self.weight.value,
        }

    def _note(self, update: Update, num_sentences: int, num_tokens: int) -> None:
        terms, norms = update
        values = {"rec": terms.rec, "kl": terms.kl, **terms.auxiliary}
        self.means.add(values, num_sentences)
        self.means.add(
            {
                "gradient_norm": norms.total,
                "encoder_gradient_norm": norms.encoder,
                "decoder_gradient_norm": norms.decoder,
            }
        )
        self.progress.num_tokens += num_tokens

    def _log_means(self, bar: tqdm[Any]) -> None:
        means, now, at = self.means.read(), time.monotonic(), self.progress
        speed = round(at.num_tokens / (now - self._logged))
        record = {
            **self._where("train"),
            **means,
            "num_tokens": at.num_tokens,
            "lr": self.stepper.lr,
            "tokens_per_second": speed,
        }
        self._logged, at.num_tokens = now, 0
        self.tracker.log(record)
        self._tell(self._slowdown.observe(speed))
        if self.model.latent_dim > 0:
            self.collapse.note(at.step, means["kl"], self.weight.value)
        bar.set_postfix_str(self._status(means["rec"], means["kl"], speed))

    def _status(self, rec: float, kl: float, tokens_per_second: int) -> str:
        since, last = self.collapse.since, self._last_evaluation
        collapsed = f" COLLAPSED since step {since}" if since is not None else ""
        seen = f" valid {-last.elbo:.2f} MI {last.mi:.2f} AU {last.au}" if last else ""
        return (
            f"β {self.weight.value:.2f} rec {rec:.2f} KL {kl:.2f}{collapsed}{seen} "
            f"{tokens_per_second} tok/s"
        )

    def _warn_of_collapse(self, evaluation: Evaluation) -> None:
        if self.model.latent_dim and CollapseWatch.is_collapse(evaluation.kl, self.weight.value):
            self._tell(
                f"KL {evaluation.kl:.3f} nats per sentence at β {self.weight.value:.2f}: "
                "the decoder ignores z (posterior collapse)"
            )

    def _tell(self, warning: str | None) -> None:
        if warning is not None and self.processes.is_first:
            tqdm.write(f"warning: {warning}", file=sys.stderr)

    def _not_finite(self) -> TrainingError:
        at, saved = self.progress, self.run.state_file
        safe = f"the last good state is {saved}" if saved.exists() else "no state was saved yet"
        return TrainingError(
            f"loss or gradient not finite at step {at.step + 1} (epoch {at.epoch + 1}, batch "
            f"{at.batch + 1}); {safe}. Try a smaller learning rate (now {self.stepper.lr:g}) or "
            f"clip_norm (now {self.config.clip_norm:g})"
        )
