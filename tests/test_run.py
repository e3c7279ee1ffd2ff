import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from accelerate import tracking as trackers
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors import safe_open
from torch import Tensor

from textvae import run as run_module
from textvae.checks import InputError, NotInstalledError
from textvae.config import RunConfig
from textvae.run import RunDirectory, tracking


def new_run(path: Path, **options: Any) -> RunDirectory:
    return RunDirectory.create(path, RunConfig.from_flat("my.txt", options))


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return new_run(tmp_path / "run")


def same(first: Any, second: Any) -> bool:
    """Whether two states are equal, tensors by type and bits; a tuple comes back as a list."""
    if isinstance(first, Tensor):
        return first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, dict):
        return list(first) == list(second) and all(same(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return type(first) is type(second) and first == second


WHOLE = torch.arange(6.0).view(2, 3)

leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.lists(st.integers(-9, 9), max_size=3).map(torch.tensor)
    | st.sampled_from([torch.bfloat16, torch.uint8, torch.bool]).map(WHOLE.to)
    | st.sampled_from([WHOLE, WHOLE[0], WHOLE[1], WHOLE.t()])  # one memory
)
nodes = st.recursive(
    leaves,
    lambda nodes: st.lists(nodes, max_size=3) | st.dictionaries(st.text() | st.integers(), nodes),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), nodes, max_size=4))
@example({"a": {"b": WHOLE}, "a/b": -WHOLE, "0": WHOLE, "other": {0: WHOLE, "0": -WHOLE}})
def test_any_state_comes_back(tmp_path_factory, state):
    run = RunDirectory(tmp_path_factory.getbasetemp(), RunConfig(data_source="any"))
    run.save_state(state)
    assert same(state, run.load_state())


def test_nothing_is_pickled(run):
    run.save_state({"model": {"weight": torch.ones(2)}, "step": 3})
    with safe_open(run.state_file, framework="pt") as file:
        assert list(file.keys()) == ["0/model/weight"]
        assert json.loads(file.metadata()["state"])
    before = run.state_file.read_bytes()
    with pytest.raises(TypeError, match="not JSON serializable"):
        run.save_state({"thing": object()})
    assert run.state_file.read_bytes() == before


@pytest.mark.parametrize("written", [None, b"half a sta"])
def test_a_crash_while_saving_leaves_the_last_good_state(run, monkeypatch, written):
    run.save_state({"step": 1})

    def crash(tensors: Any, path: Path, metadata: Any) -> None:
        if written is not None:
            path.write_bytes(written)
        raise OSError("no space left on device")

    monkeypatch.setattr(run_module, "save_file", crash)
    with pytest.raises(OSError, match="no space left"):
        run.save_state({"step": 2})
    assert run.load_state() == {"step": 1}
    assert set(run.path.iterdir()) == {run.config_file, run.state_file, run.path / ".lock"}


def test_a_damaged_state_or_none_is_named(run):
    with pytest.raises(FileNotFoundError, match=r"run has lost its training state, .*: put"):
        run.load_state()
    run.save_state({"weight": torch.ones(50), "step": 3})
    whole = run.state_file.read_bytes()
    run_module.save_file({"a": torch.ones(1)}, run.state_file)
    tensors_alone = run.state_file.read_bytes()
    for damaged in (b"", whole[:60], whole[:-8], b"\0" * 100, b"x" + whole, tensors_alone):
        run.state_file.write_bytes(damaged)
        with pytest.raises(InputError, match=r"training_state\.safetensors can't be read: "):
            run.load_state()


