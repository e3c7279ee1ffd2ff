"""docs/speed.md shows what the benchmarks wrote into results/speed/."""

from typing import Any

import pytest
from benchmarks import bench

from tests import docs
from textvae.files import read_json
from textvae.report.text import markdown

PAGE = docs.text("docs/speed.md")
FILES = sorted((docs.ROOT / "results" / "speed").glob("*.json"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_benchmarks_table_is_what_it_measured(path):
    content = read_json(path)
    if content["pairs"]:
        rows = [bench.line(pair, "reference") for pair in content["pairs"]]
        expected = markdown(rows).splitlines()[2:]
        assert expected in [table.splitlines()[2:] for table in docs.tables(PAGE)]
    for name, figures in content["also"].items():
        assert f"{name}: {bench.told(figures)}" in " ".join(PAGE.split())


def test_every_benchmark_is_shown():
    names = {read_json(path)["benchmark"] for path in FILES}
    assert names == {"train", "steps", "evaluate", "decode", "scale", "data", "memory", "device"}
    assert len(FILES) == len(names) + 1  # decode twice, with a trained model and without


def pair(benchmark: str, name: str) -> dict[str, Any]:
    pairs = read_json(docs.ROOT / "results" / "speed" / f"{benchmark}.json")["pairs"]
    found: dict[str, Any] = next(one for one in pairs if one["name"] == name)
    return found


def test_what_the_page_says_in_short():
    said = " ".join(PAGE.split())
    fp32, bf16 = (pair("train", f"training, {name}") for name in ("fp32", "bf16"))
    greedy = pair("decode", "greedy, 512 sentences")
    memory = read_json(docs.ROOT / "results" / "speed" / "memory.json")["also"]
    rates = [round(one["ours"]["median"], -2) for one in (bf16, fp32)]
    for claim in (
        f"training at {rates[0]:,.0f} tokens/s in bf16 and {rates[1]:,.0f} in fp32, "
        f"{bf16['ratio']:.1f} and {fp32['ratio']:.1f} times that loop",
        f"of 500 samples {pair('evaluate', 'IW-NLL, fp32')['ratio']:.1f} times;",
        f"greedy decoding of 512 sentences {greedy['ratio']:.0f} times;",
        "5 million sentences, once tokenised, in "
        f"{memory['cached, difference']['first batch, peak MB']:.0f} MB more than 200 thousand",
    ):
        assert claim in said
