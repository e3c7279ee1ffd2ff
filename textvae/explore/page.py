"""The page: gradio's own components over one `Session`, whose is what is computed."""

import re
import shlex
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from functools import lru_cache, wraps
from typing import Any

from textvae.checks import imported
from textvae.diagnostics import COLLAPSED_KL
from textvae.explore.session import MAX_SAMPLES, MAX_SEED, SLIDER_STEP, Session
from textvae.generation import STRATEGIES
from textvae.recipes import lively_path, readable
from textvae.report.text import figures_row, markdown

# Of every event: one for all visitors at a time; the last of a hand's movement is answered.
LIVE: dict[str, Any] = {
    "concurrency_id": "model",
    "concurrency_limit": 1,
    "trigger_mode": "always_last",
    "show_progress": "hidden",
}
NEIGHBOURS = "neighbours"
NOTHING = "(an empty sentence)"
COLLAPSED = "This model has collapsed: z says next to nothing, so sentences hardly change with it."
COLORS = {"new": "#4679b6", "other": "#b0b0b0", "near": "#2079bb", "asked": "#d55e00"}
TABLE = {"type": "array", "interactive": False, "wrap": True, "show_label": False, "buttons": []}


def build(session: Session) -> Any:
    """The page's widgets as gradio's `Blocks`, not shown yet."""
    gr = gradio()
    tabs = {"Path": _between, "Dimensions": _dimensions, "Map": _map}
    tabs |= {"Samples": _samples, "Diagnosis": _diagnosis}
    with gr.Blocks(analytics_enabled=False, title=f"{session.name} – textvae") as page:
        gr.Markdown(_heading(session))
        for name, fill in tabs.items():
            with gr.Tab(name) as tab:
                # What takes seconds waits until it is looked at.
                fill(gr, tab.select if fill is _diagnosis else page.load, session)
    return page


def _heading(session: Session) -> str:
    name, number = session.sentences.name, len(session.sentences.texts)
    kl = sum(session.kl) / number
    about = f"z of {session.model.latent_dim}, KL {kl:.2f} nats, {number:,} sentences of {name}"
    lines = [about, session.sentences.notice, COLLAPSED if kl < COLLAPSED_KL else ""]
    return "\n\n".join([f"# {_escaped(session.name)}", *map(_escaped, filter(None, lines))])


def _escaped(text: str) -> str:
    """Text that Markdown takes for nothing else."""
    return re.sub(r"([^\w\s,.:;'’–−]|_)", r"\\\1", " ".join(text.split()))


def _between(gr: Any, begins: Any, session: Session) -> None:
    texts, _ = lively_path(session.model, readable(session.sentences.texts))
    first, second = texts[0], texts[-1]

    def show(first: str, second: str, share: float) -> list[Any]:
        shares = [0.0, 0.25, 0.5, 0.75, 1.0]
        now, *path = session.between(first, second, share, *shares)
        rows = [["", f"{at:.2f}", text or NOTHING] for at, text in zip(shares, path, strict=True)]
        rows[round(share * 4)][0] = "→"
        return [_sentence(session, now, first, second), rows]

    with gr.Row():
        boxes = [_box(gr, "First sentence", first), _box(gr, "Second sentence", second)]
    told = "From the first (0: its reconstruction) to the second"
    share = gr.Slider(0, 1, 0, step=0.01, label=told, buttons=[])
    shown = [_sentence_box(gr, "between"), _table(gr, ["", "share", "sentence"], [8, 17, 75])]
    happens = [begins, share.input, *(box.change for box in boxes)]
    _on(gr, happens, show, [*boxes, share], shown)


