"""The documents: what they quote of the results, where they link to, and that the site has them.

What is written down is compared with what the results give when they are rounded as it is, so that
a digit changed on either side shows.
"""

import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import experiments
import pytest
import remedies

import textvae
from tests import docs
from textvae.diagnostics import RULES
from textvae.files import read_json
from textvae.report.text import markdown, summary

README = docs.text("README.md")
RESULTS = docs.ROOT / "results"
OF_RESULTS = docs.text("results/README.md")
OF_REMEDIES = docs.text("docs/remedies.md")
PAGES = ["data/README.md", "results/README.md"]
PAGES += sorted(
    path.relative_to(docs.ROOT).as_posix()
    for path in (*docs.ROOT.glob("*.md"), *(docs.ROOT / "docs").rglob("*"))
    if path.suffix in (".md", ".ipynb")
)

HEADINGS = {
    "warmup": "Warm-up",
    "beta": "β",
    "optimizers": "Optimizers",
    "learning-rates": "Learning rates",
    "free-bits": "Free bits",
    "precision": "Precision",
}
"""Experiments, and the part of results/README.md that each stands in."""


def part(document: str, heading: str) -> str:
    """What stands under a heading of the third order, up to the next heading of any."""
    found = re.search(rf"^### {heading}\n(.*?)(?=^#|\Z)", document, flags=re.DOTALL | re.MULTILINE)
    assert found is not None, heading
    return found[1]


def table(text: str) -> list[str]:
    """The lines of the one table in a text."""
    (found,) = docs.tables(text)
    return found.splitlines()


def written(name: str) -> str:
    return docs.text(f"results/grammar/{name}.md")


def prose(text: str) -> str:
    """On one line, wherever it was broken."""
    return " ".join(text.split())


def means(key: str) -> dict[str, float]:
    """A figure of the study by configuration, mean over seeds."""
    runs = read_json(RESULTS / "grammar" / "annealers.json")["runs"]
    names = dict.fromkeys(run["name"] for run in runs)
    return {name: fmean(run[key] for run in runs if run["name"] == name) for name in names}


@pytest.mark.parametrize(("name", "heading"), HEADINGS.items())
def test_an_experiments_table_is_that_of_its_runs_and_shown(name, heading):
    assert experiments.EXPERIMENTS.keys() == HEADINGS.keys()
    content = read_json(RESULTS / "grammar" / f"{name}.json")
    experiment = experiments.EXPERIMENTS[name]
    assert content["question"] == experiment.question
    assert written(name) == experiments.report(experiment, content["runs"])
    shown = part(OF_RESULTS, heading)
    assert table(shown) == table(written(name))
    assert f"![{heading}](grammar/{name}.png)" in shown


HEADINGS_OF_REMEDIES = {"grammar": "The embedded corpus", "ptb": "Penn Treebank, remedies"}


@pytest.mark.parametrize(("name", "heading"), HEADINGS_OF_REMEDIES.items())
def test_the_remedies_table_is_that_of_its_runs(name, heading):
    content = read_json(RESULTS / name / "remedies.json")
    report = remedies.report(content["runs"], name, content["entropy"])
    assert docs.text(f"results/{name}/remedies.md") == report
    assert table(part(OF_REMEDIES, heading)) == table(report)


def test_what_is_said_of_remedies_on_penn_treebank(language_model):
    (row,) = read_json(RESULTS / "ptb" / "remedies.json")["runs"]
    said = prose(part(OF_REMEDIES, "Penn Treebank, remedies"))
    for claim in (
        f"z tell {row['mi']:.2f} nats about a sentence",
        f"{row['nll'] - language_model['rec']:.2f} nats above the language model's "
        f"{language_model['rec']:.2f} (the bound's slack is {row['loss'] - row['nll']:.2f} nats, "
        f"so that −ELBO alone would make it {row['loss'] - language_model['rec']:.2f})",
        f"in {row['au']} of 32 dimensions",
        f"took {len(row['curve'])} epochs, {row['minutes']:.0f} minutes",
    ):
        assert claim in said


