"""Does a model that is told labels obey them, and which would it guess of a real sentence?

    textvae train grammar --condition-on topic,temper,tense,number,mood,polarity
    python scripts/labels.py runs/grammar-1            # judged by the grammar's own parser
    textvae train subj.tsv --label-field label --condition-on label
    python scripts/labels.py runs/subj-1               # by TF-IDF and logistic regression

The classifier learns from the run's real training sentences and is judged on its test split.
"""

from textvae.runtime import shorten_spin

shorten_spin()  # before torch is loaded

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Annotated

from textvae import cli, grammar
from textvae.checks import InputError
from textvae.cli.writing import DRAWN
from textvae.config import Decoding
from textvae.corpus import Corpus
from textvae.generation import TextVAE
from textvae.quality import fitted_classifier
from textvae.recipes import LoadedRun
from textvae.report.text import table

GUESSED = 100  # real sentences whose labels are guessed
Judge = Callable[[Sequence[str]], Sequence[str | None]]


def judge_of(corpus: Corpus, name: str) -> Judge:
    """What tells the value of a label in sentences, None where it can't."""
    if corpus.source == "grammar":
        return lambda texts: [_parsed(text, name) for text in texts]
    rows = corpus["train"]
    classifier, _ = fitted_classifier(rows["text"][:], list(map(str, rows[name][:])))
    return lambda texts: classifier.predict(texts).tolist()


def _parsed(text: str, name: str) -> str | None:
    found = grammar.parse(text)
    return found[0].factors[name] if found else None


def share(found: Sequence[str | None], asked: Sequence[str]) -> str:
    """How many are what was asked for."""
    return f"{sum(map(str.__eq__, map(str, found), asked)) / len(asked):.1%}"


def labels(
    run: cli.command.Run,
    *,
    num_sentences: Annotated[int, "samples, labels drawn as often as in training"] = 1000,
    decoding: Decoding = DRAWN,
) -> None:
    """Sample with labels, and have a judge tell them."""
    loaded, model = LoadedRun.open(run), TextVAE.from_pretrained(run)
    if not model.labels.values:
        raise InputError(f"{run} is told no labels: train it with --condition-on")
    drawn = model.drawn_labels(num_sentences, seed=decoding.seed)
    told = model.labels.changed(drawn, num_sentences, decoding.label)
    asked = model.labels.named(told)
    samples = model.sample(num_sentences, labels=told, **asdict(decoding))
    real = loaded.corpus[loaded.split]
    guessed = model.labels.named(model.likeliest_labels(real["text"][:GUESSED]))
    rows = []
    for name in model.labels.values:
        judge, own = judge_of(loaded.corpus, name), list(map(str, real[name][:]))
        shares = {
            "real": share(judge(real["text"][:]), own),
            "samples": share(judge(samples), [each[name] for each in asked]),
            "guessed": share([each[name] for each in guessed], own[:GUESSED]),
        }
        rows.append({"label": name, **shares})
    print(f"{run}: judged to be of their label, real test sentences and samples; guessed rightly")
    print(table(rows))


def main() -> int:
    """Run it; gives the exit code."""
    return cli.run(labels)


if __name__ == "__main__":
    sys.exit(main())
