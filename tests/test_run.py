"""Tests of `textvae.run`."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from torch import Tensor, nn

from textvae import run as run_module
from textvae.config import RunConfig
from textvae.run import RunDirectory


def new_run(path: Path, **options: Any) -> RunDirectory:
    return RunDirectory.create(path, RunConfig.from_flat("my.txt", options))


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return new_run(tmp_path / "run")


def same(first: Any, second: Any) -> bool:
    """Whether two states are equal, tensors by type and bits; a tuple comes back as a list."""
    if isinstance(first, Tensor):
        return (
            isinstance(second, Tensor)
            and first.dtype == second.dtype
            and first.shape == second.shape
            and torch.equal(first, second)
        )
    if isinstance(first, dict):
        return list(first) == list(second) and all(same(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return type(first) is type(second) and first == second


# Training states


def test_a_state_comes_back(run: RunDirectory) -> None:
    weight = torch.randn(3, 2)
    state = {
        "step": 7,
        "best": None,
        "lr": 0.1 + 0.2,
        "is_done": False,
        "name": "β",
        "betas": (0.9, 0.999),
        "empty": {},
        "none": [],
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}, 11: {"moment": weight}}},
        "groups": [{"params": [0, 1]}, {"params": []}],
        "tensors": [
            torch.zeros(0, 3),
            torch.tensor([1, 2]),
            torch.tensor([True]),
            torch.randn(4).to(torch.bfloat16),
            torch.tensor([5, 6], dtype=torch.uint8),
            weight.t(),  # not contiguous
        ],
    }
    run.save_state(state)
    loaded = RunDirectory.open(run.path).load_state()
    assert same(state, loaded)
    assert list(loaded["optimizer"]["state"]) == [0, 11]  # integers still


leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.lists(st.integers(-9, 9), max_size=3).map(torch.tensor)
)
states = st.dictionaries(
    st.text(),
    st.recursive(
        leaves,
        lambda nodes: (
            st.lists(nodes, max_size=3)
            | st.dictionaries(st.text() | st.integers(), nodes, max_size=3)
        ),
        max_leaves=8,
    ),
    max_size=4,
)


@given(states)
def test_any_state_comes_back(tmp_path_factory: pytest.TempPathFactory, state: Any) -> None:
    run = RunDirectory(tmp_path_factory.getbasetemp(), RunConfig(data_source="any"))
    run.save_state(state)
    assert same(state, run.load_state())


def test_tied_weights_and_views_of_one_memory_come_back(run: RunDirectory) -> None:
    tied = nn.Linear(2, 2, bias=False)
    tied.alias = tied.weight
    whole = torch.arange(6.0)
    state = {"model": tied.state_dict(), "parts": [whole[:3], whole[3:]]}
    run.save_state(state)
    loaded = run.load_state()
    assert same(state["parts"], loaded["parts"])
    assert torch.equal(loaded["model"]["weight"], loaded["model"]["alias"])


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD])
def test_an_optimizer_comes_back(run: RunDirectory, kind: Any) -> None:
    def build(lr: float) -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        model = nn.Linear(3, 1)
        more = {"momentum": 0.9} if kind is torch.optim.SGD else {}
        return model, kind(model.parameters(), lr=lr, **more)

    def train(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        model(torch.ones(1, 3)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    model, optimizer = build(0.1)
    train(model, optimizer)
    run.save_state({"model": model.state_dict(), "optimizer": optimizer.state_dict()})
    other, resumed = build(9.0)
    state = run.load_state()
    other.load_state_dict(state["model"])
    resumed.load_state_dict(state["optimizer"])
    for pair in ((model, optimizer), (other, resumed)):
        train(*pair)
    assert same(model.state_dict(), other.state_dict())


def test_nothing_is_pickled(run: RunDirectory) -> None:
    run.save_state({"model": {"weight": torch.ones(2)}, "step": 3})
    with safe_open(run.state_file, framework="pt") as file:
        assert list(file.keys()) == ["/model/weight"]
        assert json.loads(file.metadata()["state"])

    class Thing:
        pass

    before = run.state_file.read_bytes()
    with pytest.raises(TypeError, match="not JSON serializable"):
        run.save_state({"thing": Thing()})
    assert run.state_file.read_bytes() == before


@pytest.mark.parametrize("written", [None, b"", b"half a sta"])
def test_a_crash_while_saving_leaves_the_last_good_state(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch, written: bytes | None
) -> None:
    run.save_state({"step": 1})

    def crash(tensors: Any, path: Path, metadata: Any) -> None:
        if written is not None:
            path.write_bytes(written)
        raise OSError("no space left on device")

    monkeypatch.setattr(run_module, "save_file", crash)
    with pytest.raises(OSError, match="no space left"):
        run.save_state({"step": 2})
    assert run.load_state() == {"step": 1}
    assert sorted(path.name for path in run.path.iterdir()) == [
        "config.json",
        "training_state.safetensors",
    ]


def test_a_damaged_state_is_named(run: RunDirectory) -> None:
    run.save_state({"weight": torch.ones(50), "step": 3})
    whole = run.state_file.read_bytes()
    for damaged in (b"", whole[:60], whole[:-8], b"\0" * 100, b"x" + whole):
        run.state_file.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"training_state\.safetensors can't be read: "):
            run.load_state()


def test_tensors_alone_are_no_state(run: RunDirectory) -> None:
    run_module.save_file({"a": torch.ones(1)}, run.state_file)
    with pytest.raises(ValueError, match="can't be read"):
        run.load_state()


def test_no_state_yet(run: RunDirectory) -> None:
    with pytest.raises(FileNotFoundError, match=r"run has no training state to resume from: .*"):
        run.load_state()


# Directories


def test_a_run_is_made_and_opened(tmp_path: Path) -> None:
    made = new_run(tmp_path / "runs" / "deep" / "mine", latent_dim=7)
    opened = RunDirectory.open(str(made.path))
    assert opened.config == made.config
    assert opened.config.model.latent_dim == 7
    assert opened.path == made.path


def test_an_empty_directory_is_not_taken(tmp_path: Path) -> None:
    assert new_run(tmp_path).config_file.exists()


def test_what_is_taken_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "directory").mkdir()
    (tmp_path / "directory" / "thesis.tex").write_text("mine")
    for taken in (tmp_path / "file", tmp_path / "directory"):
        message = "exists and is not empty: continue it with --resume, or choose another"
        with pytest.raises(FileExistsError, match=message):
            RunDirectory.refuse_if_taken(str(taken))
        with pytest.raises(FileExistsError, match=message):
            new_run(taken)
    assert (tmp_path / "file").read_text() == "mine"
    assert [p.name for p in (tmp_path / "directory").iterdir()] == ["thesis.tex"]
    RunDirectory.refuse_if_taken(tmp_path / "nothing")


def test_no_run_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no run at .*: .*config\.json does not exist"):
        RunDirectory.open(tmp_path / "typo")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not valid JSON"),
        ("[]", "has no section 'run': no training run wrote it"),
        ('{"model": {}}', "has no section 'run'"),
        ('{"run": 3}', "has no section 'run'"),
        ('{"run": {}}', "missing in the configuration: data, data_source, model, training"),
    ],
)
def test_a_configuration_that_is_none(run: RunDirectory, content: str, message: str) -> None:
    run.config_file.write_text(content)
    with pytest.raises(ValueError, match=message):
        RunDirectory.open(run.path)


def test_another_configuration_keeps_the_models_arguments(run: RunDirectory) -> None:
    content = json.loads(run.config_file.read_text())
    run.config_file.write_text(json.dumps({**content, "model": {"vocab_size": 9}}))
    config = RunConfig.from_flat("my.txt", {"max_epochs": 77})
    run.reconfigure(config)
    assert run.config == RunDirectory.open(run.path).config == config
    assert json.loads(run.config_file.read_text())["model"] == {"vocab_size": 9}


# Metrics


def record(split: str, step: int) -> dict[str, Any]:
    return {"split": split, "step": step, "kl_per_dim": [0.5, 1e-9]}


def test_metrics_come_back_line_by_line(run: RunDirectory) -> None:
    assert run.metrics() == []
    for step in (1, 2):
        run.log(record("train", step))
    assert run.metrics() == [record("train", 1), record("train", 2)]
    assert run.metrics_file.read_text().count("\n") == 2
    run.log({"split": "train", "step": 3, "beta": math.nan})
    assert math.isnan(run.metrics()[2]["beta"])


def test_a_half_written_last_line_is_left_out(run: RunDirectory) -> None:
    run.log(record("train", 1))
    whole = run.metrics_file.read_text()
    for length in range(len(whole) - 1):
        run.metrics_file.write_text(whole + whole[:length])
        assert run.metrics() == [record("train", 1)], whole[:length]


@pytest.mark.parametrize(
    ("step", "is_judged", "kept"),
    [
        (0, False, []),
        (3, False, [("train", 3)]),
        (6, False, [("train", 3), ("train", 6)]),  # its evaluation will come again
        (6, True, [("train", 3), ("train", 6), ("valid", 6)]),
        (8, False, [("train", 3), ("train", 6), ("valid", 6)]),
        (12, True, [("train", 3), ("train", 6), ("valid", 6), ("train", 9), ("valid", 12)]),
    ],
)
def test_what_will_be_logged_again_is_forgotten(
    run: RunDirectory, step: int, is_judged: bool, kept: list[tuple[str, int]]
) -> None:
    for split, at in [("train", 3), ("train", 6), ("valid", 6), ("train", 9), ("valid", 12)]:
        run.log(record(split, at))
    with run.metrics_file.open("a") as file:
        file.write('{"split": "tra')
    run.forget_metrics_after(step, is_judged=is_judged)
    assert [(line["split"], line["step"]) for line in run.metrics()] == kept
    run.log(record("train", 99))  # begins a line of its own
    assert run.metrics()[-1] == record("train", 99)


def test_there_may_be_nothing_to_forget(run: RunDirectory) -> None:
    run.forget_metrics_after(0, is_judged=False)
    assert run.metrics() == []


# Evaluations


def judged(run: RunDirectory, *verdicts: str) -> None:
    for epoch, verdict in enumerate(verdicts, 1):
        run.log(record("train", 2 * epoch))
        run.log({**record("valid", 2 * epoch), "epoch": epoch, "verdict": verdict})


def test_evaluations_are_the_lines_on_validation_data(run: RunDirectory) -> None:
    assert run.evaluations() == []
    judged(run, "better", "wait", "better")
    run.log(record("train", 7))
    assert [line["step"] for line in run.evaluations()] == [2, 4, 6]
    with run.metrics_file.open("a") as file:
        file.write('{"split": "valid", "st')
    assert len(run.evaluations()) == 3


@pytest.mark.parametrize(
    ("verdicts", "epoch"),
    [
        (["better"], 1),
        (["better", "better", "wait"], 2),
        (["better", "wait", "decay", "stop"], 1),  # a decay goes back to weights, but keeps none
        (["better", "decay", "better"], 3),
    ],
)
def test_the_kept_weights_are_those_of_the_last_better_evaluation(
    run: RunDirectory, verdicts: list[str], epoch: int
) -> None:
    judged(run, *verdicts)
    assert run.kept_evaluation()["epoch"] == epoch


def test_nothing_is_kept_before_the_first_epoch_ends(run: RunDirectory) -> None:
    run.log(record("train", 1))
    with pytest.raises(ValueError, match=r"run has not finished an epoch yet: resume its training"):
        run.kept_evaluation()
