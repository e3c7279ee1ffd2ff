"""What each optimisation of a training step brings: `rungs.py`, one by one, in tokens/s."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentParser, Namespace

from benchmarks.arithmetic import flops_per_token
from benchmarks.measuring import Benchmark, Limit, Pair, Plan, Timed, close, number
from benchmarks.rungs import Switches, batches_of, rungs, terms, train_step
from benchmarks.subject import PRECISIONS, Sentences, new_model
from benchmarks.train import (
    LEARNING_RATE,
    RTOL,
    WARM_UP,
    add_sample_options,
    sample,
    setting,
    timed,
    usual_steps,
)
from benchmarks.usual import PaddedBatch, UsualVAE, loss_terms
from textvae.batches import collate
from textvae.model import SentenceVAE
from textvae.report.pictures import (
    checked_path,
    drawn_in_style,
    new_figure,
    require_matplotlib,
    save,
)
from textvae.runtime import autocast, full_speed

__all__ = ["STEPS"]

Found = Sequence[Mapping[str, Any]]
"""Figures of all rungs, from the first one up."""


def add_steps_options(parser: ArgumentParser) -> None:
    """What is trained on, and where the picture goes."""
    add_sample_options(parser)
    parser.add_argument("--picture", type=str | None, help="file for a chart: .png, .svg or .pdf")


def plan_steps(options: Namespace) -> Plan:
    """Each rung beside the usual loop, on the same sentences."""
    if options.picture is not None:
        require_matplotlib()
        checked_path(options.picture)
    sentences = sample(options)
    model = new_model()  # never trained: to compare losses with
    conclusions: dict[str, Callable[[Found], Mapping[str, Any]]] = {"over the rung before": gains}
    if options.picture is not None:
        conclusions["picture"] = partial(draw, Path(options.picture))
    return Plan(
        [climb(name, on, model, sentences, options.batch_size) for name, on in rungs().items()],
        "fp32; bf16 on the last rung",
        {
            **setting(sentences, options.batch_size),
            "steps": f"an epoch of a new model, of which the first {WARM_UP} steps are unmeasured",
            "rungs": "each has what is named and all that the rungs before it have; the first is "
            "the usual loop once more",
        },
        conclusions=conclusions,
    )


def climb(
    name: str, on: Switches, model: SentenceVAE, sentences: Sentences, batch_size: int
) -> Pair:
    """One rung against the usual loop, both with new models at each measurement."""
    flops = flops_per_token(model, sentences.mean_length, backward=True)
    return Pair(
        name,
        "tokens/s",
        lambda: same_loss(model, UsualVAE.like(model), sentences.ids[:batch_size], on),
        lambda: rung_steps(sentences, batch_size, on),
        lambda: usual_steps(UsualVAE.like(new_model()), sentences, batch_size),
        Limit(flops, PRECISIONS[on.precision]),
        Limit(flops),
    )


def same_loss(model: SentenceVAE, usual: UsualVAE, ids: list[list[int]], on: Switches) -> str:
    """Compare a rung's loss of a batch with the usual loop's, with the same noise."""
    noise = torch.randn(len(ids), model.latent_dim, generator=torch.Generator().manual_seed(0))
    batch = collate(ids)
    with at_its_speed(model, on), autocast(model.device, PRECISIONS[on.precision]):
        rec, kl = terms(model, batch, noise, on)  # with its graph, as a step has it
    usual_rec, usual_kl = loss_terms(usual, PaddedBatch.of(ids), noise)
    found, expected = (rec + kl).item(), (usual_rec + usual_kl).item()
    return close("loss", [found], [expected], RTOL[on.precision])


def rung_steps(sentences: Sentences, batch_size: int, on: Switches) -> Timed:
    """An epoch of a new model on a rung."""
    model = new_model().train()
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=on.fused)
    batches = batches_of(sentences.ids, batch_size, on)
    with at_its_speed(model, on):
        return timed(lambda batch: train_step(model, optimizer, batch, on), batches)


def at_its_speed(model: SentenceVAE, on: Switches) -> AbstractContextManager[None]:
    """The context in which a rung computes."""
    return full_speed(model.device) if on.full_speed else nullcontext()


def gains(found: Found) -> dict[str, float]:
    """By rung, how many times faster it is than the rung before, both beside the usual loop."""
    return {rung["name"]: rung["ratio"] / before["ratio"] for before, rung in pairwise(found)}


def draw(path: Path, found: Found) -> dict[str, str]:
    """A bar for each rung's median rate, with its range, into a file."""
    medians = [rung["ours"]["median"] for rung in found]
    below = [rung["ours"]["median"] - rung["ours"]["min"] for rung in found]
    above = [rung["ours"]["max"] - rung["ours"]["median"] for rung in found]
    figure = new_figure()
    figure.set_figwidth(9)  # inches: room for the rungs' names
    with drawn_in_style():
        axes = figure.add_subplot()
        names = [rung["name"] for rung in found]
        axes.barh(names, medians, color="#0072b2", xerr=[below, above], ecolor="#444444")
        for position, rung in enumerate(found):
            text = (
                f"{number(rung['ours']['median'])}, {number(rung['ratio'])}×, "
                f"{rung['ours']['share_of_limit']:.0%} of the limit"
            )
            end = (rung["ours"]["max"], position)
            axes.annotate(text, end, (4, 0), textcoords="offset points", va="center", fontsize=9)
        axes.invert_yaxis()  # the first rung on top
        axes.tick_params(axis="y", length=0)
        axes.set_xlim(0, 1.6 * max(rung["ours"]["max"] for rung in found))
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.set_xlabel("tokens/s, × the usual loop measured in turn, share of the machine's limit")
        figure.suptitle("A training step with each optimisation and all above it")
    save(figure, path)
    return {"file": str(path)}


STEPS = Benchmark("what each optimisation of a training step brings", add_steps_options, plan_steps)
