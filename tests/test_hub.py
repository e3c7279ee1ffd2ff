"""Tests of `textvae.hub` against a local stand-in for the hub, over HTTP; nothing leaves here."""

import base64
import json
import threading
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from huggingface_hub import constants

from tests.cli.calling import SIZES, call
from textvae import TextVAE, grammar, hub
from textvae.checks import InputError
from textvae.files import DEMO, read_json

COMMIT = "0" * 40
FILE = "/{repo_id}/resolve/{revision}/{filename}"


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as creating, uploading and downloading a model ask for."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.endswith("/commit/main"):
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    content = base64.b64decode(line["value"]["content"])
                    self.files()[line["value"]["path"]] = content
            url = f"{constants.ENDPOINT}/me/vae/commit/{COMMIT}"
            return self.answer({"commitUrl": url, "commitOid": COMMIT})
        asked = json.loads(body)
        if "/preupload/" in self.path:
            names = [file["path"] for file in asked["files"]]
            modes = [{"path": n, "uploadMode": "regular", "shouldIgnore": False} for n in names]
            return self.answer({"files": modes})
        if self.path == "/api/repos/create":
            return self.answer({"url": f"{constants.ENDPOINT}/me/vae"})
        return self.answer({})

    def do_GET(self) -> None:
        name = self.path.split("/resolve/main/")[-1]
        if name in self.files():
            return self.answer(self.files()[name])
        return self.answer({"id": "me/vae", "modelId": "me/vae", "sha": COMMIT, "siblings": []})

    do_HEAD = do_GET  # noqa: N815

    def files(self) -> dict[str, bytes]:
        return self.server.files

    def answer(self, content: Any) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{sha256(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def uploaded(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    """What the stand-in was given, by name."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.files = {}
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + FILE)
    monkeypatch.setattr(constants, "is_offline_mode", lambda: False)
    monkeypatch.setattr("huggingface_hub.hf_api.api.endpoint", endpoint)
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_stand_in")
    yield server.files
    server.shutdown()
    server.server_close()


def test_a_model_comes_back_as_it_went(uploaded, tiny_model, tmp_path):
    tiny_model.save_pretrained(tmp_path / "own", push_to_hub="me/vae")
    assert uploaded.keys() == {"config.json", "tokenizer.json", "model.safetensors", "README.md"}
    card = uploaded["README.md"].decode()
    assert 'TextVAE.from_pretrained("me/vae")' in card
    assert "the model was saved without its run" in card
    back, own = TextVAE.from_pretrained("me/vae"), TextVAE.from_pretrained(tmp_path / "own")
    assert back.sample(3, seed=1) == own.sample(3, seed=1)


def test_a_run_goes_with_its_figures_and_verdict(uploaded, tmp_path):
    run, fifty = tmp_path / "run", tmp_path / "fifty.txt"
    fifty.write_text("\n".join(sentence.text for sentence in grammar.sample(50)))
    first = tmp_path / "first"
    assert call("train", str(fifty), *SIZES, f"--output-dir={first}").code == 0
    begun = f"--init-from={first}"
    assert call("train", str(fifty), *SIZES, begun, f"--output-dir={run}").code == 0
    said = call("push", str(run), "me/vae", "--num-samples=2", "--private")
    assert (said.code, said.out) == (0, "")
    assert said.err.endswith("/me/vae\n")
    kept = {"config.json", "tokenizer.json", "model.safetensors", "results.json", "metrics.jsonl"}
    assert uploaded.keys() == {*kept, "README.md"}
    card = uploaded["README.md"].decode()
    results = read_json(run / "results.json")
    for claim in (
        "Trained on `fifty.txt`",
        "latent_dim: 2",
        "| {rec:.2f} | {kl:.2f} |".format_map(results),
        "`textvae diagnose me/vae --num-samples 2 --split test`",
        "**never trained**",
        "A latent space that works: see the verdict.",
    ):
        assert claim in card
    everything = b"".join(uploaded.values())
    assert str(fifty.parent).encode() not in everything, "whose machine it was is nobody's business"
    assert json.loads(uploaded["config.json"])["run"]["data_source"] == "fifty.txt"


def test_a_run_not_diagnosed_says_so(uploaded):
    hub.push(DEMO, "me/vae")
    card = uploaded["README.md"].decode()
    for claim in ("no real text", "`textvae evaluate me/vae --split test`", "None: `textvae diag"):
        assert claim in card


def test_what_is_refused(monkeypatch):
    with pytest.raises(InputError, match="repository must be owner/name, got 'vae'"):
        hub.create("vae")
    monkeypatch.setattr(constants, "is_offline_mode", lambda: True)
    with pytest.raises(ConnectionError, match=r"^me/vae can't be pushed to: .*offline"):
        hub.create("me/vae")
