"""Matplotlib in nobody's style but ours: `require_matplotlib`, and `drawn_in` for a style.

What is common to the pictures in files and those of a page stands in `COMMON`; each kind adds its
own settings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

__all__ = ["COMMON", "drawn_in", "require_matplotlib"]

COMMON: Mapping[str, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "textvae",  # else names inside an SVG are drawn by lot
}


def require_matplotlib() -> None:
    """Raise if there is nothing to draw with.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ImportError(
            'pictures need matplotlib, which is not installed: pip install "textvae[plot]"'
        ) from None


@contextmanager
def drawn_in(style: Mapping[str, Any]) -> Iterator[None]:
    """Draw with `COMMON` and a style, whatever the settings of the user or of the program around.

    Args:
        style: Matplotlib's settings (rcParams), by name.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    require_matplotlib()
    import matplotlib

    settings: Any = {**COMMON, **style}
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(settings)
        yield
