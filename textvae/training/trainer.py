"""`Trainer`: one loop, one order in it.

A step is `Stepper.update`, then the annealer's step, then the log. After each epoch the true ELBO
(β = 1) on validation data alone decides what is kept, when the learning rate decays and when
training ends, and only once annealing has ended.

Of several processes each computes a part of every batch, all take the same decisions, and the
first alone writes and prints.
"""

import math
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from safetensors.torch import load_model
from tqdm.auto import tqdm

from textvae.annealers import KLAnnealer
from textvae.batches import BatchLoader
from textvae.checks import InputError, TrainingError
from textvae.diagnostics import COLLAPSED_KL, Evaluation, evaluate
from textvae.model import SentenceVAE
from textvae.run import RunDirectory
from textvae.runtime import full_speed, join, slowdown
from textvae.training.remedies import REMEDIES, Remedy
from textvae.training.schedule import (
    Decision,
    KLWeight,
    Plateau,
    SafeInterrupt,
    Stateful,
    configured_annealer,
    safe_interrupts,
)
from textvae.training.step import LocalBatch, NotFiniteError, RunningMeans, Stepper

COLLAPSED_BETA = 0.5  # KL weight above which a KL of nothing is a collapse
NORMS = ("gradient_norm", "encoder_gradient_norm", "decoder_gradient_norm")


