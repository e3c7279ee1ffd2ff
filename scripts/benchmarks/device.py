"""textvae alone on the best device there is: rates, shares of its limit, where a step's time goes.

An accelerator if there is one, else the CPU: the paths are the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from statistics import median
from typing import Any

import torch
from jsonargparse import ArgumentParser, Namespace
from torch.profiler import profile, supported_activities

from benchmarks.arithmetic import CPU, flops_per_token, matrix_rate, settle
from benchmarks.decode import UNTRAINED_LENGTH, num_tokens, token_limit, untrained_model
from benchmarks.evaluate import our_estimate
from benchmarks.measuring import Benchmark, Limit, Plan, Timed, at_least, rate
from benchmarks.subject import PRECISIONS, Sentences, new_model
from benchmarks.train import add_sample_options, our_steps, sample, setting
from textvae.generation import decode

__all__ = ["DEVICE"]

NUM_OPERATORS = 10

Figures = Mapping[str, Any]

Work = tuple[Callable[[], float | Timed], Limit]
"""What is done, and what bounds its rate."""


def add_device_options(parser: ArgumentParser) -> None:
    """What is trained on, and how much is evaluated and decoded."""
    add_sample_options(parser)
    parser.add_argument("--num-samples", type=int, default=500, help="importance samples K")
    parser.add_argument("--num-evaluated", type=int, default=64, help="sentences for the NLL")
    parser.add_argument("--num-sampled", type=int, default=512, help="latent codes to decode")


def plan_device(options: Namespace) -> Plan:
    """No other side: what is measured is textvae's rate and its share of the device's limit."""
    at_least(
        1,
        num_samples=options.num_samples,
        num_evaluated=options.num_evaluated,
        num_sampled=options.num_sampled,
    )
    device = torch.accelerator.current_accelerator(check_available=True) or CPU
    sentences = sample(options)
    also: dict[str, Callable[[], Figures]] = {}
    for name in PRECISIONS:
        for what, work in (
            ("training", training(sentences, options, device, name)),
            ("IW-NLL", estimating(sentences, options, device, name)),
            ("sampling", sampling(options, device, name)),
        ):
            also[f"{what}, {name}"] = partial(rates, *work, device, options.rounds)
    for name in PRECISIONS:
        steps = training(sentences, options, device, name)[0]
        also[f"operators of training steps, {name}"] = partial(operators, steps, device)
    return Plan(
        [],
        "fp32 and bf16",
        {
            "device": device_name(device),
            **setting(sentences, options.batch_size),
            "IW-NLL": f"{options.num_evaluated} of these sentences, {options.num_samples} samples",
            "sampling": f"{options.num_sampled} codes together, {UNTRAINED_LENGTH} tokens each",
            "operators": f"the {NUM_OPERATORS} that take longest, shares of the time of all",
        },
        also=also,
    )


def training(sentences: Sentences, options: Namespace, device: torch.device, name: str) -> Work:
    """An epoch of the Trainer."""
    model = new_model()
    limit = Limit(flops_per_token(model, sentences.mean_length, backward=True), PRECISIONS[name])
    return lambda: our_steps(model, sentences, options.batch_size, name, device), limit


def estimating(sentences: Sentences, options: Namespace, device: torch.device, name: str) -> Work:
    """The importance-weighted NLL of some of the sentences."""
    model, num_samples = new_model().eval().to(device), options.num_samples
    some = sentences._replace(ids=sentences.ids[: options.num_evaluated])
    estimate = our_estimate(model, some, num_samples, PRECISIONS[name])
    flops = flops_per_token(model, some.mean_length, encodings=1 / num_samples)

    def work() -> float:
        estimate()
        return num_samples * some.num_tokens

    return work, Limit(flops, PRECISIONS[name])


def sampling(options: Namespace, device: torch.device, name: str) -> Work:
    """Sentences from the prior, all of the same length."""
    model, length = untrained_model().to(device), UNTRAINED_LENGTH
    z = torch.randn(options.num_sampled, model.latent_dim)
    decoding = {"strategy": "sample", "max_length": length, "precision": name}
    return lambda: num_tokens(decode(model, z, **decoding), length), token_limit(model, name)


def rates(
    work: Callable[[], float | Timed], limit: Limit, device: torch.device, rounds: int
) -> Figures:
    """Tokens/s over the rounds, after an unmeasured one, and the share of the limit."""

    def settled() -> float | Timed:
        done = work()
        settle(device)
        return done

    settled()
    found, shares = [], []
    for _ in range(rounds):
        found.append(rate(settled))
        shares.append(found[-1] * limit.flops / matrix_rate(limit.precision, device))
    return {
        "tokens/s": median(found),
        "least": min(found),
        "most": max(found),
        "share of the limit": median(shares),
    }


def operators(steps: Callable[[], object], device: torch.device) -> Figures:
    """The operators that take longest, with their shares of the time of all."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # torch's profiler would speak at the end
    steps()  # what is done only once is not of interest
    with profile(activities=supported_activities()) as profiler:
        steps()
        settle(device)
    own = "self_cpu_time_total" if device.type == "cpu" else "self_device_time_total"
    times = {event.key: float(getattr(event, own)) for event in profiler.key_averages()}
    longest = sorted(times, key=lambda name: -times[name])[:NUM_OPERATORS]
    return {name: times[name] / sum(times.values()) for name in longest}


def device_name(device: torch.device) -> str:
    """As its maker calls it, as far as torch tells."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


DEVICE = Benchmark(
    "textvae alone on the best device there is: rates, shares of the limit, operators of a step",
    add_device_options,
    plan_device,
)
