"""Tests of `textvae.files`, none of which reaches a network."""

import errno
import json
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


def contents(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in directory.iterdir()}


def test_a_file_is_made_or_replaced(tmp_path):
    for content in ("first", "second, longer", "3"):
        with files.replacing(tmp_path / "notes.txt") as temporary:
            assert temporary.parent == tmp_path, "only a move within one file system is at once"
            temporary.write_text(content)
        assert contents(tmp_path) == {"notes.txt": content}


@pytest.mark.parametrize("old", [{"notes.txt": "old"}, {}])
@pytest.mark.parametrize("half", ["half of the new", None])
def test_a_crash_leaves_what_was_there_and_nothing_else(tmp_path, old, half):
    for name, text in old.items():
        (tmp_path / name).write_text(text)

    def crash() -> None:
        with files.replacing(tmp_path / "notes.txt") as temporary:
            if half is not None:
                temporary.write_text(half)
            assert ("notes.txt" in contents(tmp_path)) == bool(old)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        crash()
    assert contents(tmp_path) == old


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link.html").symlink_to("there/page.html")
    for content in ("new", "replaced"):
        with files.replacing(tmp_path / "link.html") as temporary:
            temporary.write_text(content)
        assert (tmp_path / "link.html").is_symlink()
        assert contents(tmp_path / "there") == {"page.html": content}


def test_a_pipe_is_written_to_and_stays_one(tmp_path):
    pipe, read = tmp_path / "pipe.html", list[str]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    with files.replacing(pipe) as temporary:
        temporary.write_text("a page")
    reader.join(10)
    assert (read, pipe.is_fifo()) == (["a page"], True)


def test_a_file_has_the_mode_that_the_umask_leaves(tmp_path):
    def write(name: str) -> int:
        with files.replacing(tmp_path / name) as temporary:
            temporary.unlink()
            os.close(os.open(temporary, os.O_CREAT | os.O_WRONLY, 0o600))  # as safetensors does
        return (tmp_path / name).stat().st_mode & 0o777

    before = os.umask(0o027)
    try:
        assert write("weights") == 0o640
    finally:
        os.umask(before)


@pytest.mark.parametrize(
    "fault",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_told_with_the_file(tmp_path, fault):
    def write() -> None:
        with files.replacing(tmp_path / "weights"):
            raise fault

    with pytest.raises(OSError, match=r"No space left on device: '.*/weights'") as caught:
        write()
    assert caught.value.errno == errno.ENOSPC
    assert contents(tmp_path) == {}


def test_what_killed_processes_leave_is_known_by_its_name(tmp_path):
    theirs = {".model.safetensors.123.tmp", ".tmpfP5H1p"}  # ours, and of safetensors
    for name in theirs | {".lock", ".gitkeep", "model.safetensors", "my.123.tmp", "a.tmp"}:
        (tmp_path / name).touch()
    assert {path.name for path in files.left_over(tmp_path)} == theirs


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("notes.txt", InputError, r"must end in one of \.html, \.htm, got '.*notes\.txt'"),
        ("run/model.safetensors", InputError, "must end in one of"),
        (".html", InputError, "must end in one of"),  # a name without an end
        ("page.html.txt", InputError, "must end in one of"),
        ("run/innocent.html", InputError, "is a file of the run in .*/run: choose another name"),
        ("directory.html", IsADirectoryError, "must be a file to write to, it is a directory"),
        ("nowhere/page.html", FileNotFoundError, "no directory .*nowhere to write page.html to"),
        ("page.html", None, ""),
        ("run/page.HTM", None, ""),
        ("link.html", None, ""),
        ("pipe.html", None, ""),
    ],
)
def test_where_a_user_may_have_a_file_written(tmp_path, name, kind, message):
    saved(tmp_path / "run", *files.RUN_FILES)
    (tmp_path / "directory.html").mkdir()
    (tmp_path / "link.html").symlink_to("page.html")
    (tmp_path / "run" / "innocent.html").symlink_to("metrics.jsonl")
    os.mkfifo(tmp_path / "pipe.html")
    if kind is None:
        assert files.output_file(str(tmp_path / name), ".html", ".htm") == tmp_path / name
        return
    with pytest.raises(kind, match=message):
        files.output_file(tmp_path / name, ".html", ".htm")


def sealed(path: Path, beside: bytes = b"") -> bytes:
    """A file as safetensors writes it."""
    content = {"__metadata__": {"sha256": files.UNSEALED}, "w": {}}
    header = json.dumps(content, separators=(",", ":"))
    path.write_bytes(len(header).to_bytes(8, "little") + header.encode() + b"weights")
    files.seal(path, beside)
    return path.read_bytes()


def test_any_flipped_byte_breaks_the_seal(tmp_path):
    path = tmp_path / "model.safetensors"
    whole = sealed(path)
    files.check_seal(path)
    # But for its name and quotes: without these the file is one of before there were seals.
    first = whole.index(b'"sha256":"') + 10
    for at in [0, 8, *range(first, first + 64), *range(first + 65, len(whole))]:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(InputError, match=r"model\.safetensors is damaged: its sha256"):
            files.check_seal(path)
    path.write_bytes(whole.replace(b"sha256", b"sha255"))
    files.check_seal(path)


