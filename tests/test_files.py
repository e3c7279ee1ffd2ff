"""Tests of `textvae.files`, none of which reaches a network."""

from __future__ import annotations

import os
import re
import threading
import time
from pathlib import Path
from unittest.mock import Mock

import huggingface_hub
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import RepositoryNotFoundError

from textvae import files
from textvae.checks import InputError
from textvae.files import MODEL_FILES, find_pretrained, read_json, replacing, write_json


def contents(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in directory.iterdir()}


def test_a_file_is_made_or_replaced(tmp_path: Path) -> None:
    for content in ("first", "second, longer", "3"):
        with replacing(tmp_path / "notes.txt") as temporary:
            assert temporary.parent == tmp_path, "only a move within one file system is at once"
            temporary.write_text(content)
        assert contents(tmp_path) == {"notes.txt": content}


@pytest.mark.parametrize("old", [{"notes.txt": "old"}, {}])
@pytest.mark.parametrize("half", ["half of the new", None])
def test_a_crash_leaves_what_was_there_and_nothing_else(
    tmp_path: Path, old: dict[str, str], half: str | None
) -> None:
    for name, text in old.items():
        (tmp_path / name).write_text(text)

    def crash() -> None:
        with replacing(tmp_path / "notes.txt") as temporary:
            if half is not None:
                temporary.write_text(half)
            assert ("notes.txt" in contents(tmp_path)) == bool(old)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        crash()
    assert contents(tmp_path) == old


def test_json_comes_back_as_it_was(tmp_path: Path) -> None:
    content = {"text": "naïve – “quoted”", "numbers": [1, 2.5, None], "nested": {"a": True}}
    write_json(tmp_path / "a.json", content)
    written = contents(tmp_path)
    assert written["a.json"].endswith("}\n")
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_json(tmp_path / "a.json", {"new": object()})
    assert contents(tmp_path) == written
    assert read_json(tmp_path / "a.json") == content


@pytest.mark.parametrize("content", [b"", b'{"half": ', b"{} {}", b"\xff\xfe"])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.json").write_bytes(content)
    with pytest.raises(InputError, match=r"broken\.json is not valid JSON: "):
        read_json(tmp_path / "broken.json")


def saved(directory: Path, *files: str) -> Path:
    directory.mkdir(parents=True)
    for file in files:
        (directory / file).write_text("{}")
    return directory


def test_a_directory_is_taken_before_a_hub_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = saved(tmp_path / "runs" / "first", *MODEL_FILES, "metrics.jsonl")
    assert find_pretrained(directory) == find_pretrained(str(directory)) == directory
    monkeypatch.chdir(tmp_path)
    assert find_pretrained("runs/first") == Path("runs/first")


@pytest.mark.parametrize("missing", [list(MODEL_FILES[1:2]), list(MODEL_FILES)])
def test_missing_files_are_named(tmp_path: Path, missing: list[str]) -> None:
    directory = saved(tmp_path / "run", *(set(MODEL_FILES) - set(missing)))
    message = f"run is not a run directory: {', '.join(missing)} not found there"
    with pytest.raises(FileNotFoundError, match=message):
        find_pretrained(directory)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nowhere", "it is no hub id"),  # no owner
        ("runs/frist", "as there is a directory 'runs'"),  # mistyped: its parent is here
        ("runs/a/b", "it is no hub id"),  # too deep
        ("./runs-b/first", "it is no hub id"),
        ("/no/where", "it is no hub id"),
        ("two words/run", "it is no hub id"),
    ],
)
def test_a_mistyped_path_costs_no_look_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, reason: str
) -> None:
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "is_offline_mode", lambda: pytest.fail("asked the hub"))
    with pytest.raises(FileNotFoundError, match=f"no run directory at '{name}', and .*{reason}"):
        find_pretrained(name)


def test_a_hub_id_offline_fails_fast_unless_it_was_fetched_before() -> None:
    start = time.perf_counter()
    with pytest.raises(FileNotFoundError, match=r"no run directory at 'nobody/no-vae', and .+"):
        find_pretrained("nobody/no-vae")
    assert time.perf_counter() - start < 15, "retries cost 23 seconds"
    repository = Path(os.environ["HF_HOME"]) / "hub" / "models--somebody--a-vae"
    snapshot = saved(repository / "snapshots" / ("0" * 40), *MODEL_FILES)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    assert find_pretrained("somebody/a-vae").resolve() == snapshot.resolve()


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """Stands in the place of the hub's answer, as though we were online."""
    monkeypatch.setattr(constants, "is_offline_mode", lambda: False)
    mock = Mock()
    monkeypatch.setattr(huggingface_hub.HfApi, "repo_info", mock)
    return mock


def unknown_repository() -> Exception:
    fault = RepositoryNotFoundError.__new__(RepositoryNotFoundError)
    fault.args = ("404 Client Error\n\nRepository Not Found for url",)
    return fault


def test_a_repository_that_is_there_passes(answer: Mock, monkeypatch: pytest.MonkeyPatch) -> None:
    files.require_repository("somebody/a-corpus", "dataset")
    asked = {"repo_type": "dataset", "timeout": files.SECONDS}
    answer.assert_called_once_with("somebody/a-corpus", **asked)
    monkeypatch.setattr(constants, "is_offline_mode", lambda: True)
    files.require_repository("nobody/nothing", "dataset")
    assert answer.call_count == 1, "nothing is asked offline"


@pytest.mark.parametrize(
    ("fault", "kind", "message"),
    [
        (unknown_repository(), FileNotFoundError, "the hub has no model 'a/b', or it is private"),
        (OSError("no route\nto host"), ConnectionError, "the hub can't be reached (no route)"),
        (RuntimeError(" "), ConnectionError, "the hub can't be reached (RuntimeError)"),
    ],
)
def test_the_reason_is_given_in_one_line(
    answer: Mock, fault: Exception, kind: type[Exception], message: str
) -> None:
    answer.side_effect = fault
    with pytest.raises(kind, match=f"^{re.escape(message)}$"):
        files.require_repository("a/b", "model")
    message = f"no run directory at 'a/b', and {message}"
    with pytest.raises(FileNotFoundError, match=f"^{re.escape(message)}$"):
        find_pretrained("a/b")


def test_a_hub_that_hangs(answer: Mock, monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    answer.side_effect = lambda *_, **__: release.wait(30)
    monkeypatch.setattr(files, "SECONDS", 0.1)
    start = time.perf_counter()
    with pytest.raises(ConnectionError, match=r"the hub did not answer within 0\.1 seconds"):
        files.require_repository("a/b", "model")
    release.set()
    assert time.perf_counter() - start < 15
