"""Train a sentence VAE on Penn Treebank, see that it has not collapsed, sample, interpolate.

Penn Treebank is looked for in --data-dir, in data/ptb/, then on the Hugging Face hub. Where it
can't be had, the embedded corpus takes its place, and every output says so.

    python scripts/train_ptb.py                              # the whole job, with a good recipe
    python scripts/train_ptb.py --data-dir DIR --seed 1
    python scripts/train_ptb.py --latent-dim 0               # the language model, as the floor
    python scripts/train_ptb.py --resume                     # after Ctrl-C, to the same result
    torchrun --nproc-per-node 8 scripts/train_ptb.py         # on all of a machine's accelerators
"""

from textvae.runtime import shorten_spin

shorten_spin()  # before torch is loaded

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from textvae import cli
from textvae.corpus import Corpus, CorpusNotFound, load_corpus
from textvae.recipes import SIZES
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
        return cli.run_directory("ptb" if which == "auto" else which, is_new=False)
    except FileNotFoundError:
        if which != "auto":
            raise
        return cli.run_directory("grammar", is_new=False)


def train_ptb(
    *,
    data_dir: Annotated[str | None, "directory of ptb.{train,valid,test}.txt"] = None,
    corpus: Annotated[
        Literal["auto", "ptb", "grammar"],
        "auto: Penn Treebank, or the embedded corpus where it can't be had",
    ] = "auto",
    output_dir: cli.OutputDir = None,
    resume: cli.Resume = False,
    data_changed: cli.DataChanged = False,
    recipe: cli.RecipeName = None,
    given: cli.Given = SIZES["ptb"],
) -> None:
    """Train a sentence VAE on Penn Treebank, see that it has not collapsed, sample, interpolate."""
    command = "python scripts/train_ptb.py"
    if resume:
        directory = Path(output_dir or latest_directory(corpus))
        more: dict[str, Any] = {"recipe": recipe, "data_changed": data_changed}
        cli.train_run(None, given, directory, command=command, **more)
        return
    processes = join(cpu=given.get("device") == "cpu")
    found = processes.in_turn(lambda: find_corpus(corpus, data_dir))
    name = output_dir or processes.first(lambda: cli.run_directory(found.name, is_new=True))
    cli.train_run(found, given, Path(name), recipe=recipe, command=command)


def main() -> int:
    """Parse, find the corpus, train."""
    return cli.run(train_ptb)


if __name__ == "__main__":
    sys.exit(main())
