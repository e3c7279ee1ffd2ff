"""Models on the Hugging Face hub, each with a model card."""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from textvae.checks import InputError
from textvae.config import RunConfig
from textvae.files import HUB_ID, MODEL_FILES, first_line, read_json, write_json

UPLOADED = (*MODEL_FILES, "metrics.jsonl", "results.json")
FOLDERS = re.compile(r"^(ptb:)?/.*/")  # of a path: they tell whose machine it was


def create(repository: str, *, private: bool = False) -> str:
    """Make a repository `owner/name`, unless it is there; gives its address. Errors as `push`."""
    if not HUB_ID.fullmatch(repository):
        raise InputError(f"repository must be owner/name, got {repository!r}")
    return str(_ask("create_repo", repo_id=repository, private=private, exist_ok=True))


def push(
    directory: str | Path, repository: str, diagnosis: Mapping[str, Any] | None = None
) -> None:
    """Upload a model's files and its card; a diagnosis as `to_dict` gives it, and its `split`.

    Raises:
        ConnectionError: If the hub can't be reached, or refuses, as before `hf auth login`.
    """
    with TemporaryDirectory() as folder:
        for path in (Path(directory, name) for name in UPLOADED):
            if path.exists():
                shutil.copy(path, folder)
        config = read_json(Path(folder, "config.json"))
        run = config.get("run", {})
        data, training = run.get("data", {}), run.get("training", {})
        places = ((run, "data_source"), (data, "tokenizer_file"), (training, "init_from"))
        for options, name in places:
            if options.get(name):
                options[name] = FOLDERS.sub(r"\1", options[name])
        write_json(Path(folder, "config.json"), config)
        card = _card(Path(folder), config, repository, diagnosis)
        Path(folder, "README.md").write_text(card, encoding="utf-8")
        _ask("upload_folder", repo_id=repository, folder_path=folder)


def _card(folder: Path, config: Any, repository: str, found: Mapping[str, Any] | None) -> str:
    import jinja2

    usual, run = RunConfig(data_source="").to_dict(), config.get("run")
    results = next(map(read_json, folder.glob("results.json")), None)
    parts = [(usual[part], run[part]) for part in ("model", "data", "training") if run]
    options = {k: v for own, given in parts for k, v in given.items() if own.get(k) != v}
    text = Path(__file__).with_name("card.md").read_text(encoding="utf-8")
    known = {"repository": repository, "config": config, "run": run, "options": options}
    known |= {"found": found or results, "is_diagnosed": found is not None}
    return str(jinja2.Template(text, trim_blocks=True).render(known))


def _ask(what: str, **options: Any) -> Any:
    """Have the hub's client do something; whatever it raises in one line."""
    from huggingface_hub import HfApi

    try:
        return getattr(HfApi(), what)(**options)
    except Exception as fault:
        told = f"{options['repo_id']} can't be pushed to: {first_line(fault)}"
        raise ConnectionError(told) from None
