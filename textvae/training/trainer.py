"""`Trainer`: one loop, one order in it.

Forward, loss with the annealer's weight, backward (`gradient.py`), clip, optimizer step, annealer
step, log; after each epoch the true ELBO (β = 1) on validation data, which alone decides what is
kept, when the learning rate decays and when training ends, and only once annealing has ended.

Of several processes each computes a share of every batch, all take the same decisions, and the
first alone writes and speaks.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from typing import Any

from accelerate import Accelerator
from safetensors.torch import load_model
from torch.nn.utils import clip_grads_with_norm_
from tqdm import tqdm

from textvae.annealers import KLAnnealer
from textvae.batches import Batch, BatchLoader
from textvae.diagnostics import COLLAPSED_KL, Evaluation, evaluate, gradient_norms
from textvae.model import SentenceVAE
from textvae.run import RunDirectory
from textvae.runtime import full_speed, join, resolve_precision
from textvae.training.configured import configured_annealer, configured_optimizer
from textvae.training.gradient import Gradient
from textvae.training.interrupt import Interrupt, SafeInterrupt
from textvae.training.plateau import Plateau, Verdict
from textvae.training.randomness import Randomness
from textvae.training.shares import shares
from textvae.training.tracking import Tracker
from textvae.training.weight import WeightWatch
from textvae.training.window import Window

__all__ = ["Trainer", "TrainingError"]

COLLAPSED_BETA = 0.5


class TrainingError(RuntimeError):
    """Training can't go on; the message says where, and what is safe."""


