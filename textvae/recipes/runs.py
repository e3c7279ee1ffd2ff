"""A run's parts put together: corpus, vocabulary, batches, model, directory, and its phases."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, fields, replace
from functools import partial
from hashlib import sha256
from itertools import starmap
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch

from textvae.annealers import KLAnnealer
from textvae.batches import BatchLoader, EncodedSplit, encode_split
from textvae.checks import InputError, refuse
from textvae.config import DataConfig, ModelConfig, RunConfig
from textvae.corpus import ROWS_AT_ONCE, Corpus, DataError, load_corpus, train_tokenizer
from textvae.files import find_pretrained
from textvae.model import AUXILIARIES, SentenceVAE
from textvae.recipes.options import EXTENDABLE, PRETRAINING, Phase, inherited
from textvae.run import RunDirectory
from textvae.runtime import current, join
from textvae.tokenizer import SPECIALS, UNK_ID, UNK_TOKEN, Tokenizer
from textvae.training import Remedy, Trainer, configured_annealer

if TYPE_CHECKING:
    from datasets import Dataset


MAX_UNKNOWN = 0.5  # share of tokens above which a corpus is of another vocabulary than the model
MAX_CHECKED = 10_000  # sentences looked at to find that share


def open_corpus(source: str, config: DataConfig, data_dir: str | None = None) -> Corpus:
    """Load a corpus with the options of a configuration, from where it is now if not `source`."""
    if data_dir is not None:
        source = f"ptb:{data_dir}" if source.startswith("ptb") else data_dir
    return load_corpus(
        source,
        text_field=config.text_field,
        label_field=config.label_field,
        valid_fraction=config.valid_fraction,
        test_fraction=config.test_fraction,
        seed=config.split_seed,
    )


def refuse_other_vocabulary(corpus: Corpus, split: str, tokenizer: Tokenizer) -> None:
    """An `<unk>` that stands in the text, as in Penn Treebank, is a word like any other."""
    texts = corpus[split]["text"][:MAX_CHECKED]
    encoded = tokenizer.encode_batch(texts)
    num_tokens = sum(map(len, encoded))
    unknown = sum(ids.count(UNK_ID) for ids in encoded) - sum(x.count(UNK_TOKEN) for x in texts)
    if unknown > MAX_UNKNOWN * num_tokens:
        share = f"{unknown / num_tokens:.0%} of the tokens of its {split} split are unknown to it"
        other = f"{corpus.name} is of another vocabulary than the model"
        raise DataError(f"{other}: {share}, at most {MAX_UNKNOWN:.0%} may be")


def encoded(corpus: Corpus, split: str, model: SentenceVAE, config: DataConfig) -> EncodedSplit:
    """A split's sentences as ids, with the options of a configuration, and what a model is told."""
    limit, too_long = config.max_length, config.too_long
    found = encode_split(corpus[split], model.tokenizer, max_length=limit, too_long=too_long)
    if model.labels.values:
        found.labels = model.labels.numbered(corpus[split].select(found.rows)).numpy()
    return found


def evaluation_loader(
    corpus: Corpus, split: str, model: SentenceVAE, config: DataConfig
) -> BatchLoader:
    """Batches of a split, always in the same order."""
    return BatchLoader(encoded(corpus, split, model, config), batch_size=64, shuffle=False)


def _classes(corpus: Corpus, names: str | None) -> dict[str, dict[str, int]] | None:
    """The values of these labels, and how often training has each."""
    for name in (wanted := names.split(",") if names is not None else []):
        if name not in corpus.factors:
            known = ", ".join(corpus.factors) or "none: --label-field keeps them"
            raise InputError(f"condition_on must be labels that name classes ({known}), got {name}")
    found = {name: sorted(Counter(corpus["train"][name][:]).items()) for name in wanted}
    return {name: {str(k): n for k, n in own} for name, own in found.items()} or None


def start(
    corpus: Corpus, options: Mapping[str, Any], output_dir: str | Path, **own: Any
) -> Trainer:
    """Begin a run of one phase in a new directory; gives its trainer, ready to `fit`.

    `options` are fields of `ModelConfig`, `DataConfig` and `TrainingConfig`; what is your own,
    `annealer=`, `model=` and `remedies=`, is as for `phases`.

    Raises:
        InputError: Also if an option asks for pretraining, which `phases` does.
        FileExistsError: If there is something at `output_dir`.
    """
    for name in (f"{phase.name}_epochs" for phase in PRETRAINING):
        if options.get(name):
            raise InputError(f"{name} makes a run of several phases: use recipes.phases")
    return next(phases(corpus, options, output_dir, **own))


