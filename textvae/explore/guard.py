"""Who may ask the page, and for what: gradio itself answers any site, and keeps its uploads."""

import re
import socket
from ipaddress import ip_address
from typing import Any

LARGEST = 2**20  # bytes of a request's body
# What the page asks for; gradio has more, which reads and writes files.
ROUTES = re.compile(
    r"/(?!gradio_api/|login)|/gradio_api/(queue/|heartbeat/|info|startup-events|cancel|reset)"
)


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