class Trainer:
    """Trains a model and keeps its run directory.

    Args:
        model: The model; its tokenizer is saved with it.
        train: Batches to train on.
        valid: Batches to judge by.
        run: Where to write; its configuration is what is followed.
        annealer: Weight of the KL term: called on each batch's KL, stepped once per optimizer
            step. Anything with those two serves. By default the configured schedule.

    Raises:
        ValueError: If a split is empty.
    """

    def __init__(
        self,
        model: SentenceVAE,
        train: BatchLoader,
        valid: BatchLoader,
        run: RunDirectory,
        *,
        annealer: KLAnnealer | None = None,
    ) -> None:
        self.config = config = run.config.training
        self.processes = join(cpu=config.device == "cpu")
        self.accelerator = Accelerator(cpu=config.device == "cpu")
        self.train, self.valid, self.run = train, valid, run
        self.model = model.to(self.accelerator.device)
        self.model.decoder.max_scores = config.max_scores
        self.annealer = annealer if annealer is not None else configured_annealer(config, train)
        self.optimizer = configured_optimizer(config, self.model, config.lr)
        self.precision = resolve_precision(config.precision, self.accelerator.device)
        self.randomness = Randomness(
            self.accelerator.device,
            self.processes,
            is_cut=self.processes.world > 1,
        )
        self.gradient = Gradient(
            self.model,
            self.annealer,
            config,
            accelerator=self.accelerator,
            processes=self.processes,
            precision=self.precision,
            randomness=self.randomness,
        )
        self.plateau = Plateau(config.lr_patience, config.max_lr_decays, config.early_stopping)
        self.weight = WeightWatch(self.annealer)
        self.window = Window(self.accelerator.device)
        self.tracker = Tracker(run, tensorboard=config.tensorboard, processes=self.processes)
        self.epoch = self.batch = self.step = 0
        self.seconds = 0.0
        self._started: float | None = None
        self._logged = 0.0
        self._collapsed_since: int | None = None
        self.last_evaluation: Evaluation | None = None
        self.verdict: Verdict = "wait"
        self.ended: str | None = None

    def fit(self) -> str:
        """Train until the configuration says enough. Ctrl-C saves, then raises.

        Of several processes all must call this; Ctrl-C in any of them stops all.

        Returns:
            Why training ended, in words.

        Raises:
            SafeInterrupt: After Ctrl-C, with the training state saved. A second Ctrl-C raises a
                plain KeyboardInterrupt at once; then the state before counts.
            TrainingError: If the loss is not finite.
        """
        self._started = self._logged = time.monotonic()
        self.randomness.begin(self.config.seed)
        device = self.accelerator.device
        with full_speed(device), Interrupt(self.processes) as interrupt, self._bar() as bar:
            try:
                if self.step == 0:
                    self.save()  # from here on there is always a state to resume from
                while self.ended is None:
                    self._train_epoch(interrupt, bar)
                    is_whole = self.batch == len(self.train)
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
            finally:
                self.seconds += self._since_start()
                self._started = None
        return self.ended

    def _train_epoch(self, interrupt: Interrupt, bar: tqdm[Any]) -> None:
        self.model.train()
        for share in shares(self.train, self.epoch, self.batch, self.processes):
            if self._has_done_all_steps():
                break

            terms, weighed_kl, loss = self.gradient.add(share)
            norms = gradient_norms(self.model)
            clip_grads_with_norm_(self.model.parameters(), self.config.clip_norm, norms.total)
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.weight.observe(terms.kl_objective, weighed_kl)
            self.annealer.step()

            self.step += 1
            self.batch += 1
            self.window.add(self.step, share, loss, terms, norms)
            bar.update()
            if self.step % self.config.log_every == 0:
                self._log_window(bar)
            if self.step % self.config.save_every == 0:
                self.save()
            if self._may_read_back():
                interrupt.check()

    def _may_read_back(self) -> bool:
        """Whether processes may ask each other: not at every step where an accelerator would wait.

        Of one process, which asks nobody, always.
        """
        is_cheap = self.processes.world == 1 or self.accelerator.device.type == "cpu"
        return is_cheap or self.step % self.config.log_every == 0

    def _evaluate(self, interrupt: Interrupt) -> Evaluation:
        began = time.monotonic()
        is_alone = self.processes.world == 1

        def checked() -> Iterator[Batch]:
            for batch in self.valid.epoch(0):
                # Shares differ in their number of batches: several processes can't agree here.
                if is_alone:
                    interrupt.check()
                yield batch

        evaluation = evaluate(
            self.model, checked(), self.valid.num_sentences, processes=self.processes
        )
        interrupt.check()
        self._logged += time.monotonic() - began  # tokens/s is of training alone
        return evaluation

    def _judge_epoch(self, evaluation: Evaluation) -> None:
        self._refuse_unless_finite()
        self.weight.end_epoch()
        self.last_evaluation = evaluation
        self._warn_of_collapse(evaluation)
        verdict: Verdict = "better"
        if self._optimises_elbo() and self.batch == len(self.train):
            verdict = self.plateau.update(evaluation.elbo)
        elif self.plateau.best > -math.inf:
            # Part of an epoch must not outdo the best whole one: a run that is later allowed more
            # steps would return to other weights than one that was never stopped.
            verdict = "wait"
        if verdict == "better" and self.processes.is_first:
            self.model.save_pretrained(self.run.path)
        elif verdict == "decay":
            self._return_to_best()
        self.tracker.log(
            {
                "split": "valid",
                "step": self.step,
                "epoch": self.epoch + 1,
                "beta": self.weight.value,
                "lr": self.lr,
                "verdict": verdict,
                **evaluation.to_dict(),
                "seconds": round(self.seconds + self._since_start(), 1),
            }
        )
        self.verdict = verdict
        self.epoch, self.batch = self.epoch + 1, 0
        self.ended = self._reason_to_end()

    def _optimises_elbo(self) -> bool:
        """Whether the ELBO can judge: not while β is annealed, nor an autoencoder (β = 0)."""
        if self.model.latent_dim == 0:
            return True  # a language model has no KL, and so nothing to anneal
        return self.weight.finished and self.weight.value > 0

    def _reason_to_end(self) -> str | None:
        if self.verdict == "stop":
            return f"no better ELBO for {self.plateau.stale} epochs at learning rate {self.lr:g}"
        if self._has_done_all_steps():
            return f"{self.step} steps done"
        if self.epoch >= self.config.max_epochs:
            return f"{self.epoch} epochs done"
        return None

    def _has_done_all_steps(self) -> bool:
        # More than all, where a resumed run was given a lower limit than it had reached.
        return self.config.max_steps is not None and self.step >= self.config.max_steps

    def _return_to_best(self) -> None:
        load_model(self.model, self.run.weights_file)
        # Moments and momentum were gathered on the way to the abandoned weights.
        lr = self.lr * self.config.lr_decay
        self.optimizer = configured_optimizer(self.config, self.model, lr)

    @property
    def lr(self) -> float:
        """The learning rate in force."""
        return float(self.optimizer.param_groups[0]["lr"])

    def save(self) -> None:
        """Write everything that continuing to the same result needs.

        Raises:
            TrainingError: If the loss was not finite: such a state must not replace a good one.
        """
        self._refuse_unless_finite()
        annealer_state = getattr(self.annealer, "state_dict", lambda: None)()
        random = self.randomness.state_dict()  # of all processes, whoever writes
        if not self.processes.is_first:
            return
        self.run.save_state(
            {
                "epoch": self.epoch,
                "batch": self.batch,
                "step": self.step,
                "seconds": self.seconds + self._since_start(),
                "verdict": self.verdict,
                "collapsed_since": self._collapsed_since,
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "annealer": annealer_state,
                "weight": self.weight.state_dict(),
                "plateau": self.plateau.state_dict(),
                "window": self.window.state_dict(),
                "random": random,
            }
        )

    def resume(self) -> None:
        """Continue from the run's last training state.

        An annealer without `state_dict` is stepped to where it was.

        Raises:
            FileNotFoundError: If there is no training state.
            ValueError: If the state does not fit the model, or is of another number of processes.
        """
        state = self.run.load_state()
        self.randomness.load_state_dict(state["random"])
        try:
            self.model.load_state_dict(state["model"])
        except RuntimeError as error:
            raise ValueError(f"{self.run.state_file} does not fit the model: {error}") from None
        self.optimizer.load_state_dict(state["optimizer"])
        self.plateau.load_state_dict(state["plateau"])
        self.window.load_state_dict(state["window"])
        self.weight.load_state_dict(state["weight"])
        self.epoch, self.batch, self.step = state["epoch"], state["batch"], state["step"]
        self.seconds, self.verdict = state["seconds"], state["verdict"]
        self._collapsed_since = state.get("collapsed_since")
        if state["annealer"] is not None:
            self.annealer.load_state_dict(state["annealer"])  # type: ignore[attr-defined]
        else:
            for _ in range(self.step):
                self.annealer.step()
        if self.epoch > 0 and self.batch == 0:
            self.ended = self._reason_to_end()
        if self.processes.is_first:
            self.run.forget_metrics_after(self.step, is_judged=self.batch == 0)

    def _since_start(self) -> float:
        return 0.0 if self._started is None else time.monotonic() - self._started

    def _bar(self) -> tqdm[Any]:
        steps = self.config.max_epochs * len(self.train)
        return tqdm(
            total=min(steps, self.config.max_steps or steps),
            initial=self.step,
            desc="training",
            unit="step",
            dynamic_ncols=True,
            mininterval=0.5,
            disable=not self.processes.is_first,
        )

    def _log_window(self, bar: tqdm[Any]) -> None:
        self._refuse_unless_finite()
        means = self.window.read()
        now = time.monotonic()
        speed = round(means.num_tokens / (now - self._logged))
        record = {
            "split": "train",
            "step": self.step,
            "epoch": self.epoch + 1,
            "beta": self.weight.value,
            **means._asdict(),
            "lr": self.lr,
            "tokens_per_second": speed,
        }
        self._logged = now
        self.tracker.log(record)
        if not self._has_collapsed(means.kl):
            self._collapsed_since = None
        elif self._collapsed_since is None:
            self._collapsed_since = self.step
        bar.set_postfix_str(self._status(means.rec, means.kl, speed))

    def _has_collapsed(self, kl: float) -> bool:
        in_force = self.weight.value > COLLAPSED_BETA
        return self.model.latent_dim > 0 and kl < COLLAPSED_KL and in_force

    def _status(self, rec: float, kl: float, tokens_per_second: int) -> str:
        since, last = self._collapsed_since, self.last_evaluation
        collapsed = f" COLLAPSED since step {since}" if since is not None else ""
        seen = f" valid {-last.elbo:.2f} MI {last.mi:.2f} AU {last.au}" if last else ""
        return (
            f"β {self.weight.value:.2f} rec {rec:.2f} KL {kl:.2f}{collapsed}{seen} "
            f"{tokens_per_second} tok/s"
        )

    def _warn_of_collapse(self, evaluation: Evaluation) -> None:
        if self._has_collapsed(evaluation.kl) and self.processes.is_first:
            tqdm.write(
                f"warning: KL {evaluation.kl:.3f} nats per sentence at β {self.weight.value:.2f}: "
                "the decoder ignores z (posterior collapse)",
                file=sys.stderr,
            )

    def _refuse_unless_finite(self) -> None:
        step = self.window.first_bad_step
        if step is None:
            return
        epoch, batch = divmod(step - 1, len(self.train))
        saved = self.run.state_file
        safe = f"the last good state is {saved}" if saved.exists() else "no state was saved yet"
        raise TrainingError(
            f"loss or gradient not finite at step {step} (epoch {epoch + 1}, batch {batch + 1}); "
            f"{safe}. Try a smaller learning rate (now {self.lr:g}) or clip_norm "
            f"(now {self.config.clip_norm:g})"
        )
