"""The case that annealing was made for, as a proof: minutes of training, so behind `-m slow`."""

from pathlib import Path
from typing import Any

import pytest

from textvae import load_corpus, recipes
from textvae.diagnostics import Evaluation


def trained(directory: Path, **options: Any) -> Evaluation:
    recipe = recipes.SIZES["grammar"] | recipes.combined("word-dropout")
    recipes.start(load_corpus("grammar"), {**recipe, **options}, directory).fit()
    return recipes.evaluate_run(directory).evaluation


@pytest.mark.slow
def test_annealing_alone_makes_the_difference(tmp_path):
    collapsed = trained(tmp_path / "constant", annealer="constant")
    annealed = trained(tmp_path / "linear", annealer="linear")

    assert collapsed.kl < 0.1
    assert collapsed.au == 0
    assert annealed.kl >= 1
    assert annealed.au >= 2
    assert -annealed.elbo <= -collapsed.elbo + 0.3
