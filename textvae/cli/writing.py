"""`textvae sample | reconstruct | interpolate`: commands that write sentences."""

from __future__ import annotations

from jsonargparse import ArgumentParser, Namespace

from textvae.cli.command import Command, add_run, load, print_lines, tell_unknown_words

__all__ = ["COMMANDS"]


def _sample(options: Namespace) -> None:
    from textvae.generation import sample

    model = load(options.run)
    texts = sample(
        model,
        options.num_sentences,
        seed=options.seed,
        strategy=options.strategy,
        temperature=options.temperature,
        max_length=options.max_length,
    )
    print_lines(texts)


def _reconstruct(options: Namespace) -> None:
    from textvae.generation import reconstruct

    model = load(options.run)
    tell_unknown_words(model, options.texts)
    print_lines(reconstruct(model, options.texts, max_length=options.max_length))


def _interpolate(options: Namespace) -> None:
    from textvae.generation import interpolate

    model = load(options.run)
    tell_unknown_words(model, [options.first, options.second])
    texts = interpolate(
        model, options.first, options.second, steps=options.steps, max_length=options.max_length
    )
    print_lines(texts)


def _sample_arguments(parser: ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("-n", "--num-sentences", type=int, default=10, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="the same seed, the same sentences")
    parser.add_argument("--strategy", type=str, default="sample", help="sample or greedy")
    parser.add_argument("--temperature", type=float, default=1.0, help="of sampling, above 0")
    _add_max_length(parser)


def _reconstruct_arguments(parser: ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("texts", nargs="+", type=str, help="sentences")
    _add_max_length(parser)


def _interpolate_arguments(parser: ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("first", type=str, help="sentence at one end")
    parser.add_argument("second", type=str, help="sentence at the other end")
    parser.add_argument("--steps", type=int, default=5, help="sentences, both ends included")
    _add_max_length(parser)


def _add_max_length(parser: ArgumentParser) -> None:
    parser.add_argument("--max-length", type=int, default=200, help="most tokens of a sentence")


COMMANDS = (
    Command("sample", "sentences from the prior, one a line", _sample_arguments, _sample),
    Command(
        "reconstruct",
        "what comes back of sentences sent through the latent space",
        _reconstruct_arguments,
        _reconstruct,
    ),
    Command(
        "interpolate",
        "sentences on the way from one to another",
        _interpolate_arguments,
        _interpolate,
    ),
)