def resume(output_dir: str | Path, options: Mapping[str, Any] | None = None, **own: Any) -> Trainer:
    """Continue a run, or the phase it is in, from its last state, to the result it would have had.

    `options` given anew must be those of the run, but for `EXTENDABLE`; all else is as for `start`.
    """
    return next(phases(None, options or {}, output_dir, **own))


def phases(
    corpus: Corpus | None,
    options: Mapping[str, Any],
    output_dir: str | Path,
    *,
    annealer: KLAnnealer | None = None,
    model: type[SentenceVAE] = SentenceVAE,
    remedies: Mapping[str, Remedy] = MappingProxyType({}),
    before: Sequence[Phase] = (),
    data_changed: bool = False,
) -> Iterator[Trainer]:
    """A run's phases that are still to be trained, each built when the one before is done.

    There is one, unless pretraining is asked for, in a directory of its own within the run's:
    `autoencoder_epochs` gives an encoder that has something to say when the KL term is first heard
    (Li et al. 2019), `language_model_epochs` a decoder that knows the language and takes the rest
    from z. Phases `before` follow these, whenever the run is resumed, too.

    No `corpus` continues the run in `output_dir`, or begins it anew where it has no state yet;
    `data_changed` does so on other sentences. In the last phase `annealer` takes the configured
    one's place, and `remedies`, by name, join those of the options; `model` is the class of all.

    Yields:
        Trainers; `fit` each before asking for the next, in each process that was launched.
    """
    _refuse_types(corpus, annealer)
    if corpus is None:
        processes = join(cpu=_is_kept_from_accelerators(output_dir, model))
        run = processes.first(lambda: _reopened(output_dir, options, model))
        config = run.config
        corpus = processes.in_turn(lambda: open_corpus(config.data_source, config.data))
        processes.first(partial(_keep_data, run, corpus, data_changed))
    else:
        run, processes = None, join(cpu=options.get("device") == "cpu")
        config = processes.first(partial(_planned, corpus, options, output_dir, model))
    if run is not None and processes.first(run.has_state):
        network = model.from_pretrained(run.path)
        loaders = processes.in_turn(partial(_loaders, corpus, network, config))
        trainer = Trainer(network, *loaders, run, annealer=annealer, remedies=remedies)
        processes.in_turn(trainer.resume)
        yield trainer
        return
    network = processes.first(partial(_untrained, corpus, config, model, output_dir))
    loaders = processes.in_turn(partial(_loaders, corpus, network, config))
    if annealer is None:
        annealer = configured_annealer(config.training, len(loaders[0]))
    # Not before all else is known to be right: a directory once there is refused next time.
    new = run or output_dir, config, network, loaders[0].split.longest, corpus
    run = processes.first(partial(_created, *new))
    for phase in [*_configured(config), *before]:
        if (trained := phase.run) is None:
            trainer = _trainer(phase, run, corpus, model, data_changed)
            trained = trainer.run.path
            if trainer.ended is None:
                yield trainer
        take_weights(model.from_pretrained(trained), network, phase.keeps)
    if network.latent_dim > 0:
        torch.manual_seed(run.config.training.seed)
    yield Trainer(network, *loaders, run, annealer=annealer, remedies=remedies)


def _refuse_types(corpus: object, annealer: object) -> None:
    if not isinstance(corpus, Corpus | None):
        raise TypeError(f"corpus must be what load_corpus gives, got {type(corpus).__name__}")
    if not isinstance(annealer, KLAnnealer | None):
        raise TypeError(f"annealer must be callable and have a step(), got {annealer!r}")


def _planned(
    corpus: Corpus, options: Mapping[str, Any], output_dir: str | Path, model: type[SentenceVAE]
) -> RunConfig:
    RunDirectory.refuse_if_taken(output_dir)
    own = inherited(begun) if (begun := options.get("init_from")) else {}
    found = {name: (value, repr(corpus)) for name, value in corpus.options.items()} | {
        name: (value, f"{begun}, where this run begins")
        for name, value in own.items()
        if not name.endswith("_dropout") and name not in AUXILIARIES
    }
    refuse(
        f"{name} is {value!r} in {where}, got {options[name]!r}"
        for name, (value, where) in found.items()
        if name in options and options[name] != value
    )
    everything = {**corpus.options, **own, **options}
    config = RunConfig.from_flat(corpus.source, everything, model=model.Config)
    parts = ("decoder.", "encoder.") if config.model.latent_dim > 0 else ("decoder.",)
    if all(map(config.training.freezes, parts)):
        raise InputError("freeze must leave something to train")
    return config


