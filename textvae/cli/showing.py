"""Commands that show: `textvae schedules`, a table or a picture, and `textvae explore`, a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from textvae.annealers import ANNEALERS
from textvae.cli.command import Run, say

NAMES = f"{', '.join(ANNEALERS)} (all these if none is named) or vae-annealing"


def schedules(
    annealers: Annotated[Sequence[str], NAMES] = (),
    *,
    figure: Annotated[str | None, "a set: shapes, cyclical, switching or example"] = None,
    plot: Annotated[str | None, "picture to write: .png, .svg or .pdf"] = None,
    steps: Annotated[int, "how many steps (or epochs) are taken"] = 100,
    warmup_steps: Annotated[int | None, "until full weight (default: 4/5 of the steps)"] = None,
    max_beta: Annotated[float, "full weight; that of vae-annealing is 1"] = 1.0,
    num_cycles: Annotated[int, "how many cycles fill the warm-up"] = 4,
    cycle_ratio: Annotated[float, "part of a cycle spent rising"] = 0.5,
) -> None:
    """Show the KL weight of any annealers: a table, or a picture."""
    from textvae.report import pictures
    from textvae.report import schedules as drawn

    if plot is not None:
        pictures.checked_path(plot)
    title, panels = drawn.drawing(
        annealers,
        figure,
        warmup_steps=steps * 4 // 5 if warmup_steps is None else warmup_steps,
        max_beta=max_beta,
        num_cycles=num_cycles,
        cycle_ratio=cycle_ratio,
    )
    if plot is None:
        print(drawn.listing(panels, steps, title=title))
    else:
        drawn.picture(plot, panels, steps, title=title)
        say(f"{plot} written")


def explore(
    run: Run,
    *,
    corpus: Annotated[
        str | None,
        "sentences of the map: file, directory, grammar, ptb, or a hub id (default: held-out "
        "ones of the run's own corpus)",
    ] = None,
    data_dir: Annotated[str | None, "where the corpus is now (default: where it was)"] = None,
    host: Annotated[str, "address to listen at; 0.0.0.0 for all"] = "127.0.0.1",
    port: Annotated[int, "port to listen at"] = 7860,
    num_sentences: Annotated[int, "most sentences of the map"] = 2000,
) -> None:
    """A page to explore the latent space: slide, move dimensions, map, samples."""
    from textvae import explore

    explore.check_address(host, port)
    session = explore.open_session(run, corpus, data_dir=data_dir, num_sentences=num_sentences)
    explore.serve(
        session,
        host=host,
        port=port,
        on_ready=lambda address: say(f"the page is at {address} (Ctrl-C ends it)"),
    )
