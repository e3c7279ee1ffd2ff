"""The page: `serve` shows a `Session`, `build` makes its widgets, `check_address` tells beforehand.

Gradio draws it. It asks no other host for anything: no analytics, no fonts or scripts from
elsewhere, no public link. Visitors are served in turn. What is computed is `Session`'s.
"""

from __future__ import annotations

import shlex
import socket
import threading
from collections.abc import Callable
from functools import wraps
from importlib import resources
from typing import Any

from textvae.diagnostics import COLLAPSED_KL
from textvae.explore import pieces
from textvae.explore.session import MAX_SAMPLES, MAX_SEED, TEMPERATURES, Session
from textvae.generation import STRATEGIES
from textvae.report.text import readable

__all__ = ["build", "check_address", "serve"]

IN_TURN: dict[str, Any] = {
    "concurrency_id": "model",
    "concurrency_limit": 1,
    "api_visibility": "private",
}
"""Of every event: one at a time for all visitors, and no one but the page asks."""

LIVE: dict[str, Any] = {"trigger_mode": "always_last", "show_progress": "hidden", **IN_TURN}
"""Of events that follow a hand: what came in the meantime is answered by the last."""

MAX_WAITING = 64
"""Events in the queue; a page that asks for more is told to wait."""


SHADES = "#f2f6fb #e1eaf5 #c5d7ec #9dbbde #6c98cb #4679b6 #2b63a8 #245289 #1f4470 #1b385c #12253d"
"""Of the one accent colour, from light to dark."""


def check_address(host: str, port: int) -> None:
    """Raise what `serve` would raise before a model is loaded.

    Args:
        host: Address to listen at.
        port: From 1 to 65535.

    Raises:
        ImportError: If gradio is not installed.
        ValueError: If the port is outside its range.
        OSError: If the host is not this machine's, or the port is taken.
    """
    _gradio()
    if not 1 <= port <= 65535:
        raise ValueError(f"port must be from 1 to 65535, got {port}")
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(
            f"can't listen at {host}, port {port}: {reason.lower()} (choose others with --host "
            "and --port)"
        ) from None


