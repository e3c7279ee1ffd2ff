"""What commands of sentences share: texts for a model of a run, and how what comes is shown.

Texts come from arguments, files or standard input; sentences go out one a line, or with `--json` an
object a line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

from textvae.checks import InputError
from textvae.cli.command import Json, Run, print_result, read_lines, say
from textvae.config import Decoding
from textvae.files import find_pretrained, read_config

if TYPE_CHECKING:
    from torch import Tensor

    from textvae.generation import TextVAE

LIKELIEST = Decoding()

Records = Iterable[dict[str, Any]]
MAX_UNKNOWN = 20  # unknown words that are shown


@dataclass(frozen=True)
class Texts:
    """A run and texts for its model, and how what comes of them is printed."""

    run: Run
    texts: Annotated[Sequence[str], "without any, or with -, one a line from standard input"] = ()
    _: KW_ONLY
    input: Annotated[str | None, "file of texts, one a line"] = None
    json: Json = False

    def load(self, count: int | None = None) -> tuple[TextVAE, list[str]]:
        """The model and the texts, all fit for it and `count` in number."""
        from textvae.generation import TextVAE, check_texts

        model, texts = TextVAE.from_pretrained(self.run), list(self.texts)
        if self.input is not None and texts:
            raise InputError("texts must be arguments or --input, got both")
        if texts in ([], ["-"]):
            texts = list(read_lines("-" if self.input is None else self.input))
        if count is not None and len(texts) != count:
            raise InputError(f"texts must be {count} in number, got {len(texts)}")
        config = read_config(find_pretrained(self.run), "model")
        # A run that was saved before runs noted it has its limit, a model alone has neither.
        limit = config.get("run", {}).get("data", {}).get("max_length")
        check_texts(model, texts, max_tokens=config.get("longest_sentence") or limit)
        return model, list(report_unknown_words(model, texts))


def read_corpus(source: str) -> Iterator[tuple[int, str]]:
    """The sentences of a file and their lines' numbers, without empty lines and space around."""
    from textvae.tokenizer import find_reserved

    name, sentence = "standard input" if source == "-" else source, ""
    for number, line in enumerate(read_lines(source), start=1):
        reserved = find_reserved(line)
        if reserved is not None:
            raise InputError(f"line {number} of {name} contains the reserved token {reserved}")
        if line.strip():
            sentence = line.strip()
            yield number, sentence
    if not sentence:
        raise InputError(f"{name} must hold at least one sentence, got empty lines only")


def report_unknown_words(model: TextVAE, texts: Iterable[str]) -> Iterator[str]:
    """The same texts; when there are no more, says which words the model has never seen."""
    unknown: dict[str, None] = {}
    for text in texts:
        unknown |= dict.fromkeys(model.tokenizer.unknown_words(text))
        yield text
    if unknown:
        rest = f" … and {len(unknown) - MAX_UNKNOWN:,} more" if len(unknown) > MAX_UNKNOWN else ""
        words = " ".join(list(unknown)[:MAX_UNKNOWN])
        say(f"not in the vocabulary, read as <unk>: {words}{rest}")


def written(
    model: TextVAE, z: Tensor, decoding: Decoding, known: Records, labels: Tensor | None = None
) -> Iterator[dict[str, Any]]:
    """The sentence of each latent code, (B, Z), and its log p(x|z), beside what is known of it."""
    labels = model.labels.changed(labels, len(z), decoding.label)
    found, told = model.decode(z, labels=labels, **asdict(decoding)), model.labels.named(labels)
    for one, more, own in zip(found, known, told, strict=True):
        yield {**more, **own, "text": one.text, "log_prob": one.log_prob}


def show(as_json: bool, records: Records, line: str = "{text}") -> None:
    """Print each record in a line: as JSON, or as `line` has it.

    No line break is printed that a model of bytes may have put into a sentence.
    """
    for record in records:
        print_result(as_json, record, " ".join(line.format_map(record).splitlines()))
