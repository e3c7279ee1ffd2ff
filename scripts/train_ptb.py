"""Train a sentence VAE on Penn Treebank, see that it has not collapsed, sample, interpolate.

Penn Treebank is looked for in --data-dir, in data/ptb/, then on the Hugging Face hub. Where it
can't be had, the embedded corpus takes its place, and every output says so.

    python scripts/train_ptb.py                              # the whole job, with a good recipe
    python scripts/train_ptb.py --data-dir DIR --seed 1
    python scripts/train_ptb.py --latent-dim 0               # the language model, as the floor
    python scripts/train_ptb.py --resume                     # after Ctrl-C, to the same result
    torchrun --nproc-per-node 8 scripts/train_ptb.py         # on all of a machine's accelerators
"""

from __future__ import annotations

from textvae.runtime import shorten_spin

shorten_spin()  # before torch is loaded

import sys
from pathlib import Path
from typing import Any, Literal

from jsonargparse import ArgumentParser, Namespace

from textvae import cli
from textvae.corpus import Corpus, CorpusNotFound, load_corpus
from textvae.recipes import RECIPES
from textvae.runtime import is_first, join


def find_corpus(which: str, data_dir: str | None) -> Corpus:
    """The corpus asked for; with `auto`, the embedded one where Penn Treebank can't be had."""
    if which == "grammar":
        return load_corpus("grammar")
    try:
        return load_corpus("ptb" if data_dir is None else f"ptb:{data_dir}")
    except CorpusNotFound as error:
        if which == "ptb" or data_dir is not None:
            raise
        if is_first():
            print(f"{error}: training on the embedded corpus instead", file=sys.stderr)
        return load_corpus("grammar")


def latest_directory(which: str) -> Path:
    """The last run on the corpus; with `auto`, on the embedded one if there is no other."""
    try:
        return cli.latest_directory("ptb" if which == "auto" else which)
    except FileNotFoundError:
        if which != "auto":
            raise
        return cli.latest_directory("grammar")


def run(options: Namespace, given: dict[str, Any]) -> None:
    """Train on the corpus that is to be had, with its recipe; what was given wins."""
    command = "python scripts/train_ptb.py"
    if options.resume:
        directory = Path(options.output_dir or latest_directory(options.corpus))
        cli.train(None, given, directory, command=command)
        return
    processes = join(cpu=options.device == "cpu")
    corpus = processes.in_turn(lambda: find_corpus(options.corpus, options.data_dir))
    directory = options.output_dir or processes.first(lambda: cli.new_directory(corpus.name))
    cli.train(corpus, {**RECIPES[corpus.name], **given}, Path(directory), command=command)


def main() -> int:
    """Parse, find the corpus, train with the corpus' recipe."""
    parser = ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--data-dir", type=str | None, help="directory of ptb.{train,valid,test}.txt"
    )
    parser.add_argument(
        "--corpus",
        type=Literal["auto", "ptb", "grammar"],
        default="auto",
        help="auto: Penn Treebank, or the embedded corpus where it can't be had",
    )
    cli.add_training_options(parser, defaults=dict(RECIPES["ptb"]))
    arguments = cli.config_first(sys.argv[1:])
    options = parser.parse_args(arguments)
    given = cli.given_options(parser, arguments)
    return cli.exit_code_of(lambda: run(options, given))


if __name__ == "__main__":
    sys.exit(main())
