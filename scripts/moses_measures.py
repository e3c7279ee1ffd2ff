"""The measures of MOSES on sets of molecules, by their published definitions.

Polykovskiy et al. 2020, Molecular Sets (MOSES), arXiv:1811.12823; Preuer et al. 2018, Fréchet
ChemNet Distance, arXiv:1803.09518. What a molecule is, its fingerprint, fragments and scaffold are
rdkit's; ChemNet is fcd-torch's. N molecules, M others, F features.
"""

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import sqrt
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from fcd_torch import FCD
from fcd_torch.utils import SmilesDataset
from rdkit import Chem, RDLogger
from rdkit.Chem import AllChem, rdFingerprintGenerator
from rdkit.Chem.Scaffolds import MurckoScaffold
from torch import Tensor

RDLogger.DisableLog("rdApp.*")

ATOMS, LARGEST_RING = {"C", "N", "S", "O", "F", "Cl", "Br", "H"}, 7  # that filters let pass
MORGAN = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024)
AT_ONCE = 1024  # molecules, with four times as many others: 16 MiB of similarities


def molecules(smiles: Iterable[str]) -> list[Any]:
    """Those that rdkit finds possible."""
    return [found for one in smiles if one and (found := Chem.MolFromSmiles(one)) is not None]


def canonical(mols: Iterable[Any]) -> list[str]:
    """The one SMILES of each, however it was written."""
    return list(map(Chem.MolToSmiles, mols))


def fingerprints(mols: Iterable[Any]) -> Tensor:
    """Morgan's, of radius 2: bits (N, 1024)."""
    return torch.from_numpy(np.stack([MORGAN.GetFingerprintAsNumPy(mol) for mol in mols]))


def similarities(own: Tensor, others: Tensor) -> Iterator[Tensor]:
    """Tanimoto's, of bits (N, F) and (M, F), common ones over all: (some of N, M) at a time."""
    for part in map(Tensor.float, own.split(AT_ONCE)):
        common = part @ others.float().T
        yield common / (part.sum(1)[:, None] + others.sum(1) - common)


def nearest_similarity(own: Tensor, reference: Tensor) -> float:
    """SNN: to the one of the reference that is most like it, mean."""
    parts = (similarities(own, others) for others in reference.split(4 * AT_ONCE))
    best = torch.stack([torch.cat([each.amax(1) for each in part]) for part in parts])
    return float(best.amax(0).mean())


def internal_diversity(own: Tensor) -> float:
    """IntDiv: 1 − the mean similarity of all pairs, each with itself among them."""
    return 1 - sum(float(part.mean(1).sum()) for part in similarities(own, own)) / len(own)


def fragments(mols: Iterable[Any]) -> Counter[str]:
    """How often there is each BRICS fragment."""
    broken = canonical(map(AllChem.FragmentOnBRICSBonds, mols))
    return Counter(part for whole in broken for part in whole.split("."))


def scaffolds(mols: Iterable[Any]) -> Counter[str]:
    """How often there is each Bemis–Murcko scaffold of two rings or more."""
    found = map(MurckoScaffold.GetScaffoldForMol, mols)
    return Counter(canonical(one for one in found if one.GetRingInfo().NumRings() >= 2))


def cosine(own: Mapping[str, int], others: Mapping[str, int]) -> float:
    """Frag and Scaf: of the angle between two vectors of counts."""
    norms = sum(n * n for n in own.values()) * sum(n * n for n in others.values())
    return sum(n * others.get(key, 0) for key, n in own.items()) / sqrt(norms) if norms else 0.0


def filters(moses: Path) -> list[Any]:
    """Patterns of medicinal chemistry and of PAINS that a molecule ought not to have."""
    files = (moses / "metrics" / name for name in ("mcf.csv", "wehi_pains.csv"))
    mcf, pains = ([*csv.reader(file.read_text().splitlines())] for file in files)
    return list(map(Chem.MolFromSmarts, [row[1] for row in mcf[1:]] + [row[0] for row in pains]))


def passes(mol: Any, patterns: Iterable[Any]) -> bool:
    """Whether a molecule has no charge, no large ring, no other atom, and none of the patterns."""
    whole, rings = Chem.AddHs(mol), mol.GetRingInfo().AtomRings()
    odd = any(atom.GetFormalCharge() or atom.GetSymbol() not in ATOMS for atom in mol.GetAtoms())
    too_large = any(len(ring) > LARGEST_RING for ring in rings)
    return not (odd or too_large or any(map(whole.HasSubstructMatch, patterns)))


@torch.no_grad()
def chemnet(smiles: Sequence[str]) -> tuple[Any, Any]:
    """Mean (F,) and covariance (F, F) of ChemNet's last layer, of canonical SMILES."""
    model, read = FCD().model, SmilesDataset(smiles, canonize=False)
    parts = torch.arange(len(read)).split(AT_ONCE)
    inputs = (torch.tensor(np.stack([read[i] for i in part])).float() for part in parts)
    features = np.concatenate([model(part.transpose(1, 2)).numpy() for part in inputs])
    return features.mean(0), np.cov(features.T)


def frechet(own: tuple[Any, Any], others: tuple[Any, Any]) -> float:
    """FCD: the squared Wasserstein-2 distance of two Gaussians."""
    gap, (one, other) = np.square(own[0] - others[0]).sum(), (own[1], others[1])
    # The trace of a product's root; its eigenvalues, of two covariances, are real and ≥ 0.
    root = np.sqrt(np.linalg.eigvals(one @ other).real.clip(0)).sum()
    return float(gap + np.trace(one) + np.trace(other) - 2 * root)


def figures(
    texts: Sequence[str], moses: Path, training: Iterable[str]
) -> Iterator[tuple[str, float]]:
    """Each measure of the benchmark of some samples, as it is done; of what is valid, mostly."""
    mols = molecules(texts)
    yield "valid", len(mols) / len(texts)
    if len(mols) < 2:
        return
    smiles, patterns = canonical(mols), filters(moses)
    for k in (k for k in (1, 10) if 1000 * k <= len(smiles)):
        yield f"unique@{k}k", len({*smiles[: 1000 * k]}) / (1000 * k)
    yield "novelty", len({*smiles}.difference(training)) / len({*smiles})
    yield "filters", fmean(passes(mol, patterns) for mol in mols)
    bits, broken, cores = fingerprints(mols), fragments(mols), scaffolds(mols)
    yield "IntDiv", internal_diversity(bits)
    features = chemnet(smiles)
    for name, file in {"test": "test", "scaffolds": "test_scaffolds"}.items():
        # What the authors counted; pickled, and believed as far as their package is.
        path = moses / "dataset" / "data" / f"{file}_stats.npz"
        with np.load(path, allow_pickle=True) as found:
            known = found["stats"].item()
        yield f"Frag/{name}", cosine(broken, known["Frag"]["frag"])
        yield f"Scaf/{name}", cosine(cores, known["Scaf"]["scaf"])
        yield f"SNN/{name}", nearest_similarity(bits, torch.from_numpy(known["SNN"]["fps"]))
        yield f"FCD/{name}", frechet(features, tuple(known["FCD"].values()))
