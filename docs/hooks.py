"""The site is laid out as the repository is, so that a link holds in both; a notebook is a page."""

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter

ROOT = Path(__file__).parents[1]
SHOWN = ("*.md", "data/README.md", "docs/**/*", "results/README.md")
SHOWN += tuple(f"results/**/*.{kind}" for kind in ("png", "json", "txt"))
NOTEBOOK = "docs/tutorial.ipynb"


def on_files(files: Files, config: Any) -> Files:
    """In place of what MkDocs found in `docs/`, the repository's own files by their own paths."""
    shown = Files([file for file in files if file.src_dir != config.docs_dir])
    for path in sorted({path for pattern in SHOWN for path in ROOT.glob(pattern)}):
        if path.is_file() and path.suffix not in (".py", ".pyc"):
            name = path.relative_to(ROOT).as_posix()
            shown.append(File.generated(config, name, abs_src_path=str(path)))
    text, found = MarkdownExporter().from_filename(str(ROOT / NOTEBOOK))
    made = {"tutorial.md": text, **found["outputs"]}
    for name, content in made.items():
        shown.append(File.generated(config, f"docs/{name}", content=content))
    return shown


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links to the notebook lead to its page."""
    return markdown.replace("tutorial.ipynb)", "tutorial.md)")
