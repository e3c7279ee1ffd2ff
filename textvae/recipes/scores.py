"""Sentences of any file under a saved run: what each costs, by itself."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from textvae.batches import BatchLoader, EncodedSplit
from textvae.corpus import load_corpus
from textvae.diagnostics import Progress, score, unwrapped
from textvae.files import find_pretrained, read_json
from textvae.model import SentenceVAE
from textvae.tokenizer import EOS_ID, SPECIALS, UNK_ID


def score_run(
    name: str | Path,
    source: str | Path | Sequence[str],
    *,
    num_samples: int = 100,
    tokens: bool = False,
    seed: int = 0,
    text_field: str = "text",
    label_field: str | None = None,
    progress: Progress = unwrapped,
) -> list[dict[str, Any]]:
    """A record for each sentence of a source, as `load_corpus` takes it, in its order.

    It holds the text, its labels, its split where there are several, `nll`, `elbo`, `rec` and
    `kl`, nats, `num_tokens` (EOS counted), `num_unknown` of them and `nll_per_token`; with `tokens`
    also each predicted token, and what it adds to rec in `token_nll`. Sentences are cut where the
    run's `max_length` says so. Of a run's own split the means are those of its diagnosis, with as
    many samples and the same seed. Where the model is told labels, the source must have them: all
    is given a sentence's own.
    """
    from datasets import concatenate_datasets

    directory = find_pretrained(name)
    data = read_json(directory / "config.json").get("run", {}).get("data", {})
    model = SentenceVAE.from_pretrained(directory)
    names = dict.fromkeys([*(label_field or "").split(","), *model.labels.values])
    labels = ",".join(filter(None, names))
    whole: dict[str, Any] = {"valid_fraction": 0, "test_fraction": 0}
    splits = load_corpus(source, text_field=text_field, label_field=labels, **whole).splits
    rows = concatenate_datasets([*splits.values()])
    if len(splits) > 1:
        rows = rows.add_column("split", [name for name, part in splits.items() for _ in part])
    ids = model.tokenizer.encode_batch(rows["text"][:])
    split = EncodedSplit.from_ids(ids, max_length=data.get("max_length"))
    if model.labels.values:
        split.labels = model.labels.numbered(rows).numpy()
    # The batches of a diagnosis: in others, sums would be rounded otherwise.
    loader = BatchLoader(split, batch_size=64, shuffle=False)
    options: dict[str, Any] = {"num_samples": num_samples, "seed": seed, "progress": progress}
    found = score(model, loader, loader.num_sentences, tokens=tokens, **options)
    records: list[dict[str, Any]] = []
    columns = (one.tolist() for one in (found.nll, found.rec, found.kl, split.lengths))
    for row, own, nll, rec, kl, length in zip(rows, ids, *columns, strict=True):
        nats = {"nll": nll, "nll_per_token": nll / length, "elbo": -(rec + kl)}
        nats |= {"rec": rec, "kl": kl}
        unknown = own[:length].count(UNK_ID)
        records.append({**row, **nats, "num_tokens": length, "num_unknown": unknown})
    for record, sentence, token_nll in zip(records, ids, found.tokens, strict=False):
        predicted = [*model.tokenizer.decode_batch([one] for one in sentence), SPECIALS[EOS_ID]]
        record |= {"tokens": predicted[: len(token_nll)], "token_nll": token_nll}
    return records