@dataclass
class Progress(Stateful):
    """How far a training is."""

    epoch: int = 0  # whole ones
    batch: int = 0  # of the present epoch
    step: int = 0
    seconds: float = 0.0
    num_tokens: int = 0  # since the last log line
    decision: Decision = "wait"  # after the last evaluation
    collapsed_since: int | None = None  # logged step from which on all had a collapsed posterior


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
        judged: The model that is evaluated and kept: the one that is trained, unless a remedy
            puts another in its place.
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
        self.model, self.train, self.valid, self.run = model, train, valid, run
        self.model.decoder.max_scores = config.max_scores
        if annealer is None:
            annealer = configured_annealer(config, len(train))
        self.weight = KLWeight(annealer)
        self.stepper = Stepper(model, self.weight, config, self.processes)
        self.plateau = Plateau(
            *(config.lr_patience, config.max_lr_decays, config.early_stopping, config.lr_threshold)
        )
        self.progress, self.means = Progress(), RunningMeans()
        asked_for = {name: make for name, make in REMEDIES.items() if getattr(config, name, 0)}
        self.remedies = {name: make(config) for name, make in asked_for.items()} | dict(remedies)
        self.parts: dict[str, Any] = {
            "progress": self.progress,
            "model": self.model,
            "optimizer": self.stepper,
            "weight": self.weight,
            "plateau": self.plateau,
            "means": self.means,
            **self.remedies,
        }
        self.judged = model
        self._let_remedies("begin")
        if self.processes.is_first:
            run.open_tracker(config.tracker)
        self._speeds: list[float] = []  # of log windows
        self.ended: str | None = None
        self._last_evaluation: Evaluation | None = None
        self._began = self._logged = 0.0
        self._counted = 0  # tokens of this log window before a resumed training went on

    def fit(self) -> str:
        """Train until the configuration says enough, and return `ended`. Ctrl-C saves, then raises.

        Of several processes all must call this; Ctrl-C in any of them stops all.

        Raises:
            SafeInterrupt: After Ctrl-C, with the training state saved. A second Ctrl-C raises a
                plain KeyboardInterrupt at once; then the state before counts.
            TrainingError: If loss or gradient is not finite; the step is not taken.
        """
        device, at = self.model.device, self.progress
        self._logged, self._counted = time.monotonic(), self.progress.num_tokens
        self._began = self._logged - at.seconds
        size = sum(weights.numel() for weights in self.model.parameters())
        with full_speed(device, size), safe_interrupts(self.processes) as check, self._bar() as bar:
            try:
                if at.step == 0:
                    self.save()  # from here on there is always a state to resume from
                while self.ended is None:
                    self._train_epoch(check, bar)
                    is_whole = at.batch == len(self.train)
                    evaluation = self._evaluate()
                    if not is_whole:
                        self.save()  # mid-epoch, in case more steps are allowed later
                    check()
                    self._judge(evaluation)
                    if is_whole:
                        self.save()
                self.processes.wait()  # the first has written all that others may now read
                if self.model.latent_dim and not self.weight.finished:
                    ended = f"training ended while β still changed, at {self.weight.value:.2f}"
                    self._warn(f"{ended}: train for longer, or take a shorter warm-up")
            except SafeInterrupt:
                self.save()
                self.processes.wait()
                raise
            finally:
                self.run.unlock()
        return self.ended

    def _train_epoch(self, check: Callable[[], None], bar: "tqdm[Any]") -> None:
        at = self.progress
        self.model.train()
        for rows in self.train.plan(at.epoch)[at.batch :]:
            if self._has_done_all_steps():
                break
            local = LocalBatch.of(self.train, rows, self.processes)
            try:
                self._let_remedies("before_step")
                terms, norms = self.stepper.update(local)
            except NotFiniteError:
                raise TrainingError(self._not_finite("loss or gradient")) from None
            self.weight.step()
            self._let_remedies("after_step")

            at.step += 1
            at.batch += 1
            at.num_tokens += local.num_tokens
            of_terms = {"rec": terms.rec, "kl": terms.kl, **terms.auxiliary}
            self.means.add(of_terms, local.num_sentences)
            self.means.add(dict(zip(NORMS, norms, strict=True)))
            bar.update()
            if at.step % self.config.log_every == 0:
                bar.set_postfix_str(self._log_means())
            if at.step % self.config.save_every == 0:
                self.save()
            check()

    def _let_remedies(self, act: str, *told: Any) -> None:
        for remedy in self.remedies.values():
            if method := getattr(remedy, act, None):
                method(self, *told)

    def _evaluate(self) -> Evaluation:
        began, valid = time.monotonic(), self.valid
        evaluation = evaluate(self.judged, valid, valid.num_sentences, processes=self.processes)
        if not math.isfinite(evaluation.elbo):
            raise TrainingError(self._not_finite("ELBO"))
        self._logged += time.monotonic() - began  # tokens/s is of training alone
        return evaluation

    def _judge(self, evaluation: Evaluation) -> None:
        at, beta = self.progress, self.weight.value
        self.weight.end_epoch()
        self._last_evaluation = evaluation
        if self._is_collapsed(evaluation.kl):
            self._warn(
                f"KL {evaluation.kl:.3f} nats per sentence at β {beta:.2f}: the decoder ignores z "
                "(posterior collapse)"
            )
        at.decision = "better"
        # The ELBO can't judge while β is annealed, nor an autoencoder (β = 0). A language model has
        # no KL, and so nothing to anneal.
        optimises_elbo = self.model.latent_dim == 0 or (self.weight.finished and beta > 0)
        if optimises_elbo and at.batch == len(self.train):
            at.decision = self.plateau.update(evaluation.elbo)
        elif self.plateau.best > -math.inf:
            # Part of an epoch must not outdo the best whole one: a run that is later allowed more
            # steps would return to other weights than one that was never stopped.
            at.decision = "wait"
        if at.decision == "better" and self.processes.is_first:
            self.judged.save_pretrained(self.run.path)
        elif at.decision == "decay":
            load_model(self.model, self.run.weights_file)
            # Moments and momentum were gathered on the way to the abandoned weights.
            self.stepper.restart(self.stepper.lr * self.config.lr_decay)
        self._let_remedies("after_evaluation", evaluation)
        seconds = round(time.monotonic() - self._began, 1)
        self._log("valid", verdict=at.decision, **evaluation.to_dict(), seconds=seconds)
        if self.processes.is_first and not sys.stderr.isatty():  # a file shows no bar
            shown = f"rec {evaluation.rec:.2f} KL {evaluation.kl:.2f} −ELBO {-evaluation.elbo:.2f}"
            print(f"epoch {at.epoch + 1}: β {beta:.2f} valid {shown}", file=sys.stderr)
        at.epoch, at.batch = at.epoch + 1, 0
        self.ended = self._reason_to_end()

    def _is_collapsed(self, kl: float) -> bool:
        is_weighed = self.model.latent_dim > 0 and self.weight.value > COLLAPSED_BETA
        return is_weighed and kl < COLLAPSED_KL

    def _reason_to_end(self) -> str | None:
        at = self.progress
        if at.decision == "stop":
            stale, lr = self.plateau.stale, self.stepper.lr
            return f"no better ELBO for {stale} epochs, the last at learning rate {lr:g}"
        if self._has_done_all_steps():
            return f"{at.step} steps done"
        return f"{at.epoch} epochs done" if at.epoch >= self.config.max_epochs else None

    def _has_done_all_steps(self) -> bool:
        return self.config.max_steps is not None and self.progress.step >= self.config.max_steps

    def save(self) -> None:
        """Write everything that continuing to the same result needs; nothing that is not finite."""
        if not all(weights.isfinite().all() for weights in self.model.parameters()):
            raise TrainingError(self._not_finite("weights"))
        self.progress.seconds = time.monotonic() - self._began
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
        state = self.run.load_state(self._warn)
        if unknown := set(state) - set(self.parts):
            raise InputError(f"{self.run.state_file} is of a training with {sorted(unknown)} too")
        for name, part in self.parts.items():
            try:
                part.load_state_dict(state[name])
            except (KeyError, RuntimeError) as error:
                fault = f"{self.run.state_file} does not fit the {name}: {error}"
                raise InputError(fault) from None
        at = self.progress
        if at.epoch > 0 and at.batch == 0:
            self.ended = self._reason_to_end()
        if self.processes.is_first:
            self.run.forget_metrics_after(at.step, is_judged=at.batch == 0)

    def _bar(self) -> "tqdm[Any]":
        steps = self.config.max_epochs * len(self.train)
        return tqdm(
            total=min(steps, self.config.max_steps or steps),
            initial=self.progress.step,
            desc="training",
            unit="step",
            dynamic_ncols=True,
            mininterval=0.5,
            delay=1,
            disable=not self.processes.is_first or None,  # None: in no file
        )

    def _log_means(self) -> str:
        """Write a log line; gives what the progress bar says of it."""
        means, now, at, beta = self.means.read(), time.monotonic(), self.progress, self.weight.value
        speed = round((at.num_tokens - self._counted) / (now - self._logged))
        self._log("train", **means, num_tokens=at.num_tokens, tokens_per_second=speed)
        self._logged, self._counted, at.num_tokens = now, 0, 0
        self._speeds.append(speed)
        if told := slowdown(self._speeds):
            self._speeds.clear()
            self._warn(told)
        said = f"β {beta:.2f} rec {means['rec']:.2f} KL {means['kl']:.2f} "
        if not self._is_collapsed(means["kl"]):
            at.collapsed_since = None
        else:
            at.collapsed_since = at.collapsed_since or at.step
            said += f"COLLAPSED since step {at.collapsed_since} "
        if last := self._last_evaluation:
            said += f"valid {-last.elbo:.2f} MI {last.mi:.2f} AU {last.au} "
        return f"{said}{speed} tok/s"

    def _log(self, split: str, **found: Any) -> None:
        at, weight = self.progress, self.weight
        where = {"split": split, "step": at.step, "epoch": at.epoch + 1, "beta": weight.value}
        if self.processes.is_first:
            self.run.log({**where, "lr": self.stepper.lr, **found})

    def _warn(self, warning: str) -> None:
        if self.processes.is_first:
            tqdm.write(f"warning: {warning}", file=sys.stderr)

    def _not_finite(self, what: str) -> str:
        at = self.progress
        return (
            f"{what} not finite at step {at.step + 1} (epoch {at.epoch + 1}, batch "
            f"{at.batch + 1}); the last good state is {self.run.state_file}. Try a smaller "
            f"learning rate (now {self.stepper.lr:g}) or clip_norm (now {self.config.clip_norm:g})"
        )