def serve(
    session: Session,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Show the page until Ctrl-C.

    Args:
        session: What to show.
        host: Address to listen at; by default only this machine can reach it.
        port: Where to listen.
        on_ready: Told the page's address once it can be opened.

    Raises:
        ImportError: If gradio is not installed.
        OSError: If the address can't be listened at.
        KeyboardInterrupt: At Ctrl-C, with the server closed.
    """
    page = build(session)
    page.queue(max_size=MAX_WAITING, api_open=False, default_concurrency_limit=1)
    try:
        _, address, _ = page.launch(
            server_name=host,
            server_port=port,
            prevent_thread_lock=True,
            share=False,
            quiet=True,
            inbrowser=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            run_history=False,
            enable_monitoring=False,
            footer_links=[],
            theme=_theme(),
            css=_asset("page.css"),
        )
        if on_ready is not None:
            on_ready(address)
        threading.Event().wait()
    finally:
        page.close(verbose=False)


def build(session: Session) -> Any:
    """The page's widgets, not shown yet.

    Returns:
        Gradio's `Blocks`.

    Raises:
        ImportError: If gradio is not installed.
    """
    gr = _gradio()
    with gr.Blocks(analytics_enabled=False, title=f"{session.name} – textvae") as page:
        _piece(gr, pieces.heading(session.name, _facts(session), _notice(session)))
        with gr.Tab("Between two sentences"):
            _between(gr, session)
        with gr.Tab("Dimensions"):
            _dimensions(gr, session)
        with gr.Tab("Map"):
            _map(gr, session)
        with gr.Tab("Samples"):
            _samples(gr, session)
        with gr.Tab("Diagnosis"):
            _diagnosis(gr, session)
    return page


def _piece(gr: Any, html: Any, **options: Any) -> Any:
    """HTML as it is, without gradio's styles for text."""
    return gr.HTML(html, apply_default_css=False, elem_classes="piece", **options)


def _between(gr: Any, session: Session) -> None:
    first, second = _examples(session)

    def show(first: str, second: str, share: float) -> str:
        now = session.between(first, second, share)
        unknown = session.unknown_words(first, second)
        return pieces.sentence(now, session.reconstructed(first), unknown) + pieces.way(
            session.way(first, second), share
        )

    with gr.Row():
        boxes = [_box(gr, "First sentence", first), _box(gr, "Second sentence", second)]
    share = gr.Slider(0, 1, 0, step=0.01, label="From the first to the second", buttons=[])
    shown = _piece(gr, _plainly(show)(first, second, 0), elem_id="between")
    for happens in (*(box.change for box in boxes), share.input):
        happens(_plainly(show), [*boxes, share], shown, **LIVE)


def _dimensions(gr: Any, session: Session) -> None:
    text, dimensions = _examples(session)[0], session.dimensions

    def show(text: str, *values: float) -> str:
        # Sliders are rounded: one that was not moved leaves the sentence's own value.
        moved = {
            dimension.index: value
            for dimension, value, own in zip(
                dimensions, values, _rounded(session, text), strict=True
            )
            if value != own
        }
        return pieces.sentence(
            session.moved(text, moved), session.reconstructed(text), session.unknown_words(text)
        )

    def begin(text: str) -> list[Any]:
        try:
            values = _rounded(session, text)
        except ValueError as error:
            return [pieces.fault(str(error)), *(gr.skip() for _ in dimensions)]
        return [show(text, *values), *values]

    box = _box(gr, "Sentence", text)
    sliders = []
    for first in range(0, len(dimensions), 2):
        with gr.Row():
            for at in range(first, min(first + 2, len(dimensions))):
                found = dimensions[at]
                sliders.append(
                    gr.Slider(
                        found.low,
                        found.high,
                        _rounded(session, text)[at],
                        step=0.05,
                        label=f"Dimension {found.index}: {found.kl:.2f} nats",
                        buttons=[],
                    )
                )
    back = _button(gr, "Back to the sentence")
    shown = _piece(gr, begin(text)[0], elem_id="moved")
    for slider in sliders:
        slider.input(_plainly(show), [box, *sliders], shown, **LIVE)
    for happens in (box.change, back.click):
        happens(begin, box, [shown, *sliders], **LIVE)


def _map(gr: Any, session: Session) -> None:
    texts = session.sentences.texts

    def show(text: str) -> tuple[str, Any]:
        found = session.near(text)
        listed = pieces.neighbours(text, found, session.unknown_words(text))
        return listed, gr.HTML(near=[each.position for each in found])

    def clicked(event: Any) -> tuple[str, Any]:
        position = event._data.get("position")
        if not isinstance(position, int) or not 0 <= position < len(texts):
            return pieces.fault("there is no such sentence on the map"), gr.skip()
        return show(texts[position])

    def typed(text: str) -> tuple[str, Any]:
        try:
            return show(text)
        except ValueError as error:
            return pieces.fault(str(error)), gr.skip()

    # Gradio gives the event to an argument of this class, which it looks up at run time.
    clicked.__annotations__["event"] = gr.EventData
    _piece(
        gr,
        f'<p class="quiet">Posterior means of {len(texts):,} sentences, along the two directions '
        f"in which they differ most: {session.explained:.0%} of their variance. "
        "Click one for its neighbours.</p>",
    )
    with gr.Row():
        with gr.Column(scale=3):
            picture = _piece(
                gr,
                _picture(session),
                html_template=_asset("map.html"),
                js_on_load=_asset("map.js"),
                near=[],
                elem_id="map",
            )
        with gr.Column(scale=2):
            box = _box(gr, "Or type a sentence, and press Enter", "")
            shown = _piece(gr, "", elem_id="near")
    picture.ask(clicked, None, [shown, picture], **LIVE)
    box.submit(typed, box, [shown, picture], **LIVE)


def _picture(session: Session) -> dict[str, Any]:
    """What the map's script draws."""
    found = session.map_of(session.sentences.texts)
    return {
        "points": [[round(x, 4), round(y, 4)] for x, y in found.points],
        "texts": list(session.sentences.texts),
        "colours": {
            "KL": [round(kl, 3) for kl in found.kl],
            "length": found.lengths,
            **session.sentences.labels,
        },
    }


def _samples(gr: Any, session: Session) -> None:
    def show(number: float, strategy: str, temperature: float, seed: float) -> str:
        return pieces.listed(
            session.samples(number, strategy=strategy, temperature=temperature, seed=seed)
        )

    with gr.Row():
        number = gr.Slider(1, MAX_SAMPLES, 10, step=1, label="How many", buttons=[])
        temperature = gr.Slider(
            *TEMPERATURES, 1, step=0.05, label="Temperature, if sampled", buttons=[]
        )
    with gr.Row():
        strategy = gr.Radio(list(STRATEGIES), value="sample", label="Words are chosen by")
        seed = gr.Number(0, precision=0, minimum=0, maximum=MAX_SEED, label="Seed")
    draw = _button(gr, "Draw from the prior")
    inputs = [number, strategy, temperature, seed]
    shown = gr.HTML(_plainly(show)(10, "sample", 1.0, 0), elem_classes="answer", elem_id="samples")
    draw.click(_plainly(show), inputs, shown, **IN_TURN)
    temperature.input(_plainly(show), inputs, shown, **LIVE)


def _diagnosis(gr: Any, session: Session) -> None:
    command = f"textvae diagnose {shlex.quote(session.name)}"

    def show() -> str:
        return pieces.diagnosis(session.diagnosis(), command)

    start = _button(gr, "Measure")
    shown = _piece(
        gr,
        '<p class="quiet">Whether the posterior has collapsed, by the sentences of the map. '
        "It takes some seconds.</p>",
        elem_id="diagnosis",
    )
    start.click(_plainly(show), None, shown, **IN_TURN)


def _plainly(make: Callable[..., str]) -> Callable[..., str]:
    """What it makes; what is wrong with the input instead, where something is."""

    @wraps(make)
    def answer(*inputs: Any) -> str:
        try:
            return make(*inputs)
        except ValueError as error:
            return pieces.fault(str(error))

    return answer


def _rounded(session: Session, text: str) -> list[float]:
    """A sentence's own values, as sliders can show them."""
    return [round(round(value / 0.05) * 0.05, 2) for value in session.values(text)]


def _examples(session: Session) -> tuple[str, str]:
    found = readable(session.sentences.texts)
    return found[0], found[-1]


def _box(gr: Any, label: str, value: str) -> Any:
    # A little more than is allowed, so that too much is said rather than cut.
    return gr.Textbox(value, label=label, lines=1, max_lines=4, max_length=1200)


def _button(gr: Any, label: str) -> Any:
    with gr.Row():
        return gr.Button(label, variant="primary", size="md", scale=0, min_width=220)


def _facts(session: Session) -> list[str]:
    number = len(session.sentences.texts)
    return [
        f"z of {session.model.latent_dim}, KL {session.kl:.2f} nats",
        f"{number:,} sentences of {session.sentences.name}"
        if session.sentences.name != "sentences of its own"
        else f"{number:,} {session.sentences.name}",
    ]


def _notice(session: Session) -> str:
    collapsed = (
        "This model has collapsed: z says next to nothing, so sentences hardly change with it."
        if session.kl < COLLAPSED_KL
        else ""
    )
    return " ".join(part for part in (session.notice, collapsed) if part)


def _theme() -> Any:
    gr = _gradio()
    accent = gr.themes.Color(*SHADES.split(), name="accent")
    fonts = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "sans-serif")
    theme = gr.themes.Base(
        primary_hue=accent,
        secondary_hue=accent,
        neutral_hue=gr.themes.colors.gray,
        font=fonts,
        font_mono=("ui-monospace", "Consolas", "monospace"),
    )
    return theme.set(
        block_background_fill="transparent",
        block_background_fill_dark="transparent",
        block_border_width="0px",
        block_border_width_dark="0px",
        block_padding="0px",
        layout_gap="1.75rem",
        form_gap_width="1.75rem",
        border_color_primary_dark="*neutral_700",
    )


def _asset(name: str) -> str:
    return (resources.files("textvae.explore") / name).read_text(encoding="utf-8")


def _gradio() -> Any:
    try:
        import gradio
    except ImportError:
        raise ImportError('the page needs gradio: pip install "textvae[demo]"') from None
    return gradio