def test_what_is_said_of_a_fitted_prior():
    said = prose(part(OF_REMEDIES, "The embedded corpus"))
    runs = read_json(RESULTS / "grammar" / "remedies.json")["runs"]
    of_default = [run["nll_fitted"] for run in runs if run["name"] == "default"]
    floor = fmean(run["nll"] for run in runs if run["name"] == "language model")
    shown = f"{fmean(of_default):.2f} ± {stdev(of_default):.2f}"
    above = f"{fmean(of_default) - floor:.2f}"
    assert f"`default` then has {shown} on the test split, {above} nats above" in said
    for name in ("pretrain", "bow"):
        own = [run for run in runs if run["name"] == name]
        fitted, nll = (fmean(run[key] for run in own) for key in ("nll_fitted", "nll"))
        assert f"`{name}` {fitted:.2f} in place of {nll:.2f}" in said
    of_ptb = docs.text("results/ptb/fitted-prior.txt").splitlines()[2].split()
    assert f"{of_ptb[8]} in place of {of_ptb[4]}" in said


def test_the_remedies_that_are_advised_do_what_is_said():
    runs = read_json(RESULTS / "grammar" / "remedies.json")["runs"]

    def mean(name: str, key: str) -> float:
        return fmean(run[key] for run in runs if run["name"] == name)

    floor = read_json(RESULTS / "grammar" / "tried" / "floor-11.json")["factors"]
    for claim in (
        f"| {mean('control', 'mi'):.1f} nats of MI at the language model's NLL",
        f"tells {sum(factor['information'] for factor in floor):.1f} of the factors' 7.7 nats, "
        f"`default` {mean('default', 'factor_nats'):.1f},",
        f"{mean('preuni', 'factor_nats'):.1f} nats about the factors where `free-bits` tells "
        f"{mean('free-bits', 'factor_nats'):.1f} |",
    ):
        assert claim in OF_REMEDIES
    assert mean("control", "nll") - mean("language model", "nll") < 0.025
    told = {run["name"]: mean(run["name"], "factor_nats") for run in runs if run["factor_nats"]}
    assert max(told, key=told.__getitem__) == "default"


def test_every_verdict_is_explained():
    shown = docs.text("docs/collapse.md")
    assert all(f"\n| {rule[0]} | " in shown for rule in RULES)


def test_what_is_said_of_the_default_recipe():
    runs = read_json(RESULTS / "grammar" / "remedies.json")["runs"]
    of = {name: [r for r in runs if r["name"] == name] for name in ("default", "language model")}
    assert {run["verdict"] for run in of["default"]} == {"healthy"}
    nll, floor = (fmean(run["nll"] for run in of[name]) for name in ("default", "language model"))
    factors = [run["factors"] for run in of["default"]]
    *four, fifth = sorted(factors, key=lambda told: told["number"])
    assert all(min(told, key=lambda name: told[name]) == "number" for told in four)
    said = prose(part(OF_REMEDIES, "The embedded corpus"))
    for claim in (
        f"tells {fmean(run['factor_nats'] for run in of['default']):.1f} of the 7.7 nats, "
        f"at {nll - floor:.2f} nats more than the language model",
        f"number in four of them ({four[0]['number']:.2f} to {four[-1]['number']:.2f} right), "
        f"polarity in the fifth ({fifth['polarity']:.2f}, and number {fifth['number']:.2f})",
    ):
        assert claim in said


def test_the_readmes_rows_of_remedies():
    shown = table(README[README.index("## Evidence") : README.index("## As a library")])
    names = [line.split(" | ")[0].strip("| ") for line in shown[2:]]
    titles = shown[0].strip("| ").split(" | ")[1:]
    runs = read_json(RESULTS / "grammar" / "remedies.json")["runs"]
    rows = [row for row in runs if row["name"] in names]
    columns = {title: remedies.COLUMNS[title] for title in titles}
    assert shown == markdown(summary(rows, columns)).splitlines()


def test_the_study_of_schedules_is_shown():
    shown = part(OF_RESULTS, "The case that annealing was made for")
    assert table(shown) == table(written("annealers"))


