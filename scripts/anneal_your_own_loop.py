"""Train a VAE on small binary pictures in a plain PyTorch loop, with an annealer for its KL term.

The pictures (bars and blobs) are made here, and nothing is downloaded or written: the script is to
be read, and its loop to be taken along. It ends within a minute on one core.

    python scripts/anneal_your_own_loop.py                     # the weight rises over 10 epochs
    python scripts/anneal_your_own_loop.py --warmup-epochs 0   # full weight from the first step
    python scripts/anneal_your_own_loop.py --reconstruction mse

B pictures of a batch, M of a data set, P pixels, Z latent dimensions.
"""

from __future__ import annotations

import sys
from functools import partial

import torch
from jsonargparse import ArgumentParser, Namespace
from jsonargparse.typing import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from textvae import cli
from textvae.annealers import LinearAnnealer
from textvae.diagnostics import active_units, gradient_norm
from textvae.losses import bce_reconstruction, kl_divergence, mse_reconstruction

SIDE, PICTURES, BATCH, CLIP = 12, 2000, 50, 5.0
OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": partial(torch.optim.AdamW, weight_decay=1e-5)}
RECONSTRUCTIONS = {"bce": bce_reconstruction, "mse": mse_reconstruction}
HEADING = """\
rec, KL: nats per picture (rec of mse: squared error); gradient: norm before clipping; valid: β = 1
epoch   beta  train rec  train KL  valid rec  valid KL  gradient  active units  wrong pixels"""
LINE = "{:5}  {:5.2f} {:10.2f} {:9.2f} {:10.2f} {:9.2f} {:9.2f} {:13} {:13.2%}"


def make_pictures(number: int) -> Tensor:
    """Horizontal bars, vertical bars and round blobs, a third each; (M, P) of 0 and 1."""
    kind = torch.randint(3, (number, 1, 1))
    radius = torch.randint(1, 4, (number, 1, 1))
    middle = torch.randint(1, SIDE - 1, (2, number, 1, 1))
    y, x = (torch.arange(SIDE)[:, None] - middle[0]).abs(), (torch.arange(SIDE) - middle[1]).abs()
    distance = torch.where(kind == 0, y, torch.where(kind == 1, x, (x**2 + y**2).sqrt()))
    return (distance < radius).flatten(1).float()


def mlp(size_in: int, size_out: int) -> nn.Module:
    """A layer of 128 hidden units and one of outputs."""
    return nn.Sequential(nn.Linear(size_in, 128), nn.ReLU(), nn.Linear(128, size_out))


class VAE(nn.Module):
    """A multilayer perceptron each way."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.encoder, self.decoder = mlp(SIDE**2, 2 * latent_dim), mlp(latent_dim, SIDE**2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the reconstruction (B, P), each pixel from 0 to 1, and mu and logvar, (B, Z)."""
        mu, logvar = self.encoder(x).chunk(2, -1)
        z = mu + torch.randn_like(mu) * (0.5 * logvar).exp()
        return self.decoder(z).sigmoid(), mu, logvar


def train(options: Namespace) -> dict[str, list[float]]:
    """Train, print a line now and then, return the history: a value of each kind per epoch."""
    torch.manual_seed(options.seed)
    pictures, valid = make_pictures(PICTURES), make_pictures(500)
    model, reconstruction = VAE(options.latent_dim), RECONSTRUCTIONS[options.reconstruction]
    optimizer = OPTIMIZERS[options.optimizer](model.parameters(), lr=options.lr)
    scheduler = ReduceLROnPlateau(optimizer, factor=0.5, patience=5)
    annealer = LinearAnnealer(options.warmup_epochs * PICTURES // BATCH)
    history: dict[str, list[float]] = {}
    print(HEADING)
    for epoch in range(1, options.epochs + 1):
        beta, total = annealer.value, torch.zeros(3)
        for x in pictures[torch.randperm(PICTURES)].split(BATCH):
            recon, mu, logvar = model(x)
            rec, kl = reconstruction(recon, x, "mean"), kl_divergence(mu, logvar, "mean")
            optimizer.zero_grad()
            (rec + annealer(kl)).backward()
            norm = gradient_norm(model)
            nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
            annealer.step()
            total += torch.stack([rec.detach(), kl.detach(), norm]) * len(x)
        train_rec, train_kl, gradient = (total / PICTURES).tolist()
        with torch.no_grad():
            recon, mu, logvar = model(valid)
            valid_rec, valid_kl = (
                reconstruction(recon, valid, "mean"),
                kl_divergence(mu, logvar, "mean"),
            )
        if annealer.finished:  # until then, the loss that is optimised is another one
            scheduler.step(valid_rec + valid_kl)
        row = {"beta": beta, "train_rec": train_rec, "train_kl": train_kl}
        row |= {"valid_rec": valid_rec.item(), "valid_kl": valid_kl.item()}
        row |= {"gradient_norm": gradient, "active_units": active_units(mu)}
        row["wrong_pixels"] = ((recon > 0.5) != (valid > 0.5)).float().mean().item()
        for name, value in row.items():
            history.setdefault(name, []).append(value)
        if epoch % 5 == 0 or epoch in (1, options.epochs):
            print(LINE.format(epoch, *row.values()))
    return history


def main() -> int:
    """Read the options, train."""
    parser = ArgumentParser(description=__doc__.split("\n\n")[0])
    add = parser.add_argument
    add("--epochs", type=PositiveInt, default=40, help="passes over the pictures")
    add("--warmup-epochs", type=NonNegativeInt, default=10, help="epochs of β rising from 0 to 1")
    add("--reconstruction", choices=list(RECONSTRUCTIONS), default="bce", help="bce or mse")
    add("--optimizer", choices=list(OPTIMIZERS), default="adam", help="adam or adamw")
    add("--lr", type=PositiveFloat, default=1e-3, help="learning rate, halved on plateaus")
    add("--latent-dim", type=PositiveInt, default=8, help="dimensions of z")
    add("--seed", type=int, default=0, help="of pictures, weights and noise")
    options = parser.parse_args(sys.argv[1:])
    return cli.exit_code_of(lambda: train(options) and None)


if __name__ == "__main__":
    sys.exit(main())
