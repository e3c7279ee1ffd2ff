"""`textvae quality`: how good a run's sentences are.

What is under way is said on standard error.
"""

from __future__ import annotations

import json

from jsonargparse import ArgumentParser, Namespace

from textvae.cli.command import Command, add_data, add_run, say

__all__ = ["COMMANDS"]


def _quality(options: Namespace) -> None:
    from textvae import recipes
    from textvae.report.quality import quality_text

    found = recipes.quality_run(
        options.run,
        num_samples=options.num_samples,
        split=options.split,
        data_dir=options.data_dir,
        seed=options.seed,
        temperature=options.temperature,
        language_model=options.language_model,
        progress=say,
    )
    print(json.dumps(found.to_dict()) if options.json else quality_text(found))


def _arguments(parser: ArgumentParser) -> None:
    add_run(parser)
    add = parser.add_argument
    add("-n", "--num-samples", type=int, default=1000, help="samples, and real sentences beside")
    add_data(parser)
    add("--seed", type=int, default=0, help="the same seed, the same samples")
    add("--temperature", type=float, default=1.0, help="of the samples, above 0")
    add(
        "--language-model",
        type=str | None,
        metavar="RUN",
        help="a run with latent_dim 0 on the same corpus: perplexities under it",
    )
    add("--json", action="store_true", help="one JSON object on standard output")


COMMANDS = (
    Command(
        "quality",
        "how good a run's sentences are: varied, new, likely; BLEU of reconstructions",
        _arguments,
        _quality,
    ),
)