def test_the_state_before_a_damaged_one_is_used_and_said(run):
    for step in (1, 2):
        run.save_state({"weight": torch.ones(50), "step": step})
    whole = run.state_file.read_bytes()
    flipped = whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:]  # a weight that is no longer 1
    for damage in (b"", whole[:60], flipped, None):
        run.state_file.unlink() if damage is None else run.state_file.write_bytes(damage)
        before, said = run.previous_file.read_bytes(), list[str]()
        assert run.load_state(said.append)["step"] == 1
        reason = "is missing" if damage is None else "can't be read: .*"
        assert re.fullmatch(f".*safetensors {reason}: going on from the state saved .*", *said)
        # The next state saved won't drive the good one out.
        assert run.state_file.read_bytes() == before
        run.save_state({"step": 3})
        assert run.load_state() == {"step": 3}
    run.state_file.write_bytes(b"")
    run.previous_file.write_bytes(b"")
    with pytest.raises(InputError, match=r"state\.safetensors can't.*previous\.safetensors can't"):
        run.load_state()


HOLD = """
import sys
from textvae.run import RunDirectory, tracking
RunDirectory.open(sys.argv[1]).lock()
print("locked", flush=True)
sys.stdin.read()
"""


def test_a_lock_keeps_others_out_and_dies_with_its_process(run):
    run.unlock()
    command = [sys.executable, "-c", HOLD, str(run.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        (run.path / ".model.safetensors.1.tmp").touch()  # which the other writes
        with pytest.raises(InputError, match="run is being trained by another process: wait"):
            run.lock()
        assert (run.path / ".model.safetensors.1.tmp").exists()
        other.kill()
    for _ in range(2):
        run.lock()  # again is nothing
    assert not (run.path / ".model.safetensors.1.tmp").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{}", "has no 'split'"),
        ('{"split": "train"}', "has no 'step'"),
        ('{"split": "tset", "step": 3}', "is no record of a training"),
        ('{"split": "valid", "step": "3"}', "is no record of a training"),
        ('{"split": "tra{"split": "train", "step": 3}', "is not valid JSON: "),
        ("3}", "is not valid JSON: "),
        ("\xff}", "is not valid JSON: "),
    ],
)
def test_an_edited_line_of_metrics_is_named(run, line, message):
    run.log(record("train", 1))
    with run.metrics_file.open("a", encoding="latin-1") as file:
        file.write(line + "\n")
    with pytest.raises(InputError, match=rf"line 2 of .*metrics\.jsonl {message}"):
        run.metrics()


def test_an_entry_that_a_line_lacks_is_named(run):
    run.log(record("valid", 1))
    with pytest.raises(InputError, match=r"line 1 of .*metrics\.jsonl has no 'verdict'"):
        run.kept_evaluation()


def test_a_run_is_made_and_opened_but_not_where_something_is(tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("empty", "runs/deep/mine"):
        made = new_run(tmp_path / name, latent_dim=7)
        opened = RunDirectory.open(str(made.path))
        assert (opened.config, opened.path) == (made.config, made.path)
        assert opened.config.model.latent_dim == 7
    file, directory = tmp_path / "file", tmp_path / "directory"
    directory.mkdir()
    for taken, mine in ((file, file), (directory, directory / "thesis.tex")):
        mine.write_text("mine")
        with pytest.raises(FileExistsError, match=r"exists and is not empty: .*--resume, or"):
            new_run(taken)
        assert mine.read_text() == "mine"
    assert list(directory.iterdir()) == [directory / "thesis.tex"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"no run at .*: .*config\.json does not exist"),
        ("{", "is not valid JSON"),
        ("[]", "has no section 'run': no training run wrote it"),
        ('{"model": {}}', "has no section 'run'"),
        ('{"run": 3}', "has no section 'run'"),
        ('{"run": {}}', "config.json: missing in the configuration: data, data_source, model, tr"),
        ('{"run": {"data_source": 1, "data": [], "model": {}, "training": {}}}', ": data, data_so"),
        ('{"run": {}, "format": 99}', "is of format 99, and this version reads up to 1: update"),
    ],
)
def test_a_directory_that_is_no_run(tmp_path, content, message):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(InputError if content else FileNotFoundError, match=message):
        RunDirectory.open(tmp_path)


