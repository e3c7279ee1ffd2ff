"""`molecules.py` on a benchmark of a few molecules, and its measures on sets worked out by hand."""

import gzip
import json
import sys
from collections import Counter
from collections.abc import Callable
from itertools import islice
from math import sqrt
from pathlib import Path
from typing import Any

import molecules
import numpy as np
import pytest
import torch

from tests.scripts.conftest import OPTIONS
from tests.scripts.running import assert_refused
from textvae import TextVAE
from textvae.files import read_json

Run = Callable[..., Any]

TRAIN = ["CCO", "CCN", "CCCl", "CCBr", "CCC", "CC(C)=O", "c1ccccc1", "CCS", "CCOC", "CNC"] * 5
# Two scaffolds of two rings, and amides that break in two.
TEST = ["Cc1ccc(-c2ccccc2)cc1", "c1ccc2ccccc2c1", "CNC(C)=O", "CCNC(C)=O"]


@pytest.fixture
def moses(tmp_path: Path) -> Path:
    """The files of the benchmark that are read, with other molecules."""
    data, metrics = tmp_path / "bench" / "dataset" / "data", tmp_path / "bench" / "metrics"
    data.mkdir(parents=True)
    metrics.mkdir()
    for name, lines in {"train": TRAIN, "test": TEST}.items():
        with gzip.open(data / f"{name}.csv.gz", "wt") as file:
            file.write("\n".join(["SMILES", *lines]))
    (metrics / "mcf.csv").write_text('names,smarts\nMCF1,"[F,Cl]"\n')
    (metrics / "wehi_pains.csv").write_text('"c[Br]"          ,"<regId=some>"\n')
    return tmp_path / "bench"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tiny models, and few molecules held out; the cache is forgotten."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    tiny = {**OPTIONS, "tokenizer": "regex", "pattern": "smiles", "min_count": 1, "max_epochs": 1}
    monkeypatch.setattr(molecules, "SIZES", tiny)
    monkeypatch.setattr(molecules, "REMEDY", {"autoencoder_epochs": 0})
    monkeypatch.setattr(molecules, "HELD_OUT", 5)


@pytest.fixture
def measures() -> Any:
    pytest.importorskip("rdkit")
    pytest.importorskip("fcd_torch")
    import moses_measures

    return moses_measures


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("train",), "pip install --no-deps molsets==0.3.1"),
        (("train", "--moses=gone"), "must be in gone/dataset/data"),
        (("train", "--moses=bench", "--share=0"), "share must be in (0, 1], got 0"),
        (("measure", "runs/x", "--samples=1"), "samples must be at least 2, got 1"),
        (("mesure",), "did you mean measure?"),
    ],
)
def test_wrong_input_is_refused(run, moses, arguments, named):
    assert_refused(run("molecules", *arguments), named)


def test_measures_need_what_an_extra_brings_and_a_run(run, moses, measures, monkeypatch):
    measure = "molecules", "measure", "runs/x", "--moses=bench"
    assert_refused(run(*measure), "no run directory at 'runs/x'")
    monkeypatch.setitem(sys.modules, "moses_measures", None)
    assert_refused(run(*measure), 'pip install "textvae[molecules]"')


def test_a_share_is_trained_on_with_two_letters_as_one_token(run, moses, small, tmp_path):
    answer = run("molecules", "train", "--moses=bench", "--share=0.8")
    assert answer.code == 0, answer.err
    assert "samples from the prior" in answer.out
    splits = tmp_path / "runs" / "moses-0.8"
    known = {name: (splits / f"{name}.txt").read_text().split() for name in ("train", "valid")}
    assert [len(lines) for lines in known.values()] == [36, 5]
    rest = Counter(TRAIN) - Counter(known["train"]) - Counter(known["valid"])
    assert rest.total() == len(TRAIN) - 41
    assert sorted((splits / "test.txt").read_text().split()) == sorted(TEST)
    saved = json.loads((tmp_path / "runs" / "molecules-1" / "tokenizer.json").read_text())
    assert {"Cl", "Br"} <= {*saved["model"]["vocab"]}
    assert run("molecules", "train", "--resume").code == 0


