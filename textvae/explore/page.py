"""The page: gradio's own components over one `Session`.

It asks no other host for anything: no analytics, no fonts or scripts from elsewhere, no public
link. Visitors are served in turn. What is computed is `Session`'s.
"""

from __future__ import annotations

import re
import shlex
import socket
import threading
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from functools import wraps
from importlib import resources
from typing import Any

from textvae.checks import InputError
from textvae.diagnostics import COLLAPSED_KL
from textvae.explore.session import MAX_NEIGHBOURS, MAX_SAMPLES, MAX_SEED, TEMPERATURES, Session
from textvae.generation import STRATEGIES
from textvae.recipes.examples import readable
from textvae.report.text import figures_row

IN_TURN: dict[str, Any] = {
    "concurrency_id": "model",
    "concurrency_limit": 1,
    "api_visibility": "private",
}
"""Of every event: one at a time for all visitors, and no one but the page asks."""

LIVE: dict[str, Any] = {"trigger_mode": "always_last", "show_progress": "hidden", **IN_TURN}
"""Of events that follow a hand: what came in the meantime is answered by the last."""

LIVE_RENDER = {name: value for name, value in LIVE.items() if name != "api_visibility"}

MAX_WAITING = 64
"""Events in the queue; a page that asks for more is told to wait."""

NEIGHBOURS = "neighbours"
NOTHING = "(an empty sentence)"
NOT_MEASURED = ("NLL", "PPL")
COLORS = {"new": "#4679b6", "other": "#b0b0b0", "near": "#2079bb", "asked": "#d55e00"}
ORDER = {name: order for order, name in enumerate(COLORS)}


def check_address(host: str, port: int) -> None:
    """Raise what `serve` would raise before a model is loaded.

    Args:
        host: Address to listen at.
        port: From 1 to 65535.

    Raises:
        ImportError: If gradio is not installed.
        InputError: If the port is outside its range.
        OSError: If the host is not this machine's, or the port is taken.
    """
    _gradio()
    if not 1 <= port <= 65535:
        raise InputError(f"port must be from 1 to 65535, got {port}")
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
    """Show the page until Ctrl-C, which raises KeyboardInterrupt with the server closed.

    Args:
        session: What to show.
        host: Address to listen at; by default only this machine can reach it.
        port: Where to listen.
        on_ready: Told the page's address once it can be opened.
    """
    gr, page = _gradio(), build(session)
    page.queue(max_size=MAX_WAITING, api_open=False, default_concurrency_limit=1)
    fonts = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "sans-serif")
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
            theme=gr.themes.Base(primary_hue="blue", font=fonts, font_mono=fonts),
            css=(resources.files("textvae.explore") / "page.css").read_text(encoding="utf-8"),
        )
        if on_ready is not None:
            on_ready(address)
        threading.Event().wait()
    finally:
        page.close(verbose=False)


def build(session: Session) -> Any:
    """The page's widgets as gradio's `Blocks`, not shown yet."""
    gr = _gradio()
    tabs = {
        "Between two sentences": _between,
        "Dimensions": _dimensions,
        "Map": _map,
        "Samples": _samples,
        "Diagnosis": _diagnosis,
    }
    with gr.Blocks(analytics_enabled=False, title=f"{session.name} – textvae") as page:
        gr.Markdown(_heading(session))
        for name, fill in tabs.items():
            with gr.Tab(name):
                fill(gr, page, session)
    return page


def _heading(session: Session) -> str:
    name, number = session.sentences.name, len(session.sentences.texts)
    kl = sum(session.kl) / number
    of = "" if name == "sentences of its own" else "sentences of "
    facts = f"z of {session.model.latent_dim}, KL {kl:.2f} nats, {number:,} {of}{name}"
    collapsed = (
        "This model has collapsed: z says next to nothing, so sentences hardly change with it."
    )
    notices = [session.notice, collapsed if kl < COLLAPSED_KL else ""]
    lines = [facts, *(notice for notice in notices if notice)]
    return "\n\n".join([f"# {_escaped(session.name)}", *map(_escaped, lines)])


def _escaped(text: str) -> str:
    """Text that Markdown takes for nothing else."""
    return re.sub(r"([^\w\s,.:;'’–−]|_)", r"\\\1", " ".join(text.split()))


def _between(gr: Any, page: Any, session: Session) -> None:
    first, *_, second = readable(session.sentences.texts) * 2

    def show(first: str, second: str, share: float) -> list[Any]:
        now, path = session.between(first, second, share), session.path(first, second)
        here = round(share * (len(path) - 1))
        rows = [
            ["→" if at == here else "", f"{at / (len(path) - 1):.2f}", text or NOTHING]
            for at, text in enumerate(path)
        ]
        unknown = session.unknown_words(first, second)
        return [_sentence(gr, now, session.reconstructed(first), unknown), rows]

    with gr.Row():
        boxes = [_box(gr, "First sentence", first), _box(gr, "Second sentence", second)]
    share = gr.Slider(0, 1, 0, step=0.01, label="From the first to the second", buttons=[])
    shown, path = _empty_sentence(gr, "between"), _table(gr, ["", "share", "sentence"], [8, 17, 75])
    triggers = [page.load, *(box.change for box in boxes), share.input]
    gr.on(triggers, _told(gr, show, 2), [*boxes, share], [shown, path], **LIVE)


