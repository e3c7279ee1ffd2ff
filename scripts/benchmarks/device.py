"""textvae alone on the best device there is: rates, shares of its limit, where a step's time goes.

An accelerator if there is one, else the CPU: the paths are the same.
"""

import os
from collections.abc import Callable
from functools import partial

import torch
from jsonargparse.typing import PositiveInt
from torch.profiler import profile, supported_activities

from benchmarks.bench import CPU, Bench, Side, measured, settle, summary
from benchmarks.inference import UNTRAINED_LENGTH, our_estimate, our_ids, untrained_model
from benchmarks.models import PRECISIONS, flops_per_token, new_model, num_tokens
from benchmarks.train import our_steps, sample


def device(
    bench: Bench,
    data_dir: str | None = None,
    batch_size: PositiveInt = 32,
    steps: PositiveInt = 100,
    num_samples: PositiveInt = 500,
    num_sentences: PositiveInt = 512,
) -> None:
    """Textvae's rates on the best device there is, and the operators of a step."""
    where = torch.accelerator.current_accelerator(check_available=True) or CPU
    ids, setting = sample(data_dir, batch_size, steps)
    some = ids[: num_sentences // 8]
    name = torch.cuda.get_device_name(where) if where.type == "cuda" else where.type
    bench.describe("fp32 and bf16; decoding and NLL in fp32", {"device": name, **setting})
    trained, evaluated, model = new_model(), new_model().eval().to(where), untrained_model()
    flops = flops_per_token(model, backward=True)
    scored = flops_per_token(model, encodings=1 / num_samples)
    decoded = flops_per_token(model, encodings=0)
    codes = torch.randn(num_sentences, model.latent_dim)
    training = {p: partial(our_steps, trained, ids, batch_size, p, where) for p in PRECISIONS}
    for name, dtype in PRECISIONS.items():
        rates(bench, f"training, {name}", Side(training[name], flops, dtype, where))
    work = partial(our_estimate, evaluated, some, num_samples)
    counted = Side(work, scored, device=where, count=lambda _: num_samples * num_tokens(some))
    rates(bench, "IW-NLL, fp32", counted)
    sampled = partial(our_ids, model.to(where), codes, "sample", UNTRAINED_LENGTH)
    side = Side(sampled, decoded, device=where, count=lambda found: sum(map(len, found)))
    rates(bench, "sampling, fp32", side)
    for name, steps_of in training.items():
        bench.note(f"operators of training steps, {name}", operators(steps_of, where))


def rates(bench: Bench, name: str, side: Side) -> None:
    """Tokens/s over the rounds, after an unmeasured one, and the share of the limit."""
    side.work()
    found = summary(side, [measured(side) for _ in range(bench.rounds)])
    figures = {"tokens/s": found["median"], "least": found["min"], "most": found["max"]}
    bench.note(name, {**figures, "share of the limit": found["share_of_limit"]})


def operators(steps: Callable[[], object], device: torch.device) -> dict[str, float]:
    """The operators that take longest, with their shares of the time of all."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # torch's profiler would speak at the end
    steps()  # what is done only once is not of interest
    with profile(activities=supported_activities()) as profiler:
        steps()
        settle(device)
    own = "self_cpu_time_total" if device.type == "cpu" else "self_device_time_total"
    times = {event.key: float(getattr(event, own)) for event in profiler.key_averages()}
    longest = sorted(times, key=lambda name: -times[name])[:10]
    return {name: times[name] / sum(times.values()) for name in longest}
