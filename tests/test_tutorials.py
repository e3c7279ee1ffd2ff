"""Every line of `docs/tutorials.md` has a test that holds it to the formula or code of its text."""

import importlib
import re

import experiments
import pytest

from tests import docs
from textvae import cli
from textvae.config import TrainingConfig

CHAPTERS = re.split(r"^## ", docs.text("docs/tutorials.md"), flags=re.MULTILINE)[1:]
ROWS = {
    f"{chapter.splitlines()[0]}: {name}": where
    for chapter in CHAPTERS
    for name, where in re.findall(r"^\| ([^|]+?) \| `([^`]+)` \|", chapter, re.MULTILINE)
}
"""What each line is about, and where the page says it is."""

TESTS = {
    "KL Annealing: annealed objective": "test_terms_are_means_over_sentences_and_the_loss",
    "KL Annealing: linear_annealing": "test_closed_forms_by_hand",
    "KL Annealing: sigmoid_annealing": "test_closed_forms_by_hand",
    "KL Annealing: cyclical_annealing": "test_closed_forms_by_hand",
    "KL Annealing: no annealing, β = 1": "test_contract_weights_are_value_at_the_steps_taken",
    "KL Annealing: train_with_annealing": "test_what_is_logged",
    "KL Annealing: warm-up rules of thumb": "test_every_experiment_is_of_options_that_exist",
    "KL Annealing: Exercise 1, schedules": "test_remedies_from_options_to_results",
    "KL Annealing: Exercise 2, warm-up": "test_every_experiment_is_of_options_that_exist",
    "vae-annealing: Annealer": "test_package_table",
    "vae-annealing: VAELoss": "test_loss_agrees_with_torch_distributions",
    "vae-annealing: basic annealing": "test_package_table",
    "vae-annealing: cyclical, off at 30, on at 70": "test_switching_is_the_documented_loop",
    "vae-annealing: figures": "test_the_figures_can_be_drawn_and_the_cycles_follow_the_options",
    "VAE Optimization: Adam, AdamW": "test_a_decay_forgets_momentum_and_keeps_the_optimizer",
    "VAE Optimization: practical guidelines": "test_numbers_are_those_of_the_text",
    "VAE Optimization: train_vae": "test_it_learns_while_the_weight_rises",
    "VAE Optimization: sum and mean": "test_sums_and_means_equal_the_oracles",
    "VAE Optimization: per-dimension normalisation": "test_nats_per_dimension",
    "VAE Optimization: monitoring": "test_counts_at_several_thresholds",
    "VAE Optimization: compute_gradient_norm": "test_norms_of_the_parts_make_up_the_whole",
    "VAE Optimization: Exercise 1, optimizers": "test_every_experiment_is_of_options_that_exist",
    "VAE Optimization: Exercise 2, learning rates": "test_numbers_are_those_of_the_text",
    "VAE Loss Function: bce_reconstruction": "test_bce_and_mse_equal_their_oracles",
    "VAE Loss Function: mse_reconstruction": "test_bce_and_mse_equal_their_oracles",
    "VAE Loss Function: kl_divergence": "test_kl_equals_torch_distributions",
    "VAE Loss Function: vae_loss": "test_sums_and_means_equal_the_oracles",
    "VAE Loss Function: beta_vae_loss": "test_sums_and_means_equal_the_oracles",
    "VAE Loss Function: get_kl_weight": "test_warmups_rise_between_exact_ends_at_any_length",
    "VAE Loss Function: cyclical_kl_weight": "test_closed_forms_by_hand",
    "VAE Loss Function: vae_loss_free_bits": "test_sums_and_means_equal_the_oracles",
    "VAE Loss Function: VAELoss": "test_sums_and_means_equal_the_oracles",
    "VAE Loss Function: train_epoch": "test_it_learns_while_the_weight_rises",
    "VAE Loss Function: Exercise 1, MSE or BCE": "test_squared_errors_serve_too",
    "VAE Loss Function: Exercise 2, β": "test_numbers_are_those_of_the_text",
    "VAE Loss Function: Exercise 3, schedules": "test_remedies_from_options_to_results",
}


def test_every_line_has_a_test_and_every_test_a_line():
    assert sorted(ROWS) == sorted(TESTS)
    tests = "".join(map(docs.text, docs.ROOT.glob("tests/**/test_*.py")))
    assert [name for name in TESTS.values() if f"def {name}" not in tests] == []


def test_numbers_are_those_of_the_text():
    def asked(experiment: str, option: str) -> list[float]:
        configurations = experiments.EXPERIMENTS[experiment].configurations
        return [options[option] for options in configurations.values()]

    assert asked("beta", "max_beta") == [0.1, 1, 4, 10]
    assert asked("learning-rates", "lr") == [1e-2, 1e-3, 1e-4, 1e-5]
    assert (TrainingConfig().lr, TrainingConfig().clip_norm) == (1e-3, 5.0)


@pytest.mark.parametrize("where", sorted(set(ROWS.values())))
def test_everything_is_where_the_page_says(where):
    if where.startswith("textvae."):
        module, _, name = where.rpartition(".")
        assert hasattr(importlib.import_module(module), name)
    elif where.startswith("textvae "):
        assert where.split()[1] in cli.COMMANDS
    else:
        path, *arguments = where.split()
        assert all(argument.removeprefix("--") in docs.text(path) for argument in arguments)