def test_what_is_said_of_the_study_of_schedules():
    said = prose(part(OF_RESULTS, "The case that annealing was made for"))
    content = read_json(RESULTS / "grammar" / "annealers.json")
    kl, after_warmup, nll = means("kl"), means("kl_after_warmup"), means("nll")
    guessed = [run["factor_majority"] for run in content["runs"] if run["factors"]]
    rises = ("linear", "sigmoid", "cosine")
    kept = [run["kl"] for run in content["runs"] if run["name"] in rises]
    behind = max(nll[name] for name in rises) - nll["no annealing"]
    dropped = nll["language model"] - nll["language model, no word dropout"]
    open_eyed = "linear, no word dropout"
    for claim in (
        f"the corpus' entropy, which no model can go below, is {content['entropy']:.2f}:",
        f"(the mean accuracy of guessing is {fmean(guessed):.2f})",
        f"keeps {min(kept):.1f} to {max(kept):.1f} nats to the end",
        f"end at {kl['cyclical, 10 epochs']:.1f} nats",
        f"({after_warmup[open_eyed]:.2f} after the warm-up, {kl[open_eyed]:.2f} at the end,",
        f"the annealed models are within {behind:.2f} nats of it",
        f"Word dropout costs more, {dropped:.2f} nats between the two language models",
    ):
        assert claim in said
    assert f"entropy {content['entropy']:.2f} nats" in prose(OF_RESULTS)


@pytest.fixture
def vae() -> dict[str, Any]:
    """Results and diagnosis of the VAE: whatever both know is the same in both."""
    results = read_json(RESULTS / "ptb-vae" / "results.json")
    diagnosis = read_json(RESULTS / "ptb-vae" / "diagnosis.json")
    for key in results.keys() & diagnosis.keys():
        assert results[key] == pytest.approx(diagnosis[key]), key
    return {**results, **diagnosis}


@pytest.fixture
def language_model() -> dict[str, Any]:
    found: dict[str, Any] = read_json(RESULTS / "ptb-lm" / "results.json")
    assert (found["kl"], found["elbo"]) == (0, -found["rec"])
    return found


def test_the_rows_of_our_models(vae, language_model):
    ours = [line for line in table(part(OF_REMEDIES, "Penn Treebank")) if "ours**" in line]
    assert ours == [
        "| **language model, ours** | **{rec:.2f}** (exact) | – | – | – | – | **{rec:.2f}** "
        "| {elbo_ppl:.2f} | `python scripts/train_ptb.py --latent-dim 0` |".format(
            **language_model
        ),
        "| **sentence VAE, ours** | **{loss:.2f}** | {rec:.2f} | {kl:.2f} | {mi:.2f} | {au} "
        "| **{nll:.2f}** ± {nll_se:.2f} | {ppl:.2f} | an earlier recipe, "
        "[its options](../results/ptb-vae/config.json) |".format(loss=-vae["elbo"], **vae),
    ]


def test_what_is_said_of_our_models(vae, language_model):
    said = prose(part(OF_REMEDIES, "Penn Treebank"))
    run = read_json(RESULTS / "ptb-vae" / "config.json")["run"]
    model, training = run["model"], run["training"]
    rate = re.findall(r'"lr": ([\d.]+)', (RESULTS / "ptb-vae" / "metrics.jsonl").read_text())[-1]
    own = vae["ablation"]["own"]
    for claim in (
        f"one layer of {model['decoder_hidden_size']} units, embedding {model['embedding_dim']}, "
        f"{model['latent_dim']} latent dimensions",
        f"One seed ({vae['seed']});",
        f"({training['autoencoder_epochs']} epochs, its encoder is kept)",
        f"({training['language_model_epochs']} epochs, its decoder is kept)",
        f"β rises over {training['warmup_epochs']:g} epochs to {training['max_beta']:g}, "
        f"free bits of {training['free_bits']:g} nats per dimension",
        f"({vae['epochs']} epochs, stopped at the last of its learning rates, {rate})",
        f"The language model alone took {language_model['epochs']} epochs.",
        f"IW-NLL is from {vae['num_samples']} samples",
        f"the bound's slack is {-vae['elbo'] - vae['nll']:.2f} nats",
        f"the VAE is {vae['nll'] - language_model['rec']:.2f} nats behind the language model",
        f"Another sentence's z costs the decoder {vae['ablation']['shuffled'] - own:.2f} nats, "
        f"none at all (z = 0) {vae['ablation']['zero'] - own:.2f};",
        f"the verdict is “{vae['verdict']}”",
    ):
        assert claim in said
    assert vae["ablation"]["shuffled"] - own == pytest.approx(vae["ablation"]["used"])