def _dimensions(gr: Any, begins: Any, session: Session) -> None:
    names = session.model.labels.values

    def show(text: str, *moves: Any) -> Any:
        told, sliders = moves[: len(names)], moves[len(names) :]
        return _sentence(session, session.moved(text, sliders, told), text)

    def begin(text: str) -> list[Any]:
        values = [*session.told(text), *session.sliders(text)]
        return [show(text, *values), *values]

    box = _box(gr, "Sentence", readable(session.sentences.texts)[0])
    shown = _sentence_box(gr, "moved")
    look = {"step": SLIDER_STEP, "min_width": 280, "buttons": []}
    with gr.Row(visible=bool(names)):
        labels = [gr.Dropdown(values, label=name) for name, values in names.items()]
    with gr.Row():
        sliders = [
            gr.Slider(low, high, label=f"Dimension {d}: {kl:.2f} nats", **look)
            for d, kl, low, high in session.dimensions
        ]
    back = gr.Button("Back to the sentence")
    moves = [*labels, *sliders]
    _on(gr, [move.input for move in moves], show, [box, *moves], shown)
    _on(gr, [begins, box.change, back.click], begin, box, [shown, *moves])


def _points(session: Session, label: Sequence[Any] | None, text: str) -> Any:
    """A data frame of the map, coloured by a label, or by what is near a sentence."""
    import pandas as pd

    x, y = session.points.T.tolist()
    points = pd.DataFrame({"x": x, "y": y, "sentence": session.sentences.texts, "color": label})
    if label is None:
        points["color"] = "other"
        points.loc[[each.position for each in session.near(text)], "color"] = "near"
        points.loc[points["sentence"] == text.strip(), "color"] = "asked"
        # What was asked for is drawn last, on top.
        points = points.sort_values("color", key=lambda names: names.map([*COLORS].index))
    return points


def _map(gr: Any, begins: Any, session: Session) -> None:
    texts, (x, y) = session.sentences.texts, session.points.T.tolist()
    kl = [round(each, 3) for each in session.kl]
    labels: dict[str, Any] = {"KL": kl, "length": session.lengths, **session.sentences.labels}

    def ask(text: str) -> list[Any]:
        rows = [[f"{each.distance:.2f}", each.text] for each in session.near(text)]
        return [rows, text, text, NEIGHBOURS]

    def chosen(event: Any) -> list[Any]:
        return ask(str(event.row_value[-1]))

    def marked(event: Any) -> list[list[str]]:
        low, high = event.index
        inside = sorted((-y[at], at) for at in range(len(texts)) if low <= x[at] <= high)
        return [["", texts[at]] for _, at in inside[:50]]

    # Gradio gives the event to an argument of this class, which it looks up at run time.
    for listener in (chosen, marked):
        listener.__annotations__["event"] = gr.SelectData
    gr.Markdown(
        f"Posterior means of {len(texts):,} sentences, along the two directions in which they "
        f"differ most: {session.explained:.0%} of their variance. Mark a part of the map to list "
        "its sentences; click a listed one for its neighbours."
    )
    asked = gr.State(readable(texts)[0])
    with gr.Row():
        with gr.Column(scale=3, min_width=280):
            color = gr.Radio([NEIGHBOURS, *labels], value=NEIGHBOURS, label="Colour")

            look: dict[str, Any] = {"x_title": " ", "y_title": " ", "tooltip": ["sentence"]}
            look |= {"height": 440, "show_label": False, "elem_id": "map"}

            @gr.render([color, asked], **LIVE)  # type: ignore[untyped-decorator]
            def draw(color: str, text: str) -> None:
                points = _points(session, labels.get(color), text)
                colors = {"color_title": color, "color_map": None if color in labels else COLORS}
                plot = gr.ScatterPlot(points, "x", "y", color="color", **colors, **look)
                _on(gr, [plot.select], marked, None, listed)

        with gr.Column(scale=2, min_width=280):
            box = _box(gr, "Sentence: press Enter for its neighbours", readable(texts)[0])
            listed = _table(gr, ["distance", "sentence"], [30, 70])
    outputs = [listed, box, asked, color]
    _on(gr, [begins, box.submit], ask, box, outputs)
    _on(gr, [listed.select], chosen, None, outputs)


