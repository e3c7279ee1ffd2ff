"""Taking an annealer through a training."""

from textvae.annealers import KLAnnealer, ScheduledAnnealer


def after(annealer: ScheduledAnnealer, steps: int) -> ScheduledAnnealer:
    weights(annealer, steps)
    return annealer


def weights(annealer: KLAnnealer, steps: int) -> list[float]:
    """The weights that a training of so many steps applies."""
    applied = []
    for _ in range(steps):
        applied.append(annealer(1.0))
        annealer.step()
    return applied
