import dataclasses
import json
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.able import needs_bf16
from tests.draws import draws
from tests.model.conftest import SENTENCES, TRUNCATED
from textvae.batches import collate
from textvae.checks import InputError
from textvae.config import ModelConfig, option
from textvae.files import read_json
from textvae.losses import objective
from textvae.model import SentenceVAE, VAEOutput


def rec_of(out: VAEOutput) -> Tensor:
    return out.terms["rec"]


def tensors_of(out: VAEOutput) -> tuple[Tensor, ...]:
    """All that a pass says of each sentence, a row each."""
    return (rec_of(out), out.z, *out.posterior.parameters)


def test_a_pass_equals_a_loop_over_sentences(make_model, batch):
    model, noise = make_model(), draws(5, 3)
    out = model(batch, noise)
    assert [part.shape for part in tensors_of(out)] == [(5,), (5, 3), (5, 3), (5, 3)]
    for b, (ids, cut) in enumerate(zip(SENTENCES, TRUNCATED, strict=True)):
        alone = collate([ids], truncated=[cut])
        hidden = model.encoder(alone.target_ids, alone.lengths)
        mu, logvar = model.head.mu(hidden), model.head.logvar(hidden)
        z = mu + torch.exp(logvar / 2) * noise[b]
        torch.testing.assert_close(out.posterior.mu[b : b + 1], mu)
        torch.testing.assert_close(out.posterior.logvar[b : b + 1], logvar)
        torch.testing.assert_close(rec_of(out)[b : b + 1], -model.decoder.log_likelihood(alone, z))
    assert (rec_of(out) > 0).all()


def test_encoder_and_decoder_both_learn(make_model, batch):
    deep = {"encoder_num_layers": 2, "bidirectional": True, "decoder_num_layers": 2}
    model = make_model(**deep, pooling="mean")
    terms = objective((out := model(batch, draws(5, 3))).terms, out.posterior.kl())
    (terms.rec + terms.kl).backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []
    for embedding in (model.encoder.embedding, model.decoder.embedding):
        assert embedding.weight.grad is not None
        assert not embedding.weight.grad[0].any(), "padding must not be trained"


@needs_bf16
def test_the_posterior_stays_fp32_in_reduced_precision(make_model, batch):
    model, noise = make_model(), draws(5, 3)
    expected = model(batch, noise)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = model(batch, noise)
    assert {tensor.dtype for tensor in tensors_of(out)} == {torch.float32}
    torch.testing.assert_close(tensors_of(out), tensors_of(expected), rtol=0.1, atol=0.2)


def test_the_encoder_reads_everything(make_model, batch):
    rates = {"word_dropout": 0.5, "embedding_dropout": 0.5, "output_dropout": 0.5}
    noisy = make_model(**rates, decoder_num_layers=2).train().encode(batch)
    still = make_model(decoder_num_layers=2).encode(batch)
    assert noisy.mean.equal(still.mean)


def test_a_language_model_has_no_encoder_and_no_kl(make_model, batch):
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


def test_a_language_model_is_the_same_decoder(make_model, batch):
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


def test_embeddings_start_small_and_padding_at_zero():
    torch.manual_seed(0)
    model = SentenceVAE(200, embedding_dim=20, encoder_hidden_size=2, decoder_hidden_size=2)
    for embedding in (model.encoder.embedding, model.decoder.embedding):
        assert 0.09 < embedding.weight.abs().max() <= 0.1
        assert embedding.weight[1:].abs().sum(1).min() > 0
        assert not embedding.weight[0].any()


ALL_OTHERWISE: dict[str, Any] = {
    **{"encoder_cell": "lstm", "encoder_num_layers": 2, "bidirectional": True, "pooling": "max"},
    **{"decoder_cell": "gru", "decoder_num_layers": 2, "latent_to": "input"},
    **{"word_dropout": 0.2, "output_dropout": 0.1, "embedding_dropout": 0.3},
    **{"bag_of_words": 0.5, "posterior": "batch-norm"},
}


def test_options_reach_their_parts():
    sizes = {"encoder_hidden_size": 6, "decoder_hidden_size": 7}
    model = SentenceVAE(9, **{**ALL_OTHERWISE, **sizes, "decoder_num_layers": 3})
    encoder, decoder = model.encoder, model.decoder
    assert isinstance(encoder.rnn, nn.LSTM)
    assert isinstance(decoder.rnn, nn.GRU)
    assert (encoder.rnn.hidden_size, encoder.rnn.num_layers, encoder.rnn.bidirectional) == (6, 2, 1)
    assert (decoder.rnn.hidden_size, decoder.rnn.num_layers) == (7, 3)
    assert (encoder.pooling, decoder.latent_to_input, decoder.latent_to_state) == ("max", 1, 0)
    assert (decoder.word_dropout, decoder.embedding_dropout.p) == (0.2, 0.3)
    assert (decoder.output_dropout.p, decoder.rnn.dropout) == (0.1, 0.1)


def test_faults_are_named_at_once():
    with pytest.raises(InputError, match=r"^vocab_size must be at least 5, got 4$"):
        SentenceVAE(4)  # four special ids, no word
    with pytest.raises(InputError, match=r"^latent_dim must be .+; encoder_cell must be .+$"):
        SentenceVAE(9, encoder_cell="rnn", latent_dim=-1)
    with pytest.raises(InputError, match=r"^posterior must be one of gaussian, batch-norm, delta"):
        SentenceVAE(9, posterior="flow")


SHARED = {"tied_embeddings": True, "shared_embedding": True, "embedding_dim": 5}
OTHERS = [{}, SHARED, {"latent_dim": 0}, ALL_OTHERWISE]