def test_published_rows_stand_beside_ours(run, tmp_path):
    (tmp_path / "out" / "molecules").mkdir(parents=True)
    own = {"samples": 2, "sha256": "", "figures": {"valid": 0.5, "MI": 9.12345}}
    (tmp_path / "out" / "molecules" / "mine.json").write_text(json.dumps(own))
    answer = run("molecules", "table", "--results-dir=out")
    heading, _, valid, mi, *_ = answer.out.splitlines()
    assert heading.startswith("|  | mine | training set (published) | CharRNN (published) | VAE")
    assert valid.startswith("| valid | 0.5 |  | 0.975 | 0.977 |")
    assert mi.startswith("| MI | 9.123 |  |  |")
    assert (tmp_path / "out" / "molecules" / "table.md").read_text() == answer.out


def with_statistics(moses: Path, measures: Any) -> None:
    """What the benchmark's authors have counted, of both test sets."""
    mols = measures.molecules(TEST)
    mean, covariance = measures.chemnet(measures.canonical(mols))
    stats = {
        "FCD": {"mu": mean, "sigma": covariance},
        "SNN": {"fps": measures.fingerprints(mols).numpy()},
        "Frag": {"frag": measures.fragments(mols)},
        "Scaf": {"scaf": measures.scaffolds(mols)},
    }
    for name in ("test", "test_scaffolds"):
        np.savez(moses / "dataset" / "data" / f"{name}_stats.npz", stats=np.array(stats))


def measured(run: Run, name: str, *options: str) -> tuple[dict[str, Any], str]:
    """What a run or a file is told to be, and what is said meanwhile."""
    answer = run("molecules", "measure", name, "--moses=bench", "--results-dir=out", *options)
    assert answer.code == 0, answer.err
    return read_json(Path("out", "molecules", f"{Path(name).stem}.json")), answer.err


def test_a_run_is_measured_with_its_model(run, moses, small, measures, tmp_path):
    with_statistics(moses, measures)
    assert run("molecules", "train", "--moses=bench", "--log-every=1").code == 0
    record, said = measured(run, "runs/molecules-1", "--samples=4", "--tested=3")
    found = record.pop("figures")
    assert record == {"samples": 4, "seed": 0}
    assert found["NLL"] > 0
    assert found["sampling tokens/s"] > 0
    assert {"KL", "MI", "AU", "exact", "training tokens/s", "minutes"} <= {*found}
    assert 0 < found["of the limit"] < 1
    texts = (tmp_path / "runs" / "moses-1" / "test.txt").read_text().split()[:3]
    walk = TextVAE.from_pretrained(tmp_path / "runs" / "molecules-1").interpolate(*texts, steps=7)
    between = [*walk[1:6], *walk[7:12]]
    assert found["valid between"] == len(measures.molecules(between)) / 10
    assert said.startswith("valid ")


def test_the_test_set_itself_is_perfect(run, moses, measures, tmp_path):
    with_statistics(moses, measures)
    written = ["C1=CC=CC2=CC=CC=C12", *TEST[::-1], "C(", "", "c1ccccc"]  # naphthalene, twice
    (tmp_path / "samples.txt").write_text("\n".join(written))
    found = measured(run, "samples.txt")[0]["figures"]
    assert found["valid"] == 5 / 8
    assert "unique@1k" not in found  # of fewer than a thousand it would be another figure
    assert found["novelty"] == found["filters"] == 1
    assert found["SNN/test"] == found["SNN/scaffolds"] == 1
    (tmp_path / "samples.txt").write_text("\n".join(TEST))
    found = measured(run, "samples.txt")[0]["figures"]
    for name in ("valid", "SNN/test", "Frag/test", "Scaf/test"):
        assert found[name] == pytest.approx(1)
    assert found["FCD/test"] == pytest.approx(0, abs=1e-4)