def _untrained(
    corpus: Corpus, config: RunConfig, model: type[SentenceVAE], path: str | Path
) -> SentenceVAE:
    """The model that a run begins with; refused where the one at `path` is another by now."""
    data, begun = config.data, config.training.init_from
    sizes = {"vocab_size": data.vocab_size, "min_count": data.min_count}
    if begun is not None:
        known = Tokenizer.load(find_pretrained(begun) / "tokenizer.json")
        tokenizer = train_tokenizer(corpus["train"], known, **sizes)
    elif data.tokenizer_file is not None:
        tokenizer = Tokenizer.load(data.tokenizer_file, add_specials=True)
        refuse_other_vocabulary(corpus, "train", tokenizer)
    else:
        how = {"lowercase": data.lowercase, "pattern": data.pattern}
        tokenizer = train_tokenizer(corpus["train"], data.tokenizer, **sizes, **how)
    if len(tokenizer) < 5:
        rare = f"every word is {UNK_TOKEN}, or seen fewer than min_count = {data.min_count} times"
        raise DataError(f"{corpus.source} leaves no vocabulary: {rare}")
    for split in {*corpus.splits} - {"train"}:
        refuse_other_vocabulary(corpus, split, tokenizer)
    _refuse_too_large(len(tokenizer), config)
    torch.manual_seed(config.training.seed)
    told = {"classes": config.model.classes or _classes(corpus, data.condition_on)}
    network = model(len(tokenizer), **asdict(config.model) | told, tokenizer=tokenizer)
    for split in corpus.splits if data.condition_on else ():
        encoded(corpus, split, network, data)  # refuses a value that training lacks
    run = RunDirectory(Path(path), config)
    is_trained = run.metrics_file.exists()
    if run.weights_file.exists():
        with torch.random.fork_rng(devices=[]):
            saved = model.from_pretrained(path)
        pairs = zip(saved.state_dict().values(), network.state_dict().values(), strict=True)
        is_trained = is_trained or not all(starmap(torch.equal, pairs))
    if is_trained:
        run.load_state()  # says that it is missing
    return network


def _refuse_too_large(vocab_size: int, config: RunConfig) -> None:
    """An InputError if weights, gradients and the optimizer's moments don't fit in memory."""
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    sizes = {field.name: getattr(config.model, field.name) for field in fields(ModelConfig)}
    try:
        with torch.device("meta"):
            weights: float = sum(w.numel() for w in SentenceVAE(vocab_size, **sizes).parameters())
    except RuntimeError:
        weights = math.inf  # more than can be counted
    needed = weights * 4 * (2 if config.training.optimizer == "sgd" else 4)
    if needed > there:
        takes = f"takes {needed / 1e9:,.0f} GB to train, and this machine has {there / 1e9:,.0f}"
        raise InputError(f"a model of {weights:,} parameters {takes}: choose smaller sizes")


def _loaders(
    corpus: Corpus, model: SentenceVAE, config: RunConfig
) -> tuple[BatchLoader, BatchLoader]:
    training = config.training
    train = BatchLoader(
        encoded(corpus, "train", model, config.data),
        batch_size=None if training.max_tokens else training.batch_size,
        max_tokens=training.max_tokens,
        seed=training.seed,
    )
    return train, evaluation_loader(corpus, "valid", model, config.data)


def _created(
    where: RunDirectory | str | Path,
    config: RunConfig,
    model: SentenceVAE,
    longest: int,
    corpus: Corpus,
) -> RunDirectory:
    if isinstance(where, RunDirectory):
        run = where  # stopped before it began
    else:
        run = RunDirectory.create(where, config, digests(corpus), longest_sentence=longest)
    model.save_pretrained(run.path)
    return run


def _reopened(
    output_dir: str | Path, options: Mapping[str, Any], model: type[SentenceVAE]
) -> RunDirectory:
    run = RunDirectory.open(output_dir, model=model.Config)
    stored = run.config.flat()
    faults = [
        f"{name} is {stored.get(name)!r} in {run.path}, got {value!r}"
        for name, value in options.items()
        if name not in EXTENDABLE and stored.get(name) != value
    ]
    if faults:
        kept = f"a resumed run keeps its options (only {', '.join(EXTENDABLE)} may change)"
        raise InputError(f"{kept}: {'; '.join(faults)}")
    flat = stored | dict(options)
    config = RunConfig.from_flat(run.config.data_source, flat, model=model.Config)
    run.lock()
    if options:
        run.config = config
        run.write_config()
    return run


