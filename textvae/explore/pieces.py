"""Pieces of HTML, every text escaped: sentences, lists of them, a fault, a diagnosis.

What a model or a corpus says must reach the page as it is written, whatever it is. Besides HTML's
own characters, those of the page's template language are escaped too.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from difflib import SequenceMatcher

from textvae.diagnostics import Diagnosis
from textvae.generation import Neighbour
from textvae.report.diagnosis import figures_row

__all__ = ["diagnosis", "escaped", "fault", "heading", "listed", "neighbours", "sentence"]
__all__ += ["way"]

NOTHING = '<span class="quiet">(an empty sentence)</span>'
MAX_BARS = 32
NOT_MEASURED = ("NLL", "PPL")


def escaped(text: str) -> str:
    """Text that no browser and no template takes for anything else."""
    plain = html.escape(" ".join(text.split()))
    return "".join(f"&#{ord(sign)};" if sign in "{}$`\\" else sign for sign in plain)


def sentence(text: str, before: str = "", unknown: Sequence[str] = ()) -> str:
    """A sentence in large letters, and the words that were read as `<unk>`.

    Args:
        text: The sentence.
        before: The sentence it came from: words that are new since are marked.
        unknown: Words that the model has never seen.
    """
    shown = (_marked(text, before) if before else escaped(text)) or NOTHING
    return f'<p class="sentence">{shown}</p>{_unknown(unknown)}'


def way(texts: Sequence[str], share: float) -> str:
    """Sentences on a way from 0 to 1, the one next to where it is marked."""
    here = round(share * (len(texts) - 1))
    items = "".join(
        f"<li{' class=here' if at == here else ''}>"
        f'<span class="number">{at / (len(texts) - 1):.2f}</span>'
        f"<span>{escaped(text) or NOTHING}</span></li>"
        for at, text in enumerate(texts)
    )
    return f'<ol class="sentences numbered way">{items}</ol>'


def fault(message: str) -> str:
    """What is wrong with an input, in plain words."""
    return f'<p class="fault">{escaped(message)}</p>'


def listed(texts: Sequence[str]) -> str:
    """Sentences, one a line."""
    items = "".join(f"<li>{escaped(text) or NOTHING}</li>" for text in texts)
    return f'<ol class="sentences">{items}</ol>'


def neighbours(text: str, found: Sequence[Neighbour], unknown: Sequence[str] = ()) -> str:
    """A sentence and those near it, with their distances."""
    items = "".join(
        f'<li><span class="number">{each.distance:.2f}</span><span>{escaped(each.text)}</span></li>'
        for each in found
    )
    return (
        f'<p class="asked">{escaped(text)}</p>{_unknown(unknown)}'
        f'<ol class="sentences numbered">{items}</ol>'
    )


def heading(name: str, facts: Sequence[str], notice: str = "") -> str:
    """The page's title, a line of facts, and a notice if there is one."""
    told = " · ".join(escaped(fact) for fact in facts)
    shown = f'<p class="notice">{escaped(notice)}</p>' if notice else ""
    return f'<h1>{escaped(name)}</h1><p class="quiet">{told}</p>{shown}'


def diagnosis(found: Diagnosis, command: str) -> str:
    """Verdict, figures, and the KL of each dimension.

    Args:
        found: The diagnosis.
        command: What to type for all that was not measured.
    """
    row, verdict, elbo = figures_row(found), found.verdict, found.elbo
    cells = {name: value for name, value in row.items() if name not in NOT_MEASURED}
    names = "".join(f"<th>{escaped(name)}</th>" for name in cells)
    values = "".join(f"<td>{escaped(value)}</td>" for value in cells.values())
    return (
        f'<div class="verdict"><p class="word">{escaped(verdict.verdict)}</p>'
        f"<p>{escaped(verdict.explanation)}</p><p>Next: {escaped(verdict.advice)}</p></div>"
        f'<table class="figures"><tr>{names}</tr><tr>{values}</tr></table>'
        f"<h2>KL per dimension, nats</h2>{_bars(elbo.kl_per_dim)}"
        f'<p class="quiet">Of {elbo.num_sentences:,} sentences of {elbo.num_tokens:,} tokens, '
        "nats per sentence, without the importance-weighted NLL. "
        f"In full: <code>{escaped(command)}</code></p>"
    )


def _bars(kl_per_dim: Sequence[float]) -> str:
    order = sorted(range(len(kl_per_dim)), key=lambda d: -kl_per_dim[d])[:MAX_BARS]
    top = max(kl_per_dim[order[0]], 1e-3)
    rows = "".join(
        f'<li><span class="number">{d}</span>'
        f'<span class="bar"><span style="width:{100 * kl_per_dim[d] / top:.1f}%"></span></span>'
        f'<span class="number">{kl_per_dim[d]:.3f}</span></li>'
        for d in order
    )
    left = len(kl_per_dim) - len(order)
    rest = f'<p class="quiet">and {left} more, none of them busier</p>' if left else ""
    return f'<ol class="bars">{rows}</ol>{rest}'


def _unknown(words: Sequence[str]) -> str:
    if not words:
        return ""
    return (
        '<p class="quiet">not in the vocabulary, read as &lt;unk&gt;: '
        f"{escaped(' '.join(words))}</p>"
    )


def _marked(text: str, before: str) -> str:
    """The text with each run of words marked that `before` does not have there."""
    new, old = text.split(), before.split()
    parts = []
    for kind, _, _, begin, end in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        words = escaped(" ".join(new[begin:end]))
        if words:
            parts.append(words if kind == "equal" else f"<mark>{words}</mark>")
    return " ".join(parts)