def test_shares_are_of_different_molecules(moses, measures):
    with_statistics(moses, measures)
    texts = ["OCC", "", "C(", "CCO", "CC"] * 400
    found = dict(islice(measures.figures(texts, moses, ["CC", "CN"]), 4))
    shares = {"valid": 3 / 5, "unique@1k": 2 / 1000, "novelty": 1 / 2}
    assert found == {**shares, "filters": 1}
    assert dict(measures.figures(["C", "C("], moses, [])) == {"valid": 1 / 2}  # no set of them


def test_similarities_by_hand(measures):
    own = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 1]], dtype=torch.uint8)
    others = torch.tensor([[1, 0, 1, 0], [1, 1, 1, 1]], dtype=torch.uint8)
    found = torch.cat([*measures.similarities(own, others)])
    torch.testing.assert_close(found, torch.tensor([[1 / 3, 0.5], [0, 0.25]]))
    assert measures.nearest_similarity(own, others) == pytest.approx((0.5 + 0.25) / 2)
    assert measures.internal_diversity(own) == pytest.approx(1 / 2)  # of four pairs two are equal
    assert measures.internal_diversity(own[:1].repeat(5, 1)) == pytest.approx(0)


def test_more_than_is_held_at_a_time(measures, monkeypatch):
    bits = torch.rand(11, 16).round().to(torch.uint8)
    bits[:, 0] = 1
    expected = measures.nearest_similarity(bits[:7], bits[2:]), measures.internal_diversity(bits)
    monkeypatch.setattr(measures, "AT_ONCE", 2)
    assert measures.nearest_similarity(bits[:7], bits[2:]) == pytest.approx(expected[0])
    assert measures.internal_diversity(bits) == pytest.approx(expected[1])


def test_parts_of_molecules(measures):
    broken = measures.fragments(measures.molecules(["CNC(C)=O", "CC(=O)NC", "CC"]))
    assert broken == {"[1*]C(C)=O": 2, "[5*]NC": 2, "CC": 1}
    scaffolds = {"c1ccc(-c2ccccc2)cc1": 1, "c1ccc2ccccc2c1": 1}
    assert measures.scaffolds(measures.molecules([*TEST, "Cc1ccccc1"])) == scaffolds
    assert measures.cosine({"a": 1, "b": 1}, {"a": 3}) == pytest.approx(1 / sqrt(2))
    assert measures.cosine({"a": 1}, {"b": 1}) == 0
    assert measures.cosine({}, {"b": 1}) == 0
    assert measures.cosine(broken, broken) == pytest.approx(1)


@pytest.mark.parametrize(
    ("smiles", "is_passed"),
    [
        ("CCO", True),
        ("CC[NH3+]", False),  # charged
        ("CCI", False),  # no such atom
        ("C1CCCCCC1", True),
        ("C1CCCCCCC1", False),  # a ring of eight
        ("CCBr", True),
        ("Brc1ccccc1", False),  # the second pattern
        ("CCCl", False),  # the first
    ],
)
def test_filters(measures, moses, smiles, is_passed):
    (mol,) = measures.molecules([smiles])
    assert measures.passes(mol, measures.filters(moses)) is is_passed


def test_frechet_distances_of_known_gaussians(measures):
    zero, unit = np.zeros(2), np.eye(2)
    assert measures.frechet((zero, unit), (np.array([3.0, 4.0]), unit)) == pytest.approx(25)
    assert measures.frechet((zero, 4 * unit), (zero, unit)) == pytest.approx(2)
    turned = np.array([[2.0, 1.0], [1.0, 2.0]])  # eigenvalues 1 and 3
    assert measures.frechet((zero, turned), (zero, unit)) == pytest.approx((sqrt(3) - 1) ** 2)


def test_chemnet_tells_sets_apart(measures):
    alike, other = measures.chemnet(TEST), measures.chemnet(TRAIN[:4])
    assert measures.frechet(alike, measures.chemnet(TEST[::-1])) == pytest.approx(0, abs=1e-4)
    assert measures.frechet(alike, other) > 1