def digests(corpus: Corpus) -> dict[str, str]:
    """SHA-256 of each split's sentences, in their order."""
    return {split: _digest(rows) for split, rows in corpus.splits.items()}


def _digest(rows: Dataset) -> str:
    digest = sha256()
    for piece in rows.select_columns("text").iter(ROWS_AT_ONCE):
        digest.update("\0".join([*piece["text"], ""]).encode())
    return digest.hexdigest()


class CorpusChanged(DataError):  # noqa: N818 - reads as what it is where it is caught
    """A split has other sentences than the run was trained on."""


def is_changed(run: RunDirectory, corpus: Corpus, *splits: str, allowed: bool) -> bool:
    """Whether splits have other sentences than the run knows; CorpusChanged unless allowed."""
    for split in splits:
        known, found = run.splits.get(split), _digest(corpus[split])
        if known not in (None, found):
            if allowed:
                return True
            raise CorpusChanged(
                f"the {split} split of {corpus.source} is not the one {run.path} was trained on: "
                f"its sha256 was {known:.12}…, and is {found:.12}…. Put the old file back, or go "
                "on with --data-changed, which marks the results"
            )
    return False


def _keep_data(run: RunDirectory, corpus: Corpus, data_changed: bool) -> None:
    """Refuse to go on with other sentences, or note that it is done."""
    if is_changed(run, corpus, *corpus.splits, allowed=data_changed):
        run.splits, run.data_changed = digests(corpus), True
        run.write_config()


def _is_kept_from_accelerators(output_dir: str | Path, model: type[SentenceVAE]) -> bool:
    """Whether an existing run trains on the CPU; False if there is none, which others tell."""
    with suppress(OSError, InputError):
        return RunDirectory.open(output_dir, model=model.Config).config.training.device == "cpu"
    return False


def _configured(config: RunConfig) -> Iterator[Phase]:
    """The phases that a run's options ask for; a language model has nothing to be prepared for."""
    if config.training.init_from is not None:
        yield Phase("init_from", run=config.training.init_from)
    for phase in PRETRAINING if config.model.latent_dim > 0 else ():
        if epochs := getattr(config.training, f"{phase.name}_epochs"):
            yield replace(phase, options={**phase.options, "max_epochs": epochs})


def _trainer(
    phase: Phase, run: RunDirectory, corpus: Corpus, model: type[SentenceVAE], data_changed: bool
) -> Trainer:
    """Of a phase that comes before the run's own, new or continued."""
    directory = run.path / phase.name
    if current().first(lambda: RunDirectory.is_taken(directory)):
        return resume(directory, model=model, data_changed=data_changed)
    alone = {"tracker": "none"} | {f"{each.name}_epochs": 0 for each in PRETRAINING}
    return start(corpus, run.config.flat() | alone | dict(phase.options), directory, model=model)


@torch.no_grad()
def take_weights(source: SentenceVAE, model: SentenceVAE, keeps: Callable[[str], bool]) -> None:
    """Copy those of a trained model's parameters and buffers that `keeps` names.

    The decoder's layers read words and labels before z, and a language model has learned those
    columns, which come first: they may be fewer than the model's own. So may its words be: rows of
    those that are new begin as the mean of the known ones (Hewitt 2021), whatever that has learned.
    """
    is_told_alike = source.labels.values == model.labels.values
    if not model.tokenizer.extends(source.tokenizer) or not is_told_alike:
        raise InputError("weights can be taken from a model of the same vocabulary and labels only")
    own, sizes = model.state_dict(), [source.vocab_size, model.vocab_size]
    for name, weights in source.state_dict().items():
        is_dropped = name.startswith("auxiliaries.") and name not in own  # a loss that goes no more
        if is_dropped or not keeps(name):
            continue
        place = own.get(name, torch.empty(0))
        if name.endswith((".weight_ih_l0", ".latent_to_cell.weight", ".latent_to_output.weight")):
            place = place[..., : weights.shape[1]]
        elif [*weights.shape[:1], *place.shape[:1]] == sizes and sizes[0] < sizes[1]:
            place[sizes[0] :] = weights[len(SPECIALS) :].mean(0)
            place = place[: sizes[0]]
        if place.shape != weights.shape:
            fault = f"{name} {tuple(weights.shape)} has no place in the model"
            raise InputError(f"{fault}: let the phase's `keeps` leave it out")
        place.copy_(weights)
