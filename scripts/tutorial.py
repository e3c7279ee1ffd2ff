"""Run docs/tutorial.ipynb and write what it gives into it, without the progress bars.

python scripts/tutorial.py
"""

from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "docs" / "tutorial.ipynb"


def executed() -> Any:
    """The notebook with its outputs; raises what a cell raises."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=None, record_timing=False, store_widget_state=False).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [each for each in cell.outputs if not _is_progress(each)]
    return notebook


def _is_progress(output: Any) -> bool:
    widget = "application/vnd.jupyter.widget-view+json"
    return output.get("name") == "stderr" or widget in output.get("data", ())


if __name__ == "__main__":
    nbformat.write(executed(), NOTEBOOK)
