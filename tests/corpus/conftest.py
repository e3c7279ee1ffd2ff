from pathlib import Path

import pytest

from tests.corpus.making import LINES, write_lines


@pytest.fixture
def hundred(tmp_path: Path) -> Path:
    return write_lines(tmp_path / "my.txt", LINES)
