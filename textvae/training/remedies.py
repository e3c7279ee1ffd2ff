"""Remedies with a will of their own: objects that act beside the steps of a training.

A remedy that is a loss, a head, an annealer or an option has its place elsewhere; here is what
updates a part of the model alone, changes an option from step to step, or averages weights.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from textvae.config import TrainingConfig
from textvae.diagnostics import Evaluation
from textvae.training.schedule import Stateful
from textvae.training.step import LocalBatch

Trainer = Any  # a `training.Trainer`, which can't be named here: its module imports this one


class Remedy(Stateful):
    """Base of remedies, which does nothing; the attributes are saved and resumed with the rest.

    An object that has a state and some of the other methods serves as well.
    """

    def begin(self, trainer: Trainer) -> None:
        """Act once, before the first step or the state of a stopped run."""

    def before_step(self, trainer: Trainer) -> None:
        """Act before each step."""

    def after_step(self, trainer: Trainer) -> None:
        """Act after each step."""

    def after_evaluation(self, trainer: Trainer, evaluation: Evaluation) -> None:
        """Act on each evaluation."""


class AggressiveEncoder(Remedy):
    """Updates the encoder alone, on random batches, before each step: it has to keep up.

    At most `aggressive_updates` times, until the loss per token, a mean over 15 updates, no longer
    falls; for good no more once mutual information on validation stops rising. He et al. (2019),
    Lagging Inference Networks and Posterior Collapse, algorithm 1.
    """

    WINDOW = 15

    def __init__(self, config: TrainingConfig) -> None:
        self.most, self.seed = config.aggressive_updates, config.seed
        self.is_active, self.best_mi = True, 0.0

    def before_step(self, trainer: Trainer) -> None:
        """Update the encoder until it has caught up."""
        if not self.is_active:
            return
        at, loader = trainer.progress, trainer.train
        batches = loader.plan(at.epoch)
        random = np.random.default_rng([self.seed, at.step])  # resumed, and alike in all processes
        previous, nats, tokens = math.inf, 0.0, 0
        for number in range(1, self.most + 1):
            rows = batches[random.integers(len(batches))]
            local = LocalBatch.of(loader, rows, trainer.processes)
            terms, _ = trainer.stepper.update(local, only="encoder")
            nats += float(terms.loss.detach()) * local.num_sentences
            tokens += local.num_tokens
            if number % self.WINDOW == 0:
                if nats / tokens > previous:
                    return
                previous, nats, tokens = nats / tokens, 0.0, 0

    def after_evaluation(self, trainer: Trainer, evaluation: Evaluation) -> None:
        """Stop when mutual information no longer rises."""
        self.is_active = self.is_active and evaluation.mi > self.best_mi
        self.best_mi = max(self.best_mi, evaluation.mi)


class FadingWordDropout(Remedy):
    """Has word dropout fall to 0 on a straight line, over the first `word_dropout_epochs`."""

    def __init__(self, config: TrainingConfig) -> None:
        self.epochs = config.word_dropout_epochs

    def before_step(self, trainer: Trainer) -> None:
        """Set the share of words dropped: a function of the steps done, and so resumed by them."""
        done = trainer.progress.step / (self.epochs * len(trainer.train))
        model = trainer.model
        model.decoder.word_dropout = model.config.word_dropout * max(0.0, 1 - done)


class AveragedWeights(Remedy):
    """A mean of the weights after each step, in which those of some epochs ago fade.

    Up to then it is the plain mean; from then on exponential. Less noisy than the weights of any
    one step, and so judged and kept in their place. After a decay it begins anew. Polyak & Juditsky
    (1992); Merity et al. (2018), arXiv:1708.02182, whose mean begins once validation no longer
    improves.
    """

    def __init__(self, config: TrainingConfig) -> None:
        self.epochs = config.average_epochs

    def begin(self, trainer: Trainer) -> None:
        """Have the mean judged, and kept, in place of the model."""
        horizon = max(1.0, self.epochs * len(trainer.train))  # steps

        def take_in(mean: Any, new: Any, number: Tensor | int) -> None:
            if mean[0].is_floating_point():
                torch._foreach_lerp_(mean, new, 1 / min(float(number) + 1, horizon))
            else:
                torch._foreach_copy_(mean, new)  # a buffer that counts

        self.mean = AveragedModel(trainer.model, multi_avg_fn=take_in, use_buffers=True)
        trainer.judged = self.mean.module

    def after_step(self, trainer: Trainer) -> None:
        """Take the new weights in."""
        self.mean.update_parameters(trainer.model)

    def after_evaluation(self, trainer: Trainer, evaluation: Evaluation) -> None:
        """Forget what led to weights that were gone back from."""
        if trainer.progress.decision == "decay":
            self.mean.n_averaged.zero_()

    def state_dict(self) -> dict[str, Any]:
        """The mean, and of how many steps."""
        return self.mean.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved one."""
        self.mean.load_state_dict(state)


REMEDIES: dict[str, Callable[[TrainingConfig], Remedy]] = {
    "word_dropout_epochs": FadingWordDropout,  # first: the next one's updates drop words, too
    "aggressive_updates": AggressiveEncoder,
    "average_epochs": AveragedWeights,
}
"""By the names of the options that ask for them: remedies, built from the configuration where that
option is not 0."""
