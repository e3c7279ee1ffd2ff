"""Tests of `textvae.explore.server`: where it may listen, who may ask the page, and for what."""

import socket
import warnings
from typing import Any
from unittest import mock

import pytest

from textvae.explore import check_address, serve, server
from textvae.explore.server import LARGEST, Guard

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what gradio's own dependencies have to say
    pytest.importorskip("gradio", reason="the extra `demo` is missing")
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse, StreamingResponse
    from starlette.routing import Route
    from starlette.testclient import TestClient


async def count(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


async def fail(request: Request) -> StreamingResponse:
    async def parts() -> Any:
        if "late" in request.url.query:
            yield b"begun"
        raise KeyError("fn_index")

    return StreamingResponse(parts()) if "late" in request.url.query else await anext(parts())


def answered(host: str, method: str, path: str, **options: Any) -> Any:
    """What a guarded app that has these two routes everywhere says."""
    routes = [Route("/gradio_api/info/fail", fail), Route("/{p:path}", count, methods=["POST"])]
    app = Starlette(
        routes=[*routes, Route("/{p:path}", count)], middleware=[Middleware(Guard, host)]
    )
    with TestClient(app, base_url="http://127.0.0.1:7860") as client:
        return client.request(method, path, **options)


HERE = socket.gethostname().lower()


@pytest.mark.parametrize(
    ("bound", "asked", "code"),
    [
        ("127.0.0.1", "127.0.0.1:7860", 200),
        ("127.0.0.1", "LOCALHOST:9000", 200),  # through a tunnel
        ("127.0.0.1", "[::1]:7860", 200),
        ("localhost", "127.0.0.1:7860", 200),
        ("127.0.0.1", "evil.example:7860", 403),  # a name that was led here
        ("127.0.0.1", "127.0.0.1.evil.example:7860", 403),
        ("127.0.0.1", "192.0.2.1:7860", 403),
        ("127.0.0.1", "127.0.0.1:7860:7860", 403),
        ("127.0.0.1", "", 403),
        ("192.0.2.1", "192.0.2.1:7860", 200),
        ("192.0.2.1", "localhost:7860", 403),
        ("box.example", "Box.example:7860", 200),
        ("box.example", "evil.example:7860", 403),
        ("0.0.0.0", "192.0.2.1:7860", 200),
        ("0.0.0.0", f"{HERE}:7860", 200),
        ("0.0.0.0", "evil.example:7860", 403),
        ("::", "localhost:7860", 200),
    ],
)
def test_the_host_is_where_the_page_is_bound(bound, asked, code):
    found = answered(bound, "GET", "/", headers={"Host": asked})
    assert found.status_code == code
    assert code == 200 or found.text == f"this page is shown at {bound}, not at {asked!r}"


@pytest.mark.parametrize(
    ("origin", "code"),
    [
        ("http://127.0.0.1:7860", 200),
        ("https://127.0.0.1:7860", 200),  # behind a proxy
        ("http://127.0.0.1:3000", 403),
        ("http://localhost:7860", 403),
        ("http://evil.example", 403),
        ("null", 403),
    ],
)
def test_another_sites_page_is_refused(origin, code):
    found = answered("127.0.0.1", "POST", "/gradio_api/queue/join", headers={"Origin": origin})
    assert found.status_code == code
    assert code == 200 or found.text == f"this page answers itself, not {origin!r}"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/", 200),
        ("/assets/index.js", 200),
        ("/gradio_api/heartbeat/abc", 200),
        ("/gradio_api/upload", 404),
        ("/gradio_api/upload/", 404),
        ("/gradio_api/file=/etc/passwd", 404),
        ("/gradio_api/deep_link", 404),
        ("/gradio_api/component_server", 404),
        ("/gradio_api/run/predict", 404),
        ("/login", 404),
    ],
)
def test_what_the_page_has_no_use_for_is_not_there(path, code):
    assert answered("127.0.0.1", "POST", path).status_code == code


@pytest.mark.parametrize("wrap", [bytes, lambda body: iter([body])], ids=["whole", "chunked"])
def test_no_body_is_larger_than_a_megabyte(wrap):
    for size, code in ((LARGEST, 200), (LARGEST + 1, 413)):
        found = answered("127.0.0.1", "POST", "/gradio_api/cancel", content=wrap(b"x" * size))
        assert found.status_code == code


def test_what_gradio_fails_at_is_told_without_a_traceback():
    found = answered("127.0.0.1", "GET", "/gradio_api/info/fail")
    assert (found.status_code, found.text) == (400, "this is no request of the page")
    assert answered("127.0.0.1", "GET", "/gradio_api/info/fail?late").text == "begun"


def test_it_stands_before_the_page(session, monkeypatch):
    shown = mock.Mock()
    shown.launch.side_effect = KeyboardInterrupt
    monkeypatch.setattr(server, "build", lambda session: shown)
    with pytest.raises(KeyboardInterrupt):
        serve(session, host="box.example")
    (guard,) = shown.launch.call_args.kwargs["app_kwargs"]["middleware"]
    assert (guard.cls, guard.args) == (Guard, ("box.example",))
    assert shown.queue.call_args.kwargs["max_size"] == 256
    shown.close.assert_called_once()


def test_an_address_is_checked_beforehand():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for host in ("127.0.0.1", "localhost"):
        check_address(host, port)
    with pytest.raises(OSError, match=r"^can't listen at 192\.0\.2\.1, port "):
        check_address("192.0.2.1", port)
