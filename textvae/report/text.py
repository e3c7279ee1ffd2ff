"""Text for the terminal: what is trained, what was measured, example sentences."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from textvae.corpus import Corpus
from textvae.generation import interpolate, reconstruct, sample
from textvae.model import SentenceVAE
from textvae.recipes import LoadedRun
from textvae.report.tables import kl_bars, table
from textvae.training import Trainer

__all__ = [
    "CORPUS_NAMES",
    "closing",
    "evaluation",
    "examples",
    "readable",
    "run_heading",
]

CORPUS_NAMES = {
    "ptb": "Penn Treebank",
    "grammar": "EMBEDDED CORPUS (made by a grammar, no real text)",
}


def run_heading(trainer: Trainer, corpus: Corpus | None = None) -> str:
    """What is about to be trained, where, and what was left out of the data, in two lines."""
    split, model = trainer.train.split, trainer.model
    parameters = sum(parameter.numel() for parameter in model.parameters())
    kind = f"z of {model.latent_dim}" if model.latent_dim else "language model"
    counts = {
        "empty lines skipped": sum(corpus.skipped.values()) if corpus else 0,
        "sentences cut": split.num_truncated,
        "sentences dropped": split.num_dropped,
    }
    left_out = "".join(f", {count:,} {what}" for what, count in counts.items() if count)
    precision = str(trainer.precision).removeprefix("torch.")
    return (
        f"{trainer.run.path}: {trainer.run.config.data_source}, {split.num_sentences:,} sentences "
        f"of {split.num_tokens:,} tokens to train on{left_out}\n"
        f"{kind}, vocabulary {model.vocab_size:,}, {parameters:,} parameters, "
        f"{precision} on {trainer.accelerator.device}"
    )


def evaluation(measured: LoadedRun, **more: Any) -> str:
    """A measured run: corpus and split, a table of one row, KL per dimension.

    Args:
        measured: The run.
        more: Further columns of the table.
    """
    terms = measured.evaluation
    row = {
        "rec": terms.rec,
        "KL": terms.kl,
        "−ELBO": -terms.elbo,
        "ELBO-PPL": terms.elbo_ppl,
        "AU": f"{terms.au}/{len(terms.kl_per_dim)}",
        "active dims": terms.active_dimensions,
        **more,
    }
    name = CORPUS_NAMES.get(measured.corpus.name, measured.corpus.name)
    return (
        f"{name}, {measured.split} split: {terms.num_sentences:,} sentences of "
        f"{terms.num_tokens:,} tokens, nats per sentence\n{table([row])}\n"
        f"KL per dimension {kl_bars(terms.kl_per_dim)}"
    )


def closing(measured: LoadedRun, results: Mapping[str, Any], run: str | Path) -> str:
    """All that a finished training shows: figures, sentences, and the commands to go on with.

    Args:
        measured: The run, measured on its test split.
        results: How it went, as `recipes.finish` gives it.
        run: Its directory.
    """
    figures = evaluation(
        measured,
        **{
            "β": results["beta"],
            "epochs": f"{results['epochs']} (best {results['best_epoch']})",
            "minutes": results["minutes"],
        },
    )
    shown = examples(measured.model, readable(measured.corpus[measured.split]["text"]))
    return f"\n{figures}\n\n{shown}\n\n{_next_commands(run, measured)}"


def readable(texts: Sequence[str]) -> list[str]:
    """The first four texts that fit a line and say something, as far as there are."""
    candidates = texts[:200]
    fitting = [text for text in candidates if 25 <= len(text) <= 60 and "<unk>" not in text]
    return (fitting + list(candidates))[:4]


def _next_commands(run: str | Path, measured: LoadedRun) -> str:
    lines = [f"the run is in {run}; go on with"]
    run = shlex.quote(str(run))
    lines += [f"  textvae diagnose {run}"]
    lines += [f"  textvae sample {run} -n 10 --seed 1"]
    if measured.model.latent_dim:
        texts = readable(measured.corpus[measured.split]["text"])
        text, other = (shlex.quote(text) for text in (texts * 2)[:2])  # there may be but one
        lines += [
            f"  textvae reconstruct {run} {text}",
            f"  textvae interpolate {run} {text} {other}",
        ]
    return "\n".join(lines)


def examples(model: SentenceVAE, texts: Sequence[str], *, seed: int = 0) -> str:
    """Five samples from the prior, three reconstructions and an interpolation.

    Args:
        model: The model, with a tokenizer.
        texts: At least three held-out sentences for the reconstructions; the first and the
            last are the ends of the interpolation.
        seed: Seed of the samples.

    Returns:
        Lines of text; a language model has samples only.
    """
    lines = ["samples from the prior", *(f"  {text}" for text in sample(model, 5, seed=seed))]
    if model.latent_dim == 0:
        return "\n".join(lines)
    lines += ["", "reconstructions (through the posterior mean, greedy)"]
    for text, back in zip(texts[:3], reconstruct(model, texts[:3]), strict=True):
        lines += [f"  {text}", f"  → {back}"]
    lines += ["", f"interpolation between “{texts[0]}” and “{texts[-1]}”"]
    lines += [f"  {text}" for text in interpolate(model, texts[0], texts[-1], steps=5)]
    return "\n".join(lines)