def test_every_promise_names_a_test_that_there_is():
    tests = "".join(map(docs.text, docs.ROOT.glob("tests/**/test_*.py")))
    named = re.findall(r"`(test_\w+)`", docs.text("docs/promises.md"))
    assert len(named) > 10
    assert [name for name in named if f"def {name}(" not in tests] == []


def test_molecules_stand_as_they_were_measured():
    assert docs.text("results/molecules/table.md") in docs.text("docs/molecules.md")


def test_what_is_said_of_molecules_without_z():
    names = ("language-model", "molecules-3-gmm", "molecules-1", "molecules-2", "molecules-3")
    paths = (RESULTS / "molecules" / f"{name}.json" for name in names)
    plain, fitted, *with_z = (read_json(path)["figures"] for path in paths)
    first, second, third = with_z
    published = read_json(RESULTS / "molecules" / "published.json")["CharRNN (published)"]
    for name in ("Scaf/test", "SNN/test", "Scaf/scaffolds"):
        assert plain[name] == pytest.approx(published[name], abs=0.01)
    said = prose(docs.text("docs/molecules.md"))
    for claim in (
        f"{100 * plain['valid']:.0f} % valid, an FCD of {plain['FCD/test']:.2f}",
        "{:.0f}, {:.0f} and {:.0f} % valid".format(*(100 * one["valid"] for one in with_z)),
        "an FCD of {:.2f}, {:.2f} and {:.2f}".format(*(one["FCD/test"] for one in with_z)),
        f"at least {min(one['NLL'] for one in with_z) - plain['NLL']:.1f} nats higher",
        f"{100 * third['exact']:.0f} % of them come back",
        f"come to {100 * fitted['valid']:.0f} % and an FCD of {fitted['FCD/test']:.2f}",
        f"loose at a KL of {first['KL']:.0f}",
    ):
        assert claim in said
    assert second["exact"] == third["exact"]
    assert third["FCD/test"] < (first["FCD/test"] + second["FCD/test"]) / 2
    assert third["valid"] > first["valid"] > second["valid"]


def test_default_runs_are_what_their_trainings_said():
    rows = table(part(OF_REMEDIES, "Files of one's own, with nothing set"))[2:]
    assert len(rows) == 2
    for name, row in zip(("common-voice", "zinc"), rows, strict=True):
        said = docs.text(f"results/defaults/{name}.txt")
        _, _, loss, kl, mi, au, verdict, minutes = (cell.strip() for cell in row[1:-1].split("|"))
        figures = said.splitlines()[3].split()
        assert [loss, kl, au] == [figures[2], figures[1], figures[4]]
        assert minutes == f"{float(figures[-1]):.1f}"
        assert f"verdict: {verdict}\nz says {mi} nats" in said


@pytest.mark.parametrize(
    ("name", "claim"),
    [
        ("floor-11", "11 nats {info:.1f} nats about the factors, at an NLL of {nll:.2f}"),
        ("floor-11", "11 nats comes from {nll:.2f} to {fitted_prior[nll]:.2f}"),
        ("floor-14", "which tells {info:.1f} nats about the factors, from {nll:.2f} to "),
        ("floor-14", " to {fitted_prior[nll]:.2f} ([its figures]"),
        ("controller-9", "no better: {info:.1f} nats at {nll:.2f}"),
        ("words", "in the same way: {info:.1f} nats at {nll:.2f}"),
        ("skip", "tell it, {number:.2f} right, and mood less: a KL of {kl:.1f}, {info:.1f} nats"),
        ("skip", "{info:.1f} nats about the factors, at an NLL of {nll:.2f}"),
        ("bound", "changes nothing: {info:.1f} nats at {nll:.2f}"),
    ],
)
def test_what_was_tried_on_validation(name, claim):
    found = read_json(RESULTS / "grammar" / "tried" / f"{name}.json")
    info = sum(factor["information"] for factor in found["factors"])
    accuracies = {factor["name"]: factor["accuracy"] for factor in found["factors"]}
    assert claim.format(info=info, **accuracies, **found) in prose(OF_REMEDIES)


