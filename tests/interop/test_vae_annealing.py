"""The drop-in: the calls that the package's documentation shows, and the values it promises."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.distributions import Bernoulli, Normal, kl_divergence

from textvae import annealers
from textvae.interop.vae_annealing import Annealer, VAELoss


def cosine(progress: float) -> float:
    return (1 - math.cos(math.pi * progress)) / 2


def test_there_is_one_annealer_of_that_name() -> None:
    assert Annealer is annealers.Annealer


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(6, 4), nn.Linear(2, 6)

    def forward(self, x0: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mu, logvar = self.encoder(x0).chunk(2, -1)
        z = mu + torch.randn_like(mu) * (0.5 * logvar).exp()
        return self.decoder(z).sigmoid(), mu, logvar


def test_basic_annealing_as_documented() -> None:
    torch.manual_seed(0)
    total_steps, model, x0 = 60, Model(), torch.eye(6)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    betas, losses = [], []

    annealing_agent = Annealer(total_steps, shape="cosine")
    criterion = VAELoss()

    for _ in range(100):
        x, mu, logvar = model(x0)
        bce, kld = criterion(x, x0, mu, logvar)
        raw = kld
        kld = annealing_agent(kld)
        optimizer.zero_grad()
        (bce + kld).backward()
        optimizer.step()
        annealing_agent.step()

        betas.append(kld.item() / raw.item())
        losses.append(bce.item() + raw.item())

    expected = [cosine(epoch / 60) for epoch in range(60)] + [1.0] * 40
    assert betas == pytest.approx(expected, abs=1e-6)
    assert losses[-1] < losses[0]
    assert (annealing_agent.current_step, annealing_agent.total_steps) == (60, 60)


@pytest.mark.parametrize("setter", ["set_cyclical", "cyclical_setter"])  # one in each document
def test_cyclical_annealing_disabled_at_epoch_30_and_enabled_at_70(setter: str) -> None:
    total_steps = 20
    betas = []

    annealing_agent = Annealer(total_steps, shape="cosine", cyclical=True)

    for epoch in range(100):
        betas.append(annealing_agent(1.0))  # the training script
        annealing_agent.step()

        if epoch == 30:
            getattr(annealing_agent, setter)(False)
        if epoch == 70:
            getattr(annealing_agent, setter)(True)

    progress = [step / 20 for step in range(20)]
    expected = [
        *progress,  # epochs 0 to 19: a cycle, whose counter is zeroed on reaching total_steps
        *progress,  # 20 to 39: a second one, in the middle of which cycles are disabled
        *[1.0] * 32,  # 40 to 71: so that it gets to full weight, and stays
        *progress,  # 72 to 91: enabled after epoch 70, and seen to when the next step is taken
        *progress[:8],  # 92 to 99
    ]
    assert betas == pytest.approx([cosine(part) for part in expected], abs=1e-12)


def test_disabled_annealer_returns_its_argument() -> None:
    kld = torch.tensor(3.0)
    assert Annealer(10, "logistic", disable=True)(kld) is kld


rows = st.integers(1, 4)


@given(rows, rows, rows, st.integers(0, 1000))
def test_loss_agrees_with_torch_distributions(
    batch: int, pixels: int, latents: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x, x0 = torch.rand(2, batch, 2, pixels, generator=generator, dtype=torch.float64)
    x0 = x0.round()
    mu, logvar = torch.randn(2, batch, latents, generator=generator, dtype=torch.float64)
    bce, kld = VAELoss()(x, x0, mu, logvar)
    posterior, prior = Normal(mu, (0.5 * logvar).exp()), Normal(0.0, torch.ones(latents).double())
    assert bce.item() == pytest.approx(-Bernoulli(x).log_prob(x0).sum().item(), rel=1e-9)
    assert kld.item() == pytest.approx(kl_divergence(posterior, prior).sum().item(), rel=1e-9)


def test_loss_takes_the_reconstruction_first() -> None:
    # By hand: −ln 0.9 − ln (1 − 0.2). The other way round it would be −0.9 ln 0 − …: 110.
    x, x0, nothing = torch.tensor([[0.9, 0.2]]), torch.tensor([[1.0, 0.0]]), torch.zeros(1, 1)
    bce, kld = VAELoss()(x, x0, nothing, nothing)
    assert bce.item() == pytest.approx(-math.log(0.9) - math.log(0.8), rel=1e-6)
    assert kld.item() == 0.0


@pytest.mark.parametrize("kind", [torch.uint8, torch.int64, torch.bool, torch.float64])
def test_pictures_may_be_of_any_type(kind: torch.dtype) -> None:
    x, nothing = torch.full((2, 3), 0.5), torch.zeros(2, 1)
    bce, _ = VAELoss()(x, torch.ones(2, 3, dtype=kind), nothing, nothing)
    assert bce.item() == pytest.approx(6 * math.log(2))


def test_both_terms_grow_with_the_batch_alike() -> None:
    x, x0 = torch.tensor([[0.9, 0.2]]), torch.tensor([[1.0, 0.0]])
    mu, logvar = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.3, -0.1]])
    once = VAELoss()(x, x0, mu, logvar)
    thrice = VAELoss()(*(part.repeat(3, 1) for part in (x, x0, mu, logvar)))
    assert [float(t / o) for t, o in zip(thrice, once, strict=True)] == pytest.approx([3, 3])


HALF, MU = torch.full((2, 3), 0.5), torch.zeros(2, 1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: VAELoss()(HALF, HALF[:, :2], MU, MU),
            r"x and x0 must have the same shape, got \(2, 3\) and \(2, 2\)",
        ),
        (
            lambda: VAELoss()(HALF, HALF, MU[:1], MU[:1]),  # would broadcast in no one's favour
            r"x and mu must have equally many rows, got the shapes \(2, 3\) and \(1, 1\)",
        ),
        (
            lambda: VAELoss()(HALF, HALF, MU, MU[:1]),
            r"mu and logvar must have the same shape, got \(2, 1\) and \(1, 1\)",
        ),
        (lambda: VAELoss()(HALF + 0.75, HALF, MU, MU), r"x must be in \[0, 1\], got 1\.25"),
        (lambda: VAELoss()(HALF, HALF - 1, MU, MU), r"x0 must be in \[0, 1\], got -0\.5"),
        (lambda: VAELoss()(HALF, HALF * 510, MU, MU), r"x0 must be in \[0, 1\], got 255\.0"),
        (lambda: VAELoss()(HALF * math.nan, HALF, MU, MU), r"x must be in \[0, 1\], got nan"),
    ],
)
def test_refusals(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