@pytest.mark.parametrize("options", OTHERS)
def test_what_is_saved_comes_back(make_model, batch, word_tokenizer, tmp_path, options):
    model = make_model(tokenizer=word_tokenizer, **options).train()
    model(batch)  # what is learned beside the weights
    model.save_pretrained(tmp_path / "new" / "run")
    assert model.training, "saving must not change the mode"
    loaded = SentenceVAE.from_pretrained(tmp_path / "new" / "run")
    assert loaded.config == model.config
    assert loaded.tokenizer.fingerprint == word_tokenizer.fingerprint
    assert not any(module.training for module in loaded.modules())
    weights, theirs = model.state_dict(), loaded.state_dict()
    assert weights.keys() == theirs.keys()
    assert all(weights[name].equal(theirs[name]) for name in weights)
    noise = draws(5, model.latent_dim)
    same = tensors_of(loaded(batch, noise)), tensors_of(model.eval()(batch, noise))
    torch.testing.assert_close(*same, rtol=0, atol=0)
    is_tied = loaded.decoder.output.weight is loaded.decoder.embedding.weight
    assert is_tied == ("tied_embeddings" in options)
    if options is SHARED:
        assert loaded.encoder.embedding is loaded.decoder.embedding


def test_options_of_a_class_of_ones_own_are_checked_saved_and_loaded(word_tokenizer, tmp_path):
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class OwnConfig(ModelConfig):
        heads: int = option(2, "how many there are")

    class Own(SentenceVAE):
        Config = OwnConfig

    with pytest.raises(InputError, match="heads must be at least 1, got 0"):
        Own(9, heads=0)
    sizes = {"latent_dim": 2, "encoder_hidden_size": 3, "decoder_hidden_size": 3}
    Own(len(word_tokenizer), tokenizer=word_tokenizer, heads=5, **sizes).save_pretrained(tmp_path)
    assert Own.from_pretrained(tmp_path).config == OwnConfig(heads=5, **sizes)


def test_a_run_directory_holds_plain_files_and_its_other_sections_are_kept(tiny_model, tmp_path):
    run = {"data_source": "somewhere", "training": {"lr": 0.5}}
    (tmp_path / "config.json").write_text(json.dumps({"run": run, "model": {"old": 1}}))
    for _ in range(2):
        tiny_model.save_pretrained(str(tmp_path))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["config.json", "model.safetensors", "tokenizer.json"]
    options = {"vocab_size": tiny_model.vocab_size, **dataclasses.asdict(tiny_model.config)}
    assert read_json(tmp_path / "config.json") == {"run": run, "model": options, "format": 1}
    assert SentenceVAE.from_pretrained(tmp_path, device="meta").device.type == "meta"


def test_a_model_without_tokenizer_is_saved_but_no_run(make_model, tmp_path):
    model = make_model()
    with pytest.raises(InputError, match="the model has no tokenizer: build it with tokenizer=…"):
        model.tokenizer  # noqa: B018
    model.save_pretrained(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"is not a run directory: tokenizer\.json not"):
        SentenceVAE.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("model.safetensors", b"", b"\1"),  # its last byte
        ("config.json", b'"pooling": "last"', b'"pooling": "mean"'),
        ("tokenizer.json", b'"cat": 5', b'"cat": 7'),  # and now a word for another
    ],
)
def test_what_fits_but_was_changed_is_refused(tiny_model, tmp_path, file, old, new):
    tiny_model.save_pretrained(tmp_path)
    whole = (tmp_path / file).read_bytes()
    words = {id: word for word, id in tiny_model.tokenizer._vocabulary.items()}
    if file == "tokenizer.json":
        a, b = (f'"{words[i]}": '.encode() for i in (5, 7))
        changed = whole.replace(a + b"5", a + b"7").replace(b + b"7", b + b"5")
    else:
        changed = whole.replace(old, new) if old else whole[:-1] + bytes([whole[-1] ^ 1])
    assert changed != whole
    (tmp_path / file).write_bytes(changed)
    with pytest.raises(InputError, match=r"model\.safetensors is damaged, or config\.json or tok"):
        SentenceVAE.from_pretrained(tmp_path)


NO_MODEL = "does not hold a model of this version: "


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", b'{"model": {', r"config\.json is not valid JSON"),
        ("config.json", b"{}", "no section 'model'"),
        ("config.json", b"[]", "no section 'model'"),
        ("config.json", b'{"model": {}}', NO_MODEL + ".*'vocab_size'"),
        ("config.json", {"flow": 2}, NO_MODEL + ".*'flow'"),
        ("config.json", {"vocab_size": 99}, NO_MODEL),  # other shapes
        ("config.json", {"latent_dim": 0}, NO_MODEL),  # too many weights
        ("config.json", {"encoder_num_layers": 2}, NO_MODEL),  # too few
        ("config.json", {"pooling": "sum"}, "pooling must be one of"),
        ("tokenizer.json", b"{}", r"tokenizer\.json is not a tokenizer of textvae"),
        ("model.safetensors", b"no weights at all, just text", NO_MODEL),
        ("model.safetensors", None, NO_MODEL),  # a copy that was cut short
    ],
)
def test_damaged_files_are_refused(tiny_model, tmp_path, file, content, message):
    tiny_model.save_pretrained(tmp_path)
    path = tmp_path / file
    if isinstance(content, dict):  # options changed
        content = json.dumps({"model": read_json(path)["model"] | content}).encode()
    path.write_bytes(path.read_bytes()[:-10] if content is None else content)
    with pytest.raises(InputError, match=message):
        SentenceVAE.from_pretrained(tmp_path)