def record(split: str, step: int) -> dict[str, Any]:
    return {"split": split, "step": step, "kl_per_dim": [0.5, 1e-9], "beta": step / 10}


def test_a_tracker_gets_the_numbers(run, monkeypatch):
    kind = Mock(requires_logging_directory=True)
    monkeypatch.setitem(trackers.LOGGER_TYPE_TO_CLASS, "wandb", kind)
    monkeypatch.setitem(sys.modules, "wandb", Mock())
    run.open_tracker("none")
    kind.assert_not_called()
    run.open_tracker("wandb")
    kind.assert_called_once_with("textvae", logging_dir=str(run.path))
    tracker = kind.return_value
    told = tracker.store_init_configuration.call_args.args[0]
    assert told["run"] == str(run.path)
    assert told["latent_dim"] == run.config.model.latent_dim
    record = {"split": "valid", "step": 7, "au": 2, "verdict": "wait", "kl_per_dim": [1, 0.5]}
    run.log(record)
    numbers = {"valid/au": 2, "valid/kl_per_dim/0": 1, "valid/kl_per_dim/1": 0.5}
    tracker.log.assert_called_once_with(numbers, step=7)
    assert run.metrics() == [record]
    run.open_tracker("wandb")  # the next training of this process
    tracker.finish.assert_called_once()
    tracking.close()
    assert tracker.finish.call_count == 2


def test_a_tracker_that_is_missing_is_said_first(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(NotInstalledError, match="mlflow is not installed: pip install mlflow"):
        new_run(tmp_path / "run", tracker="mlflow")
    assert not (tmp_path / "run").exists()


def test_metrics_are_all_whole_lines(run):
    assert run.metrics() == []
    run.log(record("train", 1))
    whole = run.metrics_file.read_text()
    for length in range(len(whole) - 1):
        run.metrics_file.write_text(whole + whole[:length])
        assert run.metrics() == [record("train", 1)], whole[:length]
    run.metrics_file.write_text(whole + whole)
    run.log({"split": "train", "step": 3, "beta": math.nan})
    assert run.metrics()[:2] == [record("train", 1)] * 2
    assert math.isnan(run.metrics()[2]["beta"])


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
def test_what_will_be_logged_again_is_forgotten(run, step, is_judged, kept):
    run.forget_metrics_after(0, is_judged=False)
    assert run.metrics() == []
    for split, at in [("train", 3), ("train", 6), ("valid", 6), ("train", 9), ("valid", 12)]:
        run.log(record(split, at))
    with run.metrics_file.open("a") as file:
        file.write('{"split": "tra')
    run.forget_metrics_after(step, is_judged=is_judged)
    assert [(line["split"], line["step"]) for line in run.metrics()] == kept
    run.log(record("train", 99))  # begins a line of its own
    assert run.metrics()[-1] == record("train", 99)


@pytest.mark.parametrize(
    ("verdicts", "epoch"),
    [
        (["better"], 1),
        (["better", "better", "wait"], 2),
        (["better", "wait", "decay", "stop"], 1),  # a decay goes back to weights, but keeps none
        (["better", "decay", "better"], 3),
    ],
)
def test_the_kept_weights_are_those_of_the_last_better_evaluation(run, verdicts, epoch):
    assert run.last_beta() is None
    run.log(record("train", 1))
    assert run.evaluations() == []
    assert run.last_beta() == 0.1  # of the latest step
    with pytest.raises(InputError, match=r"run has not finished an epoch yet: resume its training"):
        run.kept_evaluation()
    for number, verdict in enumerate(verdicts, 1):
        run.log(record("train", 2 * number))
        run.log({**record("valid", 2 * number), "epoch": number, "verdict": verdict})
    run.log(record("train", 9))
    assert [line["epoch"] for line in run.evaluations()] == list(range(1, len(verdicts) + 1))
    assert run.kept_evaluation()["epoch"] == epoch
    assert run.last_beta() == epoch / 5
