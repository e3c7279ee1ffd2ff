"""Train a VAE on small binary pictures in a plain PyTorch loop, with an annealer for its KL term.

The pictures (bars and blobs) are made here, and it ends within a minute on one core: read it, run
it, take its loop. B pictures of a batch, M of a data set, P pixels, Z latent dimensions.
"""

import torch
from jsonargparse import ArgumentParser, Namespace
from jsonargparse.typing import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from textvae.annealers import LinearAnnealer
from textvae.diagnostics import active_units
from textvae.losses import VAELoss

SIDE, PICTURES, BATCH = 12, 2000, 50
HEADING = """\
rec, KL: nats per picture (rec of mse: squared error); valid: at β = 1; AU: active units
    epoch      beta train rec  train KL valid rec  valid KL  gradient        AU wrong pixels"""


def make_pictures(number: int) -> Tensor:
    """Horizontal bars, vertical bars and round blobs, a third each; (M, P) of 0 and 1."""
    kind, radius = torch.randint(3, (number, 1, 1)), torch.randint(1, 4, (number, 1, 1))
    middle = torch.randint(1, SIDE - 1, (2, number, 1, 1))
    y, x = (torch.arange(SIDE)[:, None] - middle[0]).abs(), (torch.arange(SIDE) - middle[1]).abs()
    distance = torch.where(kind == 0, y, torch.where(kind == 1, x, (x**2 + y**2).sqrt()))
    return (distance < radius).flatten(1).float()


class VAE(nn.Module):
    """A hidden layer of 128 units each way."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        first, last = nn.Linear(SIDE**2, 128), nn.Linear(128, SIDE**2)
        self.encoder = nn.Sequential(first, nn.ReLU(), nn.Linear(128, 2 * latent_dim))
        self.decoder = nn.Sequential(nn.Linear(latent_dim, 128), nn.ReLU(), last, nn.Sigmoid())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the reconstruction (B, P), each pixel from 0 to 1, and mu and logvar, (B, Z)."""
        mu, logvar = self.encoder(x).chunk(2, -1)
        z = mu + torch.randn_like(mu) * (0.5 * logvar).exp()
        return self.decoder(z), mu, logvar


def train(options: Namespace) -> list[list[float]]:
    """Train, print a line per epoch, return the history: the numbers of these lines."""
    torch.manual_seed(options.seed)
    pictures, valid = make_pictures(PICTURES), make_pictures(500)
    model, criterion = VAE(options.latent_dim), VAELoss(options.reconstruction, reduction="mean")
    optimizer = torch.optim.Adam(model.parameters(), lr=options.lr)
    scheduler = ReduceLROnPlateau(optimizer, factor=0.5, patience=5)
    annealer = LinearAnnealer(options.warmup_epochs * PICTURES // BATCH)
    history = []
    print(HEADING)
    for epoch in range(1, options.epochs + 1):
        beta, total = annealer.value, torch.zeros(3)
        for x in pictures[torch.randperm(PICTURES)].split(BATCH):
            recon, mu, logvar = model(x)
            _, rec, kl = criterion(recon, x, mu, logvar)
            optimizer.zero_grad()
            (rec + annealer(kl)).backward()
            norm = nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            annealer.step()
            total += torch.stack([rec, kl, norm]).detach() / (PICTURES // BATCH)
        with torch.no_grad():
            recon, mu, logvar = model(valid)
            loss, valid_rec, valid_kl = criterion(recon, valid, mu, logvar)
        if annealer.finished:  # until then, the loss that is optimised is another one
            scheduler.step(loss)
        wrong = ((recon > 0.5) != (valid > 0.5)).float().mean()
        *train_terms, gradient = total.tolist()
        valid_terms = valid_rec.item(), valid_kl.item()
        measured = [*train_terms, *valid_terms, gradient, active_units(mu), wrong.item()]
        history.append([epoch, beta, *measured])
        print(*(f"{value:9.4g}" for value in history[-1]))
    return history


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--epochs", type=PositiveInt, default=40, help="passes over the pictures")
    add("--warmup-epochs", type=NonNegativeInt, default=10, help="epochs of β rising from 0 to 1")
    add("--reconstruction", choices=["bce", "mse"], default="bce", help="or squared error")
    add("--lr", type=PositiveFloat, default=1e-3, help="learning rate, halved on plateaus")
    add("--latent-dim", type=PositiveInt, default=8, help="dimensions of z")
    add("--seed", type=int, default=0, help="of pictures, weights and noise")
    train(parser.parse_args())
