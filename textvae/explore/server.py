"""Where the page listens, and who may ask it for what.

It asks no other host for anything: no analytics, no fonts or scripts from elsewhere, no public
link. Gradio itself would answer any site, and keep its uploads. Visitors are served in turn.
"""

import re
import socket
import threading
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from textvae.checks import integer
from textvae.explore.page import build, gradio
from textvae.explore.session import Session

LARGEST = 2**20  # bytes of a request's body
# What the page asks for; gradio has more, which reads and writes files.
ROUTES = re.compile(
    r"/(?!gradio_api/|login)|/gradio_api/(queue/|heartbeat/|info|startup-events|cancel|reset)"
)


def check_address(host: str, port: int) -> None:
    """Raise before a model is loaded what `serve` would raise after."""
    gradio()
    integer("port", port, 1, 65535)
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        advice = "choose others with --host and --port"
        raise OSError(f"can't listen at {host}, port {port}: {reason} ({advice})") from None


def serve(
    session: Session,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    on_ready: Callable[[str], None] = print,
) -> None:
    """Show the page until Ctrl-C, which raises KeyboardInterrupt with the server closed.

    `on_ready` is told its address once it can be opened; by default only this machine can.
    """
    gr, page = gradio(), build(session)
    from starlette.middleware import Middleware

    # Fifty pages that start at once ask for five events each; those of more are told to wait.
    page.queue(max_size=256, api_open=False, default_concurrency_limit=1)
    fonts = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "sans-serif")
    try:
        _, address, _ = page.launch(
            server_name=host,
            server_port=port,
            prevent_thread_lock=True,
            share=False,
            quiet=True,
            ssr_mode=False,
            footer_links=[],
            app_kwargs={"middleware": [Middleware(Guard, host)]},
            theme=gr.themes.Base(primary_hue="blue", font=fonts, font_mono=fonts),
            css=Path(__file__).with_name("page.css").read_text(encoding="utf-8"),
        )
        on_ready(address)
        threading.Event().wait()
    finally:
        page.close(verbose=False)


class Guard:
    """ASGI middleware of a page bound to `host`: what it refuses, it says in plain words."""

    def __init__(self, app: Any, host: str) -> None:
        from starlette.middleware.body_limit import RequestBodyLimitMiddleware

        self.app, self.host = RequestBodyLimitMiddleware(app, LARGEST), host

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass a request on, or answer it: 403, 404, 413, and 400 for what gradio fails at."""
        from starlette.responses import PlainTextResponse

        refusal, sent = _refusal(scope, self.host) if scope["type"] == "http" else None, []

        async def answer(message: Any) -> None:
            sent.append(message["type"])
            await send(message)

        if refusal is None:
            try:
                await self.app(scope, receive, answer)
                return
            except Exception:  # what fails in an event, gradio tells by itself
                refusal = 400, "this is no request of the page"
        if sent:
            await send({"type": "http.response.body"})
        else:
            await PlainTextResponse(refusal[1], refusal[0])(scope, receive, send)


def _refusal(scope: Any, bound: str) -> tuple[int, str] | None:
    headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
    host, origin = headers.get(b"host", ""), headers.get(b"origin")
    if not _leads_to(host, bound):
        return 403, f"this page is shown at {bound}, not at {host!r}"
    if origin is not None and origin.partition("://")[2] != host:
        return 403, f"this page answers itself, not {origin!r}"
    return None if ROUTES.match(scope["path"]) else (404, "this page has no such route")


def _leads_to(header: str, host: str) -> bool:
    """Whether a Host header names where the page is bound: any other name may be led here."""
    name = re.sub(r":\d*$", "", header).strip("[]").lower()
    try:
        own, asked = (ip_address(n.replace("localhost", "127.0.0.1")) for n in (host, name))
    except ValueError:
        return name in (host.lower(), socket.gethostname().lower())
    return asked == own or own.is_unspecified or (asked.is_loopback and own.is_loopback)
