"""The case that annealing was made for, as a proof: minutes of training, so behind `-m slow`."""

from pathlib import Path
from typing import Any

import pytest

from textvae import load_corpus, recipes
from textvae.diagnostics import Diagnosis


def trained(directory: Path, **options: Any) -> Diagnosis:
    """Ten epochs: at β = 1 from the start, too, z comes to be used in time, by a tenth of a nat."""
    recipe = recipes.SIZES["grammar"] | recipes.combined("word-dropout") | {"max_epochs": 10}
    recipes.start(load_corpus("grammar"), {**recipe, **options}, directory).fit()
    return recipes.diagnose_run(directory, num_samples=10).diagnosis


@pytest.mark.slow
def test_annealing_alone_makes_the_difference(tmp_path):
    collapsed = trained(tmp_path / "constant", annealer="constant")
    annealed = trained(tmp_path / "linear", annealer="linear")

    assert collapsed.verdict.verdict == "collapsed"
    assert collapsed.elbo.kl < 0.05
    assert collapsed.elbo.au == 0
    assert annealed.verdict.verdict != "collapsed"
    assert annealed.elbo.kl >= 1
    assert annealed.elbo.au >= 2
    assert annealed.mi.mi >= 1
    assert -annealed.elbo.elbo <= -collapsed.elbo.elbo + 0.3