def test_what_an_encoder_that_is_trained_once_more_measures():
    tried = RESULTS / "grammar" / "tried"
    rows = table(part(OF_REMEDIES, "What the estimate costs"))[2:]
    *with_z, (_, _, _, floor, *_) = ([c.strip() for c in row[1:-1].split("|")] for row in rows)
    exact = read_json(tried / "language-model.json")["nll"]
    assert f"{exact:.2f}" == floor
    names = ("default", "floor-14", "floor-16")
    for name, (_, *shown) in zip(names, with_z, strict=True):
        own, again = (read_json(tried / f"{name}{end}.json") for end in ("", "-encoder"))
        accuracies = [factor["accuracy"] for factor in own["factors"]]
        figures = sum(factor["information"] for factor in own["factors"]), fmean(accuracies)
        expected = [f"{value:.2f}" for value in figures]
        for one in (own, again):
            expected += [f"{one['nll']:.2f}", f"{one['effective_samples']:.1f}"]
        assert shown == [*expected, f"{again['fitted_prior']['nll']:.2f}"]
        said = {
            "default": f"within {again['nll'] - exact:.2f} nats of the language model, with a "
            f"fitted prior {exact - again['fitted_prior']['nll']:.2f} below it (less than the "
            f"standard error of either, {again['nll_se']:.2f})",
            "floor-14": f"at least {min(accuracies):.2f} right, has an NLL of at most {shown[-3]}, "
            f"with a fitted prior {shown[-1]}",
        }
        assert said.get(name, "") in prose(OF_REMEDIES)


def test_what_was_tried_of_averaging():
    found = read_json(RESULTS / "grammar" / "tried" / "average.json")
    without, averaged = found["default"], found["default+average"]
    said = f"−ELBO {averaged[9]:.2f} after ten epochs where `default` has {without[9]:.2f}, and "
    said += f"{averaged[19]:.2f} after twenty, {without[19]:.2f} without"
    assert said in prose(OF_REMEDIES)


def texts(path: Path) -> str:
    """A document without its code; of a notebook, what is written between the cells."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(path: Path) -> set[str]:
    """What GitHub, and the site, call the headings of a document."""
    titles = re.findall(r"^#+ (.+)$", texts(path), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_to_a_file_and_a_heading(name):
    linked = re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", texts(docs.ROOT / name))
    for path, anchor in linked:
        target = (docs.ROOT / name).parent / path if path else docs.ROOT / name
        assert target.is_file(), path
        assert not anchor or anchor in anchors(target), (path, anchor)


def test_every_document_is_in_the_sites_navigation():
    named = re.findall(r"^ +- .+: (\S+\.md)$", docs.text("mkdocs.yml"), flags=re.MULTILINE)
    assert sorted(named) == sorted(name.replace(".ipynb", ".md") for name in PAGES)


def test_the_reference_has_every_public_name_once():
    pages = "".join(map(docs.text, docs.ROOT.glob("docs/api/*.md")))
    found = re.findall(r"^::: (\S+)$", pages, flags=re.MULTILINE)
    assert len(found) == len(set(found))
    public = {getattr(textvae, name) for name in set(textvae.__all__) - {"__version__"}}
    assert public <= {*map(pkgutil.resolve_name, found)}


@pytest.mark.slow
def test_the_site_is_built_strictly_and_asks_no_other_host(tmp_path):
    for name in ("material", "mkdocstrings", "nbconvert"):
        pytest.importorskip(name)
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    built = subprocess.run(command, cwd=docs.ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    pages = {path: path.read_text(encoding="utf-8") for path in tmp_path.rglob("*.html")}
    assert len(pages) > len(PAGES)
    for path, page in pages.items():
        assert not re.search(r"<(?:script|link|img|iframe)[^>]*=\"?(?:https?:)?//", page), path
    assert "free bits" in (tmp_path / "search" / "search_index.js").read_text(encoding="utf-8")
