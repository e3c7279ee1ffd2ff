"""Tests of `textvae.files`, none of which reaches a network."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import RepositoryNotFoundError

from textvae import files
from textvae.files import MODEL_FILES, find_pretrained, require_repository


def saved(directory: Path, *files: str) -> Path:
    directory.mkdir(parents=True)
    for file in files:
        (directory / file).write_text("{}")
    return directory


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], None]:
    """Puts a function in the place of the hub's answer, as though we were online."""

    def put(function: Callable[[], Any]) -> None:
        monkeypatch.setattr(constants, "is_offline_mode", lambda: False)
        monkeypatch.setattr(
            huggingface_hub.HfApi, "repo_info", lambda *_args, **_options: function()
        )

    return put


def failing(fault: Exception) -> Callable[[], Any]:
    def fail() -> None:
        raise fault

    return fail


def unknown_repository() -> Exception:
    fault = RepositoryNotFoundError.__new__(RepositoryNotFoundError)
    fault.args = ("404 Client Error\n\nRepository Not Found for url",)
    return fault


def test_a_run_directory_is_found_as_path_or_string(tmp_path: Path) -> None:
    directory = saved(tmp_path / "run", *MODEL_FILES, "metrics.jsonl")
    assert find_pretrained(directory) == find_pretrained(str(directory)) == directory


def test_a_relative_directory_is_taken_before_a_hub_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path / "runs" / "first", *MODEL_FILES)
    monkeypatch.chdir(tmp_path)
    assert find_pretrained("runs/first") == Path("runs/first")


@pytest.mark.parametrize("missing", MODEL_FILES)
def test_a_missing_file_is_named(tmp_path: Path, missing: str) -> None:
    directory = saved(tmp_path / "run", *(set(MODEL_FILES) - {missing}))
    with pytest.raises(FileNotFoundError, match=f"run is not a run directory: {missing} not found"):
        find_pretrained(directory)


def test_all_missing_files_are_named_at_once(tmp_path: Path) -> None:
    message = r"not a run directory: config\.json, tokenizer\.json, model\.safetensors not found"
    with pytest.raises(FileNotFoundError, match=message):
        find_pretrained(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "nowhere",  # no owner
        "runs/frist",  # mistyped: its parent is here
        "runs/a/b",  # too deep for a hub id
        "./runs-b/first",
        "../runs-b/first",
        "/no/where",
        "~/runs",
        "runs-b/",
        "two words/run",
    ],
)
def test_a_mistyped_path_costs_no_look_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(files, "require_repository", lambda *_: pytest.fail("asked the hub"))
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_: pytest.fail("asked the hub"))
    with pytest.raises(FileNotFoundError, match=f"no run directory at '{re.escape(name)}'$"):
        find_pretrained(name)


def test_a_hub_id_that_was_never_fetched_fails_fast_offline() -> None:
    start = time.perf_counter()
    with pytest.raises(FileNotFoundError, match=r"no run directory at 'nobody/no-vae', and .+"):
        find_pretrained("nobody/no-vae")
    assert time.perf_counter() - start < 15, "retries cost 23 seconds"


def test_a_hub_id_that_was_fetched_before_works_offline() -> None:
    repository = Path(os.environ["HF_HOME"]) / "hub" / "models--somebody--a-vae"
    commit = "0" * 40
    snapshot = saved(repository / "snapshots" / commit, *MODEL_FILES)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    assert find_pretrained("somebody/a-vae").resolve() == snapshot.resolve()


def test_the_reason_is_given_in_one_line(answer: Callable[[Callable[[], Any]], None]) -> None:
    answer(failing(unknown_repository()))
    with pytest.raises(
        FileNotFoundError,
        match=r"^no run directory at 'nobody/no-vae', and the hub has no model 'nobody/no-vae', "
        r"or it is private$",
    ):
        find_pretrained("nobody/no-vae")
    answer(failing(OSError("[Errno -2] Name or service not known\nand a long story")))
    with pytest.raises(
        FileNotFoundError,
        match=r"^no run directory at 'nobody/no-vae', and the hub can't be reached "
        r"\(\[Errno -2\] Name or service not known\)$",
    ):
        find_pretrained("nobody/no-vae")


def test_nothing_is_asked_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(
        huggingface_hub.HfApi, "repo_info", lambda *arguments, **_options: asked.append(arguments)
    )
    require_repository("somebody/a-corpus", "dataset")
    assert asked == []


def test_a_repository_that_is_there_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def repo_info(_self: Any, name: str, *, repo_type: str, timeout: float) -> None:
        asked.append((name, repo_type, timeout))

    monkeypatch.setattr(constants, "is_offline_mode", lambda: False)
    monkeypatch.setattr(huggingface_hub.HfApi, "repo_info", repo_info)
    require_repository("somebody/a-corpus", "dataset")
    assert asked == [("somebody/a-corpus", "dataset", files.SECONDS)]


def test_a_repository_that_is_not_there(answer: Callable[[Callable[[], Any]], None]) -> None:
    answer(failing(unknown_repository()))
    with pytest.raises(FileNotFoundError, match="the hub has no dataset 'a/b', or it is private"):
        require_repository("a/b", "dataset")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (OSError("no route\nto host"), "no route"),
        (RuntimeError(" "), "RuntimeError"),  # an error without a text still says something
    ],
)
def test_a_hub_out_of_reach(
    answer: Callable[[Callable[[], Any]], None], fault: Exception, reason: str
) -> None:
    answer(failing(fault))
    with pytest.raises(ConnectionError, match=rf"^the hub can't be reached \({reason}\)$"):
        require_repository("a/b", "model")


def test_a_hub_that_hangs(
    answer: Callable[[Callable[[], Any]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    answer(lambda: release.wait(30))
    monkeypatch.setattr(files, "SECONDS", 0.1)
    start = time.perf_counter()
    with pytest.raises(ConnectionError, match=r"the hub did not answer within 0\.1 seconds"):
        require_repository("a/b", "model")
    release.set()
    assert time.perf_counter() - start < 15
