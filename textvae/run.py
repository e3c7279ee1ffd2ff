"""One directory per run, safe to load, whole after a crash at any moment."""

from __future__ import annotations

import atexit
import json
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn, Self

from filelock import FileLock, Timeout
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from textvae.checks import InputError, imported
from textvae.config import ModelConfig, RunConfig
from textvae.files import (
    DEMO,
    UNSEALED,
    check_seal,
    left_over,
    read_config,
    replacing,
    seal,
    update_config,
)

TENSOR, PAIRS = "__tensor__", "__pairs__"
LOCK = ".lock"
tracking = ExitStack()  # to `close` ends the tracker that this process has open
_locks: dict[Path, FileLock] = {}  # held by this process; they end with it, however it does


def find_tracker(name: str) -> Any:
    """A class of accelerate's, of "none" None; NotInstalledError where its package isn't there."""
    if name == "none":
        return None
    imported(name, f"the tracker {name} is not installed: pip install {name}")
    return imported("accelerate.tracking", "").LOGGER_TYPE_TO_CLASS[name]


class RunDirectory:
    """A run's files. Build it with `create` or `open`."""

    def __init__(
        self,
        path: Path,
        config: RunConfig,
        splits: Mapping[str, str] = MappingProxyType({}),
        *,
        data_changed: bool = False,
    ) -> None:
        self.path, self.config = path, config
        self.splits = splits  # of the corpus: their digests
        self.data_changed = data_changed  # while the run was trained, knowingly
        self.config_file = path / "config.json"  # `model`, its options; `run`, the configuration
        self.metrics_file = path / "metrics.jsonl"  # a line per logged step and evaluation
        self.state_file = path / "training_state.safetensors"  # all that continuing needs
        self.previous_file = path / "training_state.previous.safetensors"  # the one before that
        self.weights_file = path / "model.safetensors"  # the best by true ELBO, once it judges
        self.results_file = path / "results.json"  # test-set figures of the finished run
        self._tracker: Any = None

    @classmethod
    def create(
        cls,
        path: str | Path,
        config: RunConfig,
        splits: Mapping[str, str] = MappingProxyType({}),
        *,
        longest_sentence: int | None = None,
    ) -> Self:
        """Make and lock the directory of a new run; FileExistsError if anything is there already.

        The longest sentence that is trained on is in tokens, EOS not counted.
        """
        cls.refuse_if_taken(path)
        find_tracker(config.training.tracker)
        run = cls(Path(path), config, splits)
        run.path.mkdir(parents=True, exist_ok=True)
        run.lock()
        cls.refuse_if_taken(path)  # another process may have been quicker
        run.write_config(longest_sentence=longest_sentence)
        return run

    @classmethod
    def open(cls, path: str | Path, *, model: type[ModelConfig] = ModelConfig) -> Self:
        """Open the directory of an existing run, whose model has these options."""
        config_file = Path(path) / "config.json"
        if not config_file.is_file():
            raise FileNotFoundError(f"no run at {path}: {config_file} does not exist")
        content = read_config(path, "run")
        try:
            config = RunConfig.from_dict(content["run"], model=model)
        except InputError as fault:
            raise InputError(f"{config_file}: {fault}") from None
        data_changed = bool(content.get("data_changed"))
        return cls(Path(path), config, content.get("splits") or {}, data_changed=data_changed)

    @staticmethod
    def is_taken(path: str | Path) -> bool:
        """Whether a file is at `path`, or a directory with more in it than a killed start left."""
        path = Path(path)
        if not path.is_dir():
            return path.exists()
        return not {*path.iterdir()} <= {path / LOCK, *left_over(path)}

    @classmethod
    def refuse_if_taken(cls, path: str | Path) -> None:
        """Raise FileExistsError if something is at `path`, or it is the name of the demo."""
        other = "choose another --output-dir"
        if str(path) == DEMO.name:
            raise FileExistsError(f"demo is the name of the model that ships with textvae: {other}")
        if cls.is_taken(path):
            there = f"{path} exists and is not empty: continue it with --resume"
            raise FileExistsError(f"{there}, or {other}")

    def lock(self) -> None:
        """Keep others from training this run until `unlock` or the end of this process.

        What a killed process left half written is cleared. Locking again does nothing.
        """
        if self.path.resolve() == DEMO.resolve():
            raise InputError(f"{self.path} ships with textvae and stays as it is: train your own")
        lock = FileLock(self.path / LOCK, blocking=False, thread_local=False)
        lock = _locks.setdefault(self.path.resolve(), lock)
        try:
            lock.acquire()
        except Timeout:
            busy = f"{self.path} is being trained by another process"
            raise InputError(f"{busy}: wait for it, or choose another directory") from None
        for path in left_over(self.path):
            path.unlink(missing_ok=True)

    def unlock(self) -> None:
        """Let others train this run."""
        if lock := _locks.pop(self.path.resolve(), None):
            lock.release(force=True)

    def write_config(self, **more: Any) -> None:
        """Write the run's part of `config.json`."""
        parts = {"run": self.config.to_dict(), "splits": dict(self.splits), **more}
        update_config(self.path, **parts, **({"data_changed": True} if self.data_changed else {}))

    def open_tracker(self, name: str) -> None:
        """Have `track` send to one of accelerate's trackers; what was open till now is ended."""
        if kind := find_tracker(name):
            tracking.close()
            place = {"logging_dir": str(self.path)} if kind.requires_logging_directory else {}
            self._tracker = kind("textvae", **place)
            self._tracker.start()
            tracking.callback(self._tracker.finish)
            atexit.register(tracking.close)
            self._tracker.store_init_configuration({"run": str(self.path), **self.config.flat()})

    def track(self, step: int, values: Mapping[str, Any]) -> None:
        """Send the numbers to the tracker, if there is one; `kl_per_dim/0` is a list's first."""
        if self._tracker is not None:
            found = dict(values)
            for name in [name for name, value in values.items() if isinstance(value, list)]:
                found |= {f"{name}/{place}": v for place, v in enumerate(found.pop(name))}
            numbers = {name: v for name, v in found.items() if isinstance(v, int | float)}
            self._tracker.log(numbers, step=step)

    def log(self, record: dict[str, Any]) -> None:
        """Append one line to `metrics.jsonl`, and track it as `SPLIT/NAME`."""
        with self.metrics_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        named = {f"{record['split']}/{name}": v for name, v in record.items() if name != "step"}
        self.track(record["step"], named)

    def metrics(self) -> list[dict[str, Any]]:
        """All whole lines of `metrics.jsonl`; an InputError names one that is none of ours."""
        if not self.metrics_file.exists():
            return []
        lines = self.metrics_file.read_bytes().splitlines()
        named = ((f"line {n} of {self.metrics_file}", line) for n, line in enumerate(lines, 1))
        return [_Record.read(where, line) for where, line in named if line.endswith(b"}")]

    def evaluations(self) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl` that judge an epoch on validation data."""
        return [record for record in self.metrics() if record["split"] == "valid"]

    def kept_evaluation(self) -> dict[str, Any]:
        """The evaluation of the weights that `model.safetensors` holds."""
        kept = self._kept_evaluations()
        if not kept:
            raise InputError(f"{self.path} has not finished an epoch yet: resume its training")
        return kept[-1]

    def last_beta(self) -> float | None:
        """The KL weight that the weights kept were trained with; None if nothing was logged."""
        logged = self._kept_evaluations() or self.metrics()
        return logged[-1].get("beta") if logged else None

    def _kept_evaluations(self) -> list[dict[str, Any]]:
        return [record for record in self.evaluations() if record["verdict"] == "better"]

    def forget_metrics_after(self, step: int, *, is_judged: bool) -> None:
        """Drop lines that a run continued from that step, before or after judging, logs again."""
        last = {"train": step, "valid": step if is_judged else step - 1}
        kept = [record for record in self.metrics() if record["step"] <= last[record["split"]]]
        with replacing(self.metrics_file) as temporary:
            lines = (json.dumps(record) + "\n" for record in kept)
            temporary.write_text("".join(lines), encoding="utf-8")

    def has_state(self) -> bool:
        """Whether there is a training state to go on from."""
        return self.state_file.exists() or self.previous_file.exists()

    def save_state(self, state: dict[str, Any]) -> None:
        """Replace the training state: dictionaries, lists, plain values, with tensors anywhere.

        The one before is kept beside it, for the case that the new one is damaged later.
        """
        tensors: dict[str, Tensor] = {}
        skeleton = json.dumps(_take_tensors(state, "", tensors))
        with replacing(self.state_file) as temporary:
            save_file(tensors, temporary, metadata={"state": skeleton, "sha256": UNSEALED})
            seal(temporary)
            if self.state_file.exists():
                self.state_file.replace(self.previous_file)

    def load_state(self, warn: Callable[[str], object] = warnings.warn) -> dict[str, Any]:
        """Read the last training state, tensors on the CPU; FileNotFoundError if there is none.

        Where it is damaged or missing, the one before takes its place, and `warn` is told.
        """
        faults = []
        for file in (self.state_file, self.previous_file):
            try:
                state = _read_state(file)
            except FileNotFoundError:
                faults.append(f"{file} is missing")
            except InputError as fault:
                faults.append(str(fault))
            else:
                if faults:
                    warn(f"{faults[0]}: going on from the state saved before it")
                    file.replace(self.state_file)
                return state
        if not self.has_state():
            raise FileNotFoundError(
                f"{self.path} has lost its training state, {self.state_file.name}: put that back, "
                "use the run as it is (evaluate, sample, …), or train anew in another --output-dir"
            )
        raise InputError("; ".join(faults))


class _Record(dict[str, Any]):
    """A line of `metrics.jsonl`: an entry that it lacks is an InputError, with the line."""

    where = ""

    @classmethod
    def read(cls, where: str, line: bytes) -> _Record:
        try:
            record = cls(json.loads(line))
        except (ValueError, TypeError, RecursionError) as error:
            raise InputError(f"{where} is not valid JSON: {error}") from None
        record.where = where
        if record["split"] not in ("train", "valid") or not isinstance(record["step"], int):
            raise InputError(f"{where} is no record of a training")
        return record

    def __missing__(self, key: str) -> NoReturn:
        raise InputError(f"{self.where} has no {key!r}")


def _read_state(path: Path) -> dict[str, Any]:
    try:
        check_seal(path)
        with safe_open(path, framework="pt") as file:
            skeleton = json.loads(file.metadata()["state"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise
    except Exception as error:
        raise InputError(f"{path} can't be read: {error}") from error
    state: dict[str, Any] = _put_tensors(skeleton, tensors)
    return state


def _take_tensors(node: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(node, Tensor):
        name = f"{len(tensors)}{path}"  # two paths can be written alike
        # A copy: safetensors refuses memory shared by two names, as tied weights have it.
        tensors[name] = node.detach().cpu().clone().contiguous()
        return {TENSOR: name}
    if isinstance(node, dict):
        # As pairs, because optimizers key their state by integers, which JSON objects can't.
        return {PAIRS: [[k, _take_tensors(v, f"{path}/{k}", tensors)] for k, v in node.items()]}
    if isinstance(node, list | tuple):
        return [_take_tensors(v, f"{path}/{i}", tensors) for i, v in enumerate(node)]
    return node


def _put_tensors(node: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(node, dict):
        if TENSOR in node:
            return tensors[node[TENSOR]]
        return {k: _put_tensors(v, tensors) for k, v in node[PAIRS]}
    if isinstance(node, list):
        return [_put_tensors(v, tensors) for v in node]
    return node