def _samples(gr: Any, begins: Any, session: Session) -> None:
    def show(*options: Any) -> list[list[str]]:
        return [[text or NOTHING] for text in session.samples(*options)]

    with gr.Row():
        number = gr.Slider(1, MAX_SAMPLES, 10, step=1, label="How many", buttons=[])
        heat = gr.Slider(0.1, 2, 1, step=0.05, label="Temperature, if sampled", buttons=[])
    with gr.Row():
        strategy = gr.Radio(list(STRATEGIES), value="sample", label="Words are chosen by")
        seed = gr.Number(0, precision=0, minimum=0, maximum=MAX_SEED, label="Seed")
    draw = gr.Button("Draw from the prior", variant="primary")
    shown = _table(gr, ["sentence"], [100])
    _on(gr, [begins, draw.click, heat.input], show, [number, strategy, heat, seed], shown)


def _diagnosis(gr: Any, begins: Any, session: Session) -> None:
    import pandas as pd

    def show() -> list[Any]:
        found = session.diagnosis
        verdict, elbo = found.verdict, found.elbo
        command = _escaped(f"textvae diagnose {shlex.quote(session.name)}")
        row = figures_row(found).items()
        figures = [{"figure": k, "value": v} for k, v in row if k not in ("NLL", "PPL")]
        words = (
            f"## {verdict.verdict}\n\n{_escaped(verdict.explanation)}\n\n"
            f"Next: {_escaped(verdict.advice)}\n\nOf {elbo.num_sentences:,} sentences, nats per "
            f"sentence, without the importance-weighted NLL; in full: {command}\n\n"
            f"{markdown(figures)}"
        )
        kl = sorted(((value, str(d)) for d, value in enumerate(elbo.kl_per_dim)), reverse=True)
        bars = pd.DataFrame(kl, columns=["KL", "dimension"])
        return [words, gr.BarPlot(bars, sort=[name for _, name in kl], visible=True)]

    words = gr.Markdown("Measuring on the sentences of the map …", elem_id="diagnosis")
    bars = gr.BarPlot(
        x="dimension", y="KL", y_title="KL, nats", y_lim=[0, None], visible=False, show_label=False
    )
    _on(gr, [begins], show, None, [words, bars])


def _on(gr: Any, events: list[Any], make: Callable[..., Any], inputs: Any, outputs: Any) -> None:
    """Have events make outputs of inputs; where these can't be used, say why."""
    answers = lru_cache(maxsize=64)(make)  # all visitors' pages start alike

    @wraps(make)
    def made(*given: Any) -> Any:
        try:
            return answers(*given)
        except (ValueError, TypeError, LookupError) as error:  # of selections, a browser's word
            raise gr.Error(str(error), duration=4, print_exception=False) from None

    gr.on(events, made, inputs, outputs, api_visibility="private", **LIVE)


def _sentence_box(gr: Any, name: str) -> Any:
    look = {"show_inline_category": False, "show_whitespaces": False, "show_label": False}
    return gr.HighlightedText(color_map=COLORS, elem_id=name, elem_classes="sentence", **look)


def _sentence(session: Session, text: str, *asked: str) -> list[tuple[str, str | None]]:
    """A sentence in parts: those are new that the reconstruction of the first asked has not."""
    new, old = text.split(), session.reconstructed(asked[0]).split()
    parts: list[tuple[str, str | None]] = [
        (" ".join(new[begin:end]), None if kind == "equal" else "new")
        for kind, _, _, begin, end in SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
        if end > begin
    ]
    if unknown := session.unknown_words(*asked):
        return [*parts, (f"(read as <unk>: {' '.join(unknown)})", "other")]
    return parts or [(NOTHING, None)]


def _table(gr: Any, headers: list[str], widths: list[int]) -> Any:
    return gr.Dataframe(headers=headers, column_widths=[f"{w}%" for w in widths], **TABLE)


def _box(gr: Any, label: str, value: str) -> Any:
    # A little more than is allowed, so that too much is said rather than cut.
    return gr.Textbox(value, label=label, lines=1, max_lines=4, max_length=1200, min_width=280)


def gradio() -> Any:
    """Gradio, or what to install."""
    return imported("gradio", 'the page needs gradio: pip install "textvae[demo]"')