def _dimensions(gr: Any, page: Any, session: Session) -> None:
    text, dimensions = readable(session.sentences.texts)[0], session.dimensions

    def rounded(text: str) -> list[float]:
        """A sentence's own values, as sliders can show them."""
        return [round(round(value / 0.05) * 0.05, 2) for value in session.values(text)]

    def show(text: str, *values: float) -> list[Any]:
        # Sliders are rounded: one that was not moved leaves the sentence's own value.
        own = zip(dimensions, values, rounded(text), strict=True)
        moved = session.moved(text, {d.index: value for d, value, old in own if value != old})
        return [_sentence(gr, moved, session.reconstructed(text), session.unknown_words(text))]

    def begin(text: str) -> list[Any]:
        values = rounded(text)
        return [*show(text, *values), *values]

    box = _box(gr, "Sentence", text)
    with gr.Row():
        sliders = [
            gr.Slider(
                found.low,
                found.high,
                value,
                step=0.05,
                min_width=280,
                label=f"Dimension {found.index}: {found.kl:.2f} nats",
                buttons=[],
            )
            for found, value in zip(dimensions, rounded(text), strict=True)
        ]
    back = gr.Button("Back to the sentence")
    shown = _empty_sentence(gr, "moved")
    moves = [slider.input for slider in sliders]
    gr.on(moves, _told(gr, show, 1), [box, *sliders], shown, **LIVE)
    starts, outputs = [page.load, box.change, back.click], [shown, *sliders]
    gr.on(starts, _told(gr, begin, len(outputs)), box, outputs, **LIVE)


def _map(gr: Any, page: Any, session: Session) -> None:
    import pandas as pd

    texts, (x, y) = session.sentences.texts, session.points.T.tolist()
    labels = {
        "KL": [round(kl, 3) for kl in session.kl],
        "length": session.lengths,
        **session.sentences.labels,
    }

    def ask(text: str) -> list[Any]:
        rows = [[f"{each.distance:.2f}", each.text] for each in session.near(text)]
        return [_sentence(gr, text, "", session.unknown_words(text)), rows, text, NEIGHBOURS]

    def chosen(event: Any) -> list[Any]:
        return _told(gr, ask, 4)(str(event.row_value[-1]))

    def marked(event: Any) -> list[list[str]]:
        low, high = event.index
        inside = [at for at in range(len(texts)) if low <= x[at] <= high]
        inside.sort(key=lambda at: -y[at])
        return [["", texts[at]] for at in inside[:MAX_NEIGHBOURS]]

    # Gradio gives the event to an argument of this class, which it looks up at run time.
    for listener in (chosen, marked):
        listener.__annotations__["event"] = gr.SelectData
    gr.Markdown(
        f"Posterior means of {len(texts):,} sentences, along the two directions in which they "
        f"differ most: {session.explained:.0%} of their variance. Mark a part of the map to list "
        "its sentences; click a listed one for its neighbours."
    )
    text = gr.State(readable(texts)[0])
    with gr.Row():
        with gr.Column(scale=3, min_width=280):
            color = gr.Radio([NEIGHBOURS, *labels], value=NEIGHBOURS, label="Colour")

            @gr.render([color, text], **LIVE_RENDER)
            def draw(color: str, text: str) -> None:
                points = pd.DataFrame({"x": x, "y": y, "sentence": texts})
                if color in labels:
                    points["color"] = labels[color]
                else:
                    points["color"] = _nearness(session, text)
                    # Drawn in this order: what was asked for comes on top.
                    points = points.sort_values("color", key=lambda names: names.map(ORDER))
                plot = gr.ScatterPlot(
                    points,
                    x="x",
                    y="y",
                    color="color",
                    color_title=color,
                    color_map=None if color in labels else COLORS,
                    x_title=" ",
                    y_title=" ",
                    tooltip=["sentence"],
                    height=440,
                    show_label=False,
                    elem_id="map",
                )
                plot.select(marked, None, listed, **LIVE)

        with gr.Column(scale=2, min_width=280):
            box = _box(gr, "Sentence: press Enter for its neighbours", readable(texts)[0])
            asked = _empty_sentence(gr, "asked")
            listed = _table(gr, ["distance", "sentence"], [30, 70])
    outputs = [asked, listed, text, color]
    gr.on([page.load, box.submit], _told(gr, ask, 4), box, outputs, **LIVE)
    listed.select(chosen, None, outputs, **LIVE)


def _nearness(session: Session, text: str) -> list[str]:
    """Of each sentence of the map: asked for, near that, or another."""
    texts = session.sentences.texts
    found = ["asked" if each == text.strip() else "other" for each in texts]
    for each in session.near(text):
        found[each.position] = "near"
    return found


