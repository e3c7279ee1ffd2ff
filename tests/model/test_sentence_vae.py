"""Tests of `textvae.model.sentence_vae`."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal

from textvae.batches import Batch
from textvae.losses import objective
from textvae.model import Gaussian, SentenceVAE, VAEOutput
from textvae.model.encoder import CELLS
from textvae.tokenizer import Tokenizer

SENTENCES = [[5, 6, 7, 4], [8], [], [9, 4, 4, 9, 5, 6], [6, 5]]
TRUNCATED = [False, False, False, True, False]

MakeModel = Callable[..., SentenceVAE]
MakeBatch = Callable[..., Batch]


def rec_of(out: VAEOutput) -> Tensor:
    return out.terms["rec"]


def tensors_of(out: VAEOutput) -> tuple[Tensor, ...]:
    """All that a pass says of each sentence, a row each."""
    return (rec_of(out), out.z, *out.posterior.parameters)


def options_of(model: SentenceVAE) -> dict[str, Any]:
    return {"vocab_size": model.vocab_size, **dataclasses.asdict(model.config)}


@pytest.fixture
def batch(make_batch: MakeBatch) -> Batch:
    return make_batch(SENTENCES, truncated=TRUNCATED)


def draws(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def rows_of(batch: Batch, rows: list[int]) -> Batch:
    return Batch(*(tensor[rows] for tensor in batch))


def test_a_draw_is_the_mean_and_noise_times_the_deviation() -> None:
    posterior = Gaussian(torch.tensor([[1.0, -2.0]]), torch.tensor([[0.0, math.log(9)]]))
    torch.testing.assert_close(posterior.sample(torch.zeros(1, 2)), posterior.mu)
    torch.testing.assert_close(
        posterior.sample(torch.tensor([[2.0, -1.0]])), torch.tensor([[3.0, -5.0]])
    )
    many = posterior.sample(draws(20_000, 1, 2))
    assert many.shape == (20_000, 1, 2)
    torch.testing.assert_close(many.mean(0), posterior.mu, rtol=0, atol=0.1)
    torch.testing.assert_close(many.std(0), torch.tensor([[1.0, 3.0]]), rtol=0.05, atol=0)


def test_draws_come_from_the_global_generator_if_no_noise_is_given() -> None:
    posterior = Gaussian(torch.zeros(3, 2), torch.zeros(3, 2))
    torch.manual_seed(5)
    first, second = posterior.sample(), posterior.sample()
    torch.manual_seed(5)
    assert posterior.sample().equal(first)
    assert not second.equal(first)
    assert first.shape == (3, 2)


def test_draws_are_differentiable_in_both_parameters() -> None:
    mu = torch.zeros(1, 2, requires_grad=True)
    logvar = torch.full((1, 2), math.log(4), requires_grad=True)
    noise = torch.tensor([[1.0, -3.0]])
    Gaussian(mu, logvar).sample(noise).sum().backward()
    assert mu.grad is not None
    assert logvar.grad is not None
    assert mu.grad.tolist() == [[1, 1]]
    torch.testing.assert_close(logvar.grad, noise)  # ½ · sigma · noise with sigma = 2


def test_a_pass_equals_a_loop_over_sentences(
    make_model: MakeModel, make_batch: MakeBatch, batch: Batch
) -> None:
    model, noise = make_model(), draws(5, 3)
    out = model(batch, noise)
    assert [part.shape for part in tensors_of(out)] == [(5,), (5, 3), (5, 3), (5, 3)]
    for b, (ids, cut) in enumerate(zip(SENTENCES, TRUNCATED, strict=True)):
        alone = make_batch([ids], truncated=[cut])
        hidden = model.encoder(alone.target_ids, alone.lengths)
        mu, logvar = model.head.mu(hidden), model.head.logvar(hidden)
        z = mu + torch.exp(logvar / 2) * noise[b]
        torch.testing.assert_close(out.posterior.mu[b : b + 1], mu)
        torch.testing.assert_close(out.posterior.logvar[b : b + 1], logvar)
        torch.testing.assert_close(rec_of(out)[b : b + 1], -model.decoder.log_likelihood(alone, z))
    assert (rec_of(out) > 0).all()


@pytest.mark.parametrize(
    ("cell", "layers", "bidirectional", "pooling"),
    list(itertools.product(CELLS, (1, 2), (False, True), ("last", "mean", "max"))),
)
def test_per_sentence_values_do_not_depend_on_the_batch(
    make_model: MakeModel, batch: Batch, cell: str, layers: int, bidirectional: bool, pooling: str
) -> None:
    model = make_model(
        encoder_cell=cell, encoder_num_layers=layers, bidirectional=bidirectional, pooling=pooling
    )
    noise = draws(5, 3)
    once = model(batch, noise)
    more = torch.zeros_like(batch.input_ids)
    wide = batch._replace(
        input_ids=torch.cat([batch.input_ids, more], 1),
        target_ids=torch.cat([batch.target_ids, more], 1),
    )
    torch.testing.assert_close(tensors_of(model(wide, noise)), tensors_of(once))
    for rows in ([4, 2, 0, 3, 1], [0, 1, 2, 3, 4] * 2):
        again = model(rows_of(batch, rows), noise[rows])
        expected = tuple(tensor[rows] for tensor in tensors_of(once))
        torch.testing.assert_close(tensors_of(again), expected)
    assert torch.pdist(once.posterior.mean).min() > 1e-3, (
        "sentences must differ for a mix-up to show"
    )


def test_samples_pass_through_z(make_model: MakeModel, batch: Batch) -> None:
    model = make_model()
    zero, one = (rec_of(model(batch, noise)) for noise in (torch.zeros(5, 3), torch.ones(5, 3)))
    assert (zero - one).abs().min() > 1e-3
    posterior = model.encode(batch)
    torch.testing.assert_close(zero, -model.log_likelihood(batch, posterior.mu))


def test_noise_comes_from_the_global_generator_if_none_is_given(
    make_model: MakeModel, batch: Batch
) -> None:
    model = make_model()
    torch.manual_seed(3)
    first, second = rec_of(model(batch)), rec_of(model(batch))
    torch.manual_seed(3)
    assert rec_of(model(batch)).equal(first)
    assert not second.equal(first)


def test_many_samples_at_once_estimate_the_marginal(
    make_model: MakeModel, make_batch: MakeBatch
) -> None:
    # log p(x, z) / q(z|x) is an unbiased estimate of p(x) under any q: two samples from other
    # distributions must agree. The posterior here is the untrained encoder's, so near the prior
    # by choice of weights.
    model = make_model(std=0.3)
    one = make_batch([[5, 6]])
    posterior = model.encode(one)
    z = posterior.sample(draws(4000, 1, 3))
    log_q = Normal(posterior.mu, torch.exp(posterior.logvar / 2)).log_prob(z).sum(-1)
    log_w = model.log_likelihood(one, z) + Normal(0.0, 1.0).log_prob(z).sum(-1) - log_q
    prior = model.log_likelihood(one, draws(4000, 1, 3, seed=2))
    assert log_w.exp().mean().item() == pytest.approx(prior.exp().mean().item(), rel=0.1)


def test_encoder_and_decoder_both_learn(make_model: MakeModel, batch: Batch) -> None:
    model = make_model(
        encoder_num_layers=2, bidirectional=True, decoder_num_layers=2, pooling="mean"
    )
    terms = objective((out := model(batch, draws(5, 3))).terms, out.posterior.kl())
    (terms.rec + terms.kl).backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []
    for embedding in (model.encoder.embedding, model.decoder.embedding):
        assert embedding.weight.grad is not None
        assert not embedding.weight.grad[0].any(), "padding must not be trained"


def test_the_posterior_stays_fp32_in_reduced_precision(make_model: MakeModel, batch: Batch) -> None:
    model, noise = make_model(), draws(5, 3)
    expected = model(batch, noise)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = model(batch, noise)
    assert {tensor.dtype for tensor in tensors_of(out)} == {torch.float32}
    torch.testing.assert_close(tensors_of(out), tensors_of(expected), rtol=0.1, atol=0.2)


def test_dropout_is_off_in_evaluation(make_model: MakeModel, batch: Batch) -> None:
    rates = {"word_dropout": 0.5, "embedding_dropout": 0.5, "output_dropout": 0.5}
    model, noise = make_model(**rates, decoder_num_layers=2), draws(5, 3)
    without = make_model(decoder_num_layers=2)
    same = tensors_of(model(batch, noise)), tensors_of(without(batch, noise))
    torch.testing.assert_close(*same, rtol=0, atol=0)
    model.train()
    noisy = model(batch, noise)
    assert not rec_of(noisy).equal(rec_of(model(batch, noise)))
    torch.testing.assert_close(
        noisy.posterior.mean, without(batch, noise).posterior.mean
    )  # the encoder reads everything


def test_a_language_model_has_no_encoder_and_no_kl(make_model: MakeModel, batch: Batch) -> None:
    model = make_model(latent_dim=0)
    assert all(name.startswith("decoder.") for name, _ in model.named_parameters())
    assert not any("latent" in name for name, _ in model.named_parameters())
    out = model(batch)
    assert out.posterior.mu.shape == out.posterior.logvar.shape == (5, 0)
    terms = objective(out.terms, out.posterior.kl())
    assert (terms.kl.item(), terms.kl_objective.item()) == (0, 0)
    torch.testing.assert_close(rec_of(out), rec_of(model(batch, draws(5, 0))), rtol=0, atol=0)
    terms.rec.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_language_model_is_the_same_decoder(make_model: MakeModel, batch: Batch) -> None:
    # A VAE whose z says nothing, all weights from z at zero, is that language model.
    vae, lm = make_model(), make_model(latent_dim=0)
    with torch.no_grad():
        for name, parameter in lm.decoder.named_parameters():
            theirs = vae.decoder.get_parameter(name)
            if theirs.shape != parameter.shape:  # the input weights: z comes after the embedding
                theirs[:, parameter.shape[1] :] = 0
                theirs = theirs[:, : parameter.shape[1]]
            parameter.copy_(theirs)
        for parameter in vae.decoder.latent_to_cell.parameters():
            parameter.zero_()
    torch.testing.assert_close(rec_of(vae(batch)), rec_of(lm(batch)))


def test_embeddings_start_small_and_padding_at_zero() -> None:
    torch.manual_seed(0)
    model = SentenceVAE(200, embedding_dim=20, encoder_hidden_size=2, decoder_hidden_size=2)
    for embedding in (model.encoder.embedding, model.decoder.embedding):
        assert 0.09 < embedding.weight.abs().max() <= 0.1
        assert embedding.weight[1:].abs().sum(1).min() > 0
        assert not embedding.weight[0].any()


def test_sizes_are_free(make_model: MakeModel, batch: Batch) -> None:
    model = make_model(
        17,
        latent_dim=2,
        embedding_dim=3,
        encoder_cell="lstm",
        encoder_hidden_size=6,
        encoder_num_layers=2,
        bidirectional=True,
        decoder_cell="gru",
        decoder_hidden_size=7,
        decoder_num_layers=3,
        latent_to="state",
    )
    assert model(batch).posterior.mu.shape == (5, 2)
    state = model.initial_state(torch.zeros(4, 2))
    assert [part.shape for part in state] == [(3, 4, 7)]
    assert model.step(torch.full((4,), 5), state, torch.zeros(4, 2))[0].shape == (4, 17)
    assert model.device == torch.device("cpu")


def test_arguments_reach_their_parts() -> None:
    model = SentenceVAE(
        9,
        encoder_cell="lstm",
        encoder_hidden_size=6,
        encoder_num_layers=2,
        bidirectional=True,
        pooling="max",
        decoder_cell="gru",
        decoder_hidden_size=7,
        decoder_num_layers=3,
        word_dropout=0.1,
        embedding_dropout=0.2,
        output_dropout=0.3,
    )
    encoder, decoder = model.encoder, model.decoder
    assert isinstance(encoder.rnn, nn.LSTM)
    assert encoder.pooling == "max"
    assert (encoder.rnn.hidden_size, encoder.rnn.num_layers, encoder.rnn.bidirectional) == (6, 2, 1)
    assert isinstance(decoder.rnn, nn.GRU)
    assert (decoder.rnn.hidden_size, decoder.rnn.num_layers, decoder.rnn.bidirectional) == (7, 3, 0)
    assert (decoder.word_dropout, decoder.embedding_dropout.p) == (0.1, 0.2)
    assert (decoder.output_dropout.p, decoder.rnn.dropout) == (0.3, 0.3)


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("vocab_size", 4, "vocab_size must be at least 5, got 4"),  # four special ids, no word
        ("latent_dim", -1, "latent_dim must be at least 0, got -1"),
        ("embedding_dim", 0, "embedding_dim must be at least 1, got 0"),
        ("encoder_hidden_size", 0, "encoder_hidden_size must be at least 1, got 0"),
        ("encoder_num_layers", 0, "encoder_num_layers must be at least 1, got 0"),
        ("decoder_hidden_size", 0, "decoder_hidden_size must be at least 1, got 0"),
        ("decoder_num_layers", 0, "decoder_num_layers must be at least 1, got 0"),
        ("encoder_cell", "rnn", "encoder_cell must be one of gru, lstm, got 'rnn'"),
        ("decoder_cell", "GRU", "decoder_cell must be one of lstm, gru, got 'GRU'"),
        ("pooling", "sum", "pooling must be one of last, mean, max, got 'sum'"),
        ("latent_to", "none", "latent_to must be one of state, input, both, got 'none'"),
        ("word_dropout", 1.5, r"word_dropout must be in \[0, 1\], got 1\.5"),
        ("embedding_dropout", -0.1, r"embedding_dropout must be in \[0, 1\], got -0\.1"),
        ("output_dropout", math.nan, r"output_dropout must be in \[0, 1\], got nan"),
    ],
)
def test_an_argument_outside_its_range_is_refused(argument: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        SentenceVAE(**{"vocab_size": 9, argument: value})


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(
        ValueError,
        match=r"latent_dim must be .+; encoder_cell must be .+; word_dropout must be .+; "
        r"tied_embeddings needs embedding_dim equal to decoder_hidden_size, got 8 and 256$",
    ):
        SentenceVAE(
            9,
            encoder_cell="rnn",
            word_dropout=2,
            latent_dim=-1,
            embedding_dim=8,
            tied_embeddings=True,
        )


VARIANTS: list[dict[str, Any]] = [
    {},
    {"tied_embeddings": True},
    {"latent_dim": 0},
    {"latent_dim": 0, "tied_embeddings": True},
    {
        "encoder_cell": "lstm",
        "encoder_num_layers": 2,
        "bidirectional": True,
        "pooling": "max",
        "decoder_cell": "gru",
        "decoder_num_layers": 2,
        "latent_to": "input",
        "word_dropout": 0.2,
        "output_dropout": 0.1,
        "embedding_dropout": 0.3,
    },
]


@pytest.mark.parametrize("arguments", VARIANTS)
def test_what_is_saved_comes_back(
    make_model: MakeModel,
    batch: Batch,
    word_tokenizer: Tokenizer,
    tmp_path: Path,
    arguments: dict[str, Any],
) -> None:
    model = make_model(word_tokenizer.vocab_size, tokenizer=word_tokenizer, **arguments).train()
    model.save_pretrained(tmp_path / "new" / "run")
    assert model.training, "saving must not change the mode"
    loaded = SentenceVAE.from_pretrained(tmp_path / "new" / "run")
    assert loaded.config == model.config
    assert loaded.tokenizer is not None
    assert loaded.tokenizer.fingerprint == word_tokenizer.fingerprint
    assert not any(module.training for module in loaded.modules())
    weights, theirs = model.state_dict(), loaded.state_dict()
    assert weights.keys() == theirs.keys()
    assert all(weights[name].equal(theirs[name]) for name in weights)
    noise = draws(5, model.latent_dim)
    same = tensors_of(loaded(batch, noise)), tensors_of(model.eval()(batch, noise))
    torch.testing.assert_close(*same, rtol=0, atol=0)
    if arguments.get("tied_embeddings"):
        assert loaded.decoder.output.weight is loaded.decoder.embedding.weight


def test_a_run_directory_holds_plain_files_and_no_rest(
    tiny_model: SentenceVAE, tmp_path: Path
) -> None:
    for _ in range(2):
        tiny_model.save_pretrained(str(tmp_path))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["config.json", "model.safetensors", "tokenizer.json"]
    config = json.loads((tmp_path / "config.json").read_text())
    assert config == {"model": options_of(tiny_model)}
    assert "tokenizer" not in config["model"]


def test_other_sections_of_the_configuration_are_kept(
    tiny_model: SentenceVAE, tmp_path: Path
) -> None:
    run = {"data_source": "somewhere", "training": {"lr": 0.5}}
    (tmp_path / "config.json").write_text(json.dumps({"run": run, "model": {"old": 1}}))
    tiny_model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config == {
        "run": run,
        "model": options_of(tiny_model),
    }


def test_loading_takes_a_device(tiny_model: SentenceVAE, tmp_path: Path) -> None:
    tiny_model.save_pretrained(tmp_path)
    assert SentenceVAE.from_pretrained(tmp_path, device="meta").device.type == "meta"
    assert SentenceVAE.from_pretrained(str(tmp_path), device="cpu").device.type == "cpu"


def test_a_path_that_is_not_there_fails_at_once(tmp_path: Path) -> None:
    start = time.perf_counter()
    with pytest.raises(FileNotFoundError, match=r"no run directory at '.*/runs/frist'"):
        SentenceVAE.from_pretrained(tmp_path / "runs" / "frist")
    assert time.perf_counter() - start < 15, "retries cost 23 seconds"


def test_a_model_without_tokenizer_is_saved_but_no_run(
    make_model: MakeModel, tmp_path: Path
) -> None:
    make_model().save_pretrained(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"is not a run directory: tokenizer\.json not"):
        SentenceVAE.from_pretrained(tmp_path)


def damage(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def apply(directory: Path) -> None:
        config = json.loads((directory / "config.json").read_text())
        (directory / "config.json").write_text(json.dumps(change(config)))

    return apply


def write(file: str, content: bytes) -> Callable[[Path], None]:
    return lambda directory: (directory / file).write_bytes(content) and None


def shorten(file: str) -> Callable[[Path], None]:
    return lambda directory: (
        (directory / file).write_bytes((directory / file).read_bytes()[:-10]) and None
    )


NO_MODEL = "does not hold a model of this version: "


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (write("config.json", b'{"model": {'), r"config\.json is not valid JSON"),
        (write("config.json", b"{}"), "no section 'model'"),
        (write("config.json", b"[]"), "no section 'model'"),
        (write("config.json", b'{"model": 3}'), "no section 'model'"),
        (damage(lambda c: {"model": {**c["model"], "flow": 2}}), NO_MODEL + ".*'flow'"),
        (damage(lambda c: {"model": {}}), NO_MODEL + ".*'vocab_size'"),
        (damage(lambda c: {"model": {**c["model"], "vocab_size": 99}}), NO_MODEL),  # other shapes
        (damage(lambda c: {"model": {**c["model"], "latent_dim": 0}}), NO_MODEL),  # too many
        (damage(lambda c: {"model": {**c["model"], "encoder_num_layers": 2}}), NO_MODEL),  # too few
        (damage(lambda c: {"model": {**c["model"], "pooling": "sum"}}), "pooling must be one of"),
        (write("tokenizer.json", b"{}"), r"tokenizer\.json is not a tokenizer of textvae"),
        (write("model.safetensors", b""), NO_MODEL),
        (write("model.safetensors", b"no weights at all, just text"), NO_MODEL),
        (shorten("model.safetensors"), NO_MODEL),  # a copy that was cut short
    ],
)
def test_damaged_files_are_refused(
    tiny_model: SentenceVAE, tmp_path: Path, how: Callable[[Path], None], message: str
) -> None:
    tiny_model.save_pretrained(tmp_path)
    how(tmp_path)
    with pytest.raises(ValueError, match=message):
        SentenceVAE.from_pretrained(tmp_path)
