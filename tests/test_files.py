"""Tests of `textvae.files`."""

from __future__ import annotations

from pathlib import Path

import pytest

from textvae.files import read_json, replacing, write_json


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_file_is_made_or_replaced(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    for content in ("first", "second, longer", "3"):
        with replacing(path) as temporary:
            assert temporary.parent == tmp_path, "only a move within one file system is at once"
            temporary.write_text(content)
        assert path.read_text() == content
    assert names(tmp_path) == ["notes.txt"]


@pytest.mark.parametrize("fault", [OSError, KeyboardInterrupt])
def test_a_crash_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, fault: type[BaseException]
) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("old")

    def crash() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half of the new")
            assert path.read_text() == "old", "the old file stays while the new one is written"
            raise fault

    with pytest.raises(fault):
        crash()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["notes.txt"]


def test_a_crash_before_there_was_a_file_leaves_none(tmp_path: Path) -> None:
    def crash(half: bytes | None) -> None:
        with replacing(tmp_path / "new") as temporary:
            if half is not None:
                temporary.write_bytes(half)
            raise OSError("disk full")

    for half in (b"half", None):
        with pytest.raises(OSError, match="disk full"):
            crash(half)
    assert names(tmp_path) == []


def test_json_comes_back_as_it_was(tmp_path: Path) -> None:
    content = {"text": "naïve – “quoted”", "numbers": [1, 2.5, None], "nested": {"a": True}}
    write_json(tmp_path / "a.json", content)
    assert read_json(tmp_path / "a.json") == content
    assert (tmp_path / "a.json").read_text(encoding="utf-8").endswith("}\n")


def test_what_is_no_json_leaves_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"old": 1})
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_json(tmp_path / "a.json", {"new": object()})
    assert read_json(tmp_path / "a.json") == {"old": 1}
    assert names(tmp_path) == ["a.json"]


@pytest.mark.parametrize("content", [b"", b'{"half": ', b"{} {}", b"\xff\xfe"])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.json is not valid JSON: "):
        read_json(tmp_path / "broken.json")