def _samples(gr: Any, page: Any, session: Session) -> None:
    def show(number: float, strategy: str, temperature: float, seed: float) -> list[list[str]]:
        texts = session.samples(number, strategy=strategy, temperature=temperature, seed=seed)
        return [[text or NOTHING] for text in texts]

    def told(*inputs: Any) -> list[list[str]]:
        try:
            return show(*inputs)
        except InputError as error:
            raise gr.Error(str(error)) from None

    with gr.Row():
        number = gr.Slider(1, MAX_SAMPLES, 10, step=1, label="How many", buttons=[])
        low, high = TEMPERATURES
        temperature = gr.Slider(
            low, high, 1, step=0.05, label="Temperature, if sampled", buttons=[]
        )
    with gr.Row():
        strategy = gr.Radio(list(STRATEGIES), value="sample", label="Words are chosen by")
        seed = gr.Number(0, precision=0, minimum=0, maximum=MAX_SEED, label="Seed")
    draw = gr.Button("Draw from the prior", variant="primary")
    shown, inputs = _table(gr, ["sentence"], [100]), [number, strategy, temperature, seed]
    gr.on([page.load, draw.click, temperature.input], told, inputs, shown, **LIVE)


def _diagnosis(gr: Any, page: Any, session: Session) -> None:
    import pandas as pd

    command = f"textvae diagnose {shlex.quote(session.name)}"

    def show() -> list[Any]:
        try:
            found = session.diagnosis()
        except InputError as error:
            raise gr.Error(str(error)) from None
        verdict, elbo = found.verdict, found.elbo
        words = (
            f"## {verdict.verdict}\n\n{_escaped(verdict.explanation)}\n\n"
            f"Next: {_escaped(verdict.advice)}\n\nOf {elbo.num_sentences:,} sentences, nats per "
            f"sentence, without the importance-weighted NLL; in full: {_escaped(command)}"
        )
        figures = {k: v for k, v in figures_row(found).items() if k not in NOT_MEASURED}
        order = sorted(range(len(elbo.kl_per_dim)), key=lambda d: -elbo.kl_per_dim[d])
        kl = [elbo.kl_per_dim[d] for d in order]
        bars = pd.DataFrame({"dimension": [str(d) for d in order], "KL": kl})
        table = gr.Dataframe([list(figures.values())], headers=list(figures), visible=True)
        return [words, table, gr.BarPlot(bars, sort=bars["dimension"].tolist(), visible=True)]

    start = gr.Button("Measure", variant="primary")
    words = gr.Markdown(
        "Whether the posterior has collapsed, by the sentences of the map. It takes some seconds.",
        elem_id="diagnosis",
    )
    table = gr.Dataframe(interactive=False, visible=False, show_label=False, elem_id="figures")
    bars = gr.BarPlot(
        x="dimension",
        y="KL",
        y_title="KL, nats",
        y_lim=[0, None],
        visible=False,
        height=300,
        show_label=False,
    )
    start.click(show, None, [words, table, bars], **IN_TURN)


def _told(gr: Any, make: Callable[..., list[Any]], outputs: int) -> Callable[..., Any]:
    """What it makes; where the input can't be used, why, in place of the first output."""

    @wraps(make)
    def answer(*inputs: Any) -> Any:
        try:
            made = make(*inputs)
        except InputError as error:
            made = [gr.HighlightedText([], label=str(error)), *[gr.skip()] * (outputs - 1)]
        return made if outputs > 1 else made[0]

    return answer


def _sentence(gr: Any, text: str, before: str = "", unknown: Sequence[str] = ()) -> Any:
    """A sentence: words that `before` does not have there in colour, words read as `<unk>` told."""
    label = f"Not in the vocabulary, read as <unk>: {' '.join(unknown)}" if unknown else "Sentence"
    return gr.HighlightedText(_marked(text, before) or [(NOTHING, None)], label=label)


def _marked(text: str, before: str) -> list[tuple[str, str | None]]:
    """The text in runs of words, those marked as new that `before` does not have there."""
    new, old = text.split(), before.split()
    if not old:
        return [(text, None)] if new else []
    return [
        (" ".join(new[begin:end]), None if kind == "equal" else "new")
        for kind, _, _, begin, end in SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
        if end > begin
    ]


def _empty_sentence(gr: Any, name: str) -> Any:
    return gr.HighlightedText(
        color_map=COLORS,
        show_inline_category=False,
        show_whitespaces=False,
        label="Sentence",
        elem_id=name,
        elem_classes="sentence",
    )


def _table(gr: Any, headers: list[str], widths: list[int]) -> Any:
    return gr.Dataframe(
        headers=headers,
        column_widths=[f"{width}%" for width in widths],
        datatype="str",
        type="array",
        interactive=False,
        wrap=True,
        show_label=False,
        buttons=[],
    )


def _box(gr: Any, label: str, value: str) -> Any:
    # A little more than is allowed, so that too much is said rather than cut.
    return gr.Textbox(value, label=label, lines=1, max_lines=4, max_length=1200, min_width=280)


def _gradio() -> Any:
    try:
        import gradio
    except ImportError:
        raise ImportError('the page needs gradio: pip install "textvae[demo]"') from None
    return gradio
