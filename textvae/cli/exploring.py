"""`textvae explore`: a page in the browser."""

from __future__ import annotations

from jsonargparse import ArgumentParser, Namespace

from textvae.cli.command import Command, add_run, say

__all__ = ["COMMANDS"]


def _explore(options: Namespace) -> None:
    from textvae import explore

    explore.check_address(options.host, options.port)
    session = explore.open_session(
        options.run,
        options.corpus,
        data_dir=options.data_dir,
        num_sentences=options.num_sentences,
    )
    explore.serve(
        session,
        host=options.host,
        port=options.port,
        on_ready=lambda address: say(f"the page is at {address} (Ctrl-C ends it)"),
    )


def _explore_arguments(parser: ArgumentParser) -> None:
    add_run(parser)
    add = parser.add_argument
    add(
        "--corpus",
        type=str | None,
        help="sentences of the map: file, directory, grammar, ptb, or a hub id (default: held-out "
        "ones of the run's own corpus)",
    )
    add("--data-dir", type=str | None, help="where the corpus is now (default: where it was)")
    add("--host", type=str, default="127.0.0.1", help="address to listen at; 0.0.0.0 for all")
    add("--port", type=int, default=7860, help="port to listen at")
    add("--num-sentences", type=int, default=2000, help="most sentences of the map")


COMMANDS = (
    Command(
        "explore",
        "a page to explore the latent space: slide, move dimensions, map, samples",
        _explore_arguments,
        _explore,
    ),
)