def test_a_seal_is_of_what_stands_beside_the_file_too(tmp_path):
    sealed(tmp_path / "a", b"words")
    files.check_seal(tmp_path / "a", b"words")
    with pytest.raises(InputError, match=r"config\.json or tokenizer\.json beside it was changed"):
        files.check_seal(tmp_path / "a", b"other words")


def test_a_newer_format_is_refused_and_other_sections_are_kept(tmp_path):
    files.update_config(tmp_path, model={"a": 1})
    files.update_config(tmp_path, run={"b": 2})
    whole = {"model": {"a": 1}, "run": {"b": 2}, "format": files.FORMAT}
    assert files.read_config(tmp_path, "run") == whole
    for newer in (files.FORMAT + 1, "2", None, 1.5):
        files.write_json(tmp_path / "config.json", {**whole, "format": newer})
        with pytest.raises(InputError, match=r"of format .*, and this version reads up to 1: up"):
            files.read_config(tmp_path, "model")


def test_json_comes_back_as_it_was(tmp_path):
    content = {"text": "naïve – “quoted”", "numbers": [1, 2.5, None], "nested": {"a": True}}
    files.write_json(tmp_path / "a.json", content)
    written = contents(tmp_path)
    assert written["a.json"].endswith("}\n")
    with pytest.raises(TypeError, match="not JSON serializable"):
        files.write_json(tmp_path / "a.json", {"new": object()})
    assert contents(tmp_path) == written
    assert files.read_json(tmp_path / "a.json") == content


@pytest.mark.parametrize("content", [b"", b'{"half": ', b"{} {}", b"\xff", b"[" * 10**5])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "broken.json").write_bytes(content)
    with pytest.raises(InputError, match=r"broken\.json is not valid JSON: "):
        files.read_json(tmp_path / "broken.json")


def saved(directory: Path, *files: str) -> Path:
    directory.mkdir(parents=True)
    for file in files:
        (directory / file).write_text("{}")
    return directory


def test_a_directory_is_taken_before_a_hub_id(tmp_path, monkeypatch):
    directory = saved(tmp_path / "runs" / "first", *files.MODEL_FILES, "metrics.jsonl")
    assert files.find_pretrained(directory) == files.find_pretrained(str(directory)) == directory
    monkeypatch.chdir(tmp_path)
    assert files.find_pretrained("runs/first") == Path("runs/first")


@pytest.mark.parametrize("missing", [list(files.MODEL_FILES[1:2]), list(files.MODEL_FILES)])
def test_missing_files_are_named(tmp_path, missing):
    directory = saved(tmp_path / "run", *(set(files.MODEL_FILES) - set(missing)))
    message = f"run is not a run directory: {', '.join(missing)} not found there"
    with pytest.raises(FileNotFoundError, match=message):
        files.find_pretrained(directory)


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
def test_a_mistyped_path_costs_no_look_up(tmp_path, monkeypatch, name, reason):
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "is_offline_mode", lambda: pytest.fail("asked the hub"))
    with pytest.raises(FileNotFoundError, match=f"no run directory at '{name}', and .*{reason}"):
        files.find_pretrained(name)


def test_a_hub_id_offline_fails_fast_unless_it_was_fetched_before():
    start = time.perf_counter()
    with pytest.raises(FileNotFoundError, match=r"no run directory at 'nobody/no-vae', and .+"):
        files.find_pretrained("nobody/no-vae")
    assert time.perf_counter() - start < 15, "retries cost 23 seconds"
    repository = Path(os.environ["HF_HOME"]) / "hub" / "models--somebody--a-vae"
    snapshot = saved(repository / "snapshots" / ("0" * 40), *files.MODEL_FILES)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    assert files.find_pretrained("somebody/a-vae").resolve() == snapshot.resolve()


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


def test_a_repository_that_is_there_passes(answer, monkeypatch):
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
def test_the_reason_is_given_in_one_line(answer, fault, kind, message):
    answer.side_effect = fault
    with pytest.raises(kind, match=f"^{re.escape(message)}$"):
        files.require_repository("a/b", "model")
    message = f"no run directory at 'a/b', and {message}"
    with pytest.raises(FileNotFoundError, match=f"^{re.escape(message)}$"):
        files.find_pretrained("a/b")


def test_a_hub_that_hangs(answer, monkeypatch):
    release = threading.Event()
    answer.side_effect = lambda *_, **__: release.wait(30)
    monkeypatch.setattr(files, "SECONDS", 0.1)
    start = time.perf_counter()
    with pytest.raises(ConnectionError, match=r"the hub did not answer within 0\.1 seconds"):
        files.require_repository("a/b", "model")
    release.set()
    assert time.perf_counter() - start < 15
