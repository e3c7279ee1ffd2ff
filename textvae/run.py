"""One directory per run, safe to load, whole after a crash at any moment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from textvae.checks import InputError, imported
from textvae.config import ModelConfig, RunConfig
from textvae.files import read_json, replacing, write_json

TENSOR, PAIRS = "__tensor__", "__pairs__"


class RunDirectory:
    """A run's files. Build it with `create` or `open`."""

    def __init__(self, path: Path, config: RunConfig) -> None:
        self.path, self.config = path, config
        self.config_file = path / "config.json"  # `model`, its options; `run`, the configuration
        self.metrics_file = path / "metrics.jsonl"  # a line per logged step and evaluation
        self.state_file = path / "training_state.safetensors"  # all that continuing needs
        self.weights_file = path / "model.safetensors"  # the best by true ELBO, once it judges
        self.results_file = path / "results.json"  # test-set figures of the finished run
        self._tensorboard: Any = None

    @classmethod
    def create(
        cls, path: str | Path, config: RunConfig, *, longest_sentence: int | None = None
    ) -> Self:
        """Make the directory of a new run; FileExistsError if anything is there already.

        The longest sentence that is trained on is in tokens, EOS not counted.
        """
        cls.refuse_if_taken(path)
        run = cls(Path(path), config)
        run.path.mkdir(parents=True, exist_ok=True)
        write_json(run.config_file, {"run": config.to_dict(), "longest_sentence": longest_sentence})
        return run

    @classmethod
    def open(cls, path: str | Path, *, model: type[ModelConfig] = ModelConfig) -> Self:
        """Open the directory of an existing run, whose model has these options."""
        config_file = Path(path) / "config.json"
        if not config_file.is_file():
            raise FileNotFoundError(f"no run at {path}: {config_file} does not exist")
        content = read_json(config_file)
        if not isinstance(content, dict) or not isinstance(content.get("run"), dict):
            raise InputError(f"{config_file} has no section 'run': no training run wrote it")
        return cls(Path(path), RunConfig.from_dict(content["run"], model=model))

    @staticmethod
    def refuse_if_taken(path: str | Path) -> None:
        """Raise FileExistsError if a file, or a directory with something in it, is at `path`."""
        path = Path(path)
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise FileExistsError(
                f"{path} exists and is not empty: continue it with --resume, or choose another "
                "--output-dir"
            )

    def reconfigure(self, config: RunConfig) -> None:
        """Replace the run's configuration, on disk too."""
        self.config = config
        write_json(self.config_file, {**read_json(self.config_file), "run": config.to_dict()})

    def open_tensorboard(self) -> None:
        """Have `log` write TensorBoard events too, in `tensorboard/`."""
        missing = 'TensorBoard is not installed: pip install "textvae[track]"'
        board = imported("torch.utils.tensorboard", f"{missing}, or leave --tensorboard out")
        self._tensorboard = board.SummaryWriter(str(self.path / "tensorboard"))

    def log(self, record: dict[str, Any]) -> None:
        """Append one line to `metrics.jsonl`; in TensorBoard `kl_per_dim/0` is a list's first."""
        with self.metrics_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        if self._tensorboard is None:
            return
        for name, value in record.items():
            values = value if isinstance(value, list) else [value]
            for place, each in enumerate(values):
                label = f"{name}/{place}" if values is value else name
                if isinstance(each, int | float) and name != "step":
                    self._tensorboard.add_scalar(f"{record['split']}/{label}", each, record["step"])
        self._tensorboard.flush()

    def metrics(self) -> list[dict[str, Any]]:
        """All whole lines of `metrics.jsonl`."""
        if not self.metrics_file.exists():
            return []
        lines = self.metrics_file.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.endswith("}")]

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

    def save_state(self, state: dict[str, Any]) -> None:
        """Replace the training state: dictionaries, lists, plain values, with tensors anywhere."""
        tensors: dict[str, Tensor] = {}
        skeleton = json.dumps(_take_tensors(state, "", tensors))
        with replacing(self.state_file) as temporary:
            save_file(tensors, temporary, metadata={"state": skeleton})

    def load_state(self) -> dict[str, Any]:
        """Read the last training state, tensors on the CPU; FileNotFoundError if there is none."""
        if not self.state_file.is_file():
            raise FileNotFoundError(
                f"{self.path} has no training state to resume from: start it again without "
                "--resume in an empty directory"
            )
        try:
            with safe_open(self.state_file, framework="pt") as file:
                skeleton = json.loads(file.metadata()["state"])
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except Exception as error:
            raise InputError(f"{self.state_file} can't be read: {error}") from error
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
