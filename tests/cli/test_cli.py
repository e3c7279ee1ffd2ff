"""Tests of `textvae train`, `evaluate`, and of what all commands share, on tiny runs made once."""

import io
import itertools
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from accelerate import tracking

import textvae
from tests import docs
from tests.cli.calling import SIZES, Said, Terminal, call, done
from textvae import cli
from textvae.checks import InputError, NotInstalledError
from textvae.cli.command import NO_FLAGS, PARTS
from textvae.corpus import CorpusNotFound
from textvae.recipes import RECIPES
from textvae.run import RunDirectory
from textvae.training import SafeInterrupt, Trainer, TrainingError


@pytest.fixture
def run(trained: tuple[Path, Said]) -> str:
    return str(trained[0])


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What `train` was asked for; nothing is trained."""
    asked: list[dict[str, Any]] = []

    def train(corpus: Any, options: Any, directory: Path, *, command: str, **more: Any) -> None:
        asked.append({"options": options, "directory": directory, "command": command})

    monkeypatch.setattr("textvae.cli.training.train_run", train)
    return asked


def test_train_prints_results_and_nothing_else_to_stdout(trained, fifty):
    run, said = trained
    assert said.code == 0
    lines = said.out.split("\n")
    assert lines[1].startswith("fifty, test split: 2 sentences of ")
    assert " ".join(lines[2].split()) == "rec KL −ELBO ELBO-PPL AU active dims β epochs minutes"
    assert lines[4].startswith("KL per dimension │")
    for heading in ("samples from the prior", "reconstructions", "interpolation between", "go on"):
        assert heading in said.out
    assert "training" not in said.out
    assert f"textvae: {run}: {fifty.resolve()}, 46 sentences of " in said.err
    assert "textvae: training ended: 1 epochs done" in said.err
    assert re.search(r"epoch 1: β 0\..* valid rec ", said.err)  # a file shows no bar
    assert {path.name for path in run.iterdir()} == {
        *("config.json", "tokenizer.json", "model.safetensors", "training_state.safetensors"),
        *("metrics.jsonl", "results.json", "training_state.previous.safetensors", ".lock"),
    }


def test_the_names_that_a_tracker_gets_are_those_of_the_docs(fifty, tmp_path, monkeypatch):
    kind = Mock(requires_logging_directory=False)
    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "wandb", kind)
    monkeypatch.setitem(sys.modules, "wandb", Mock())
    options = (*SIZES, "--autoencoder-epochs=1", "--bag-of-words=0.1", "--mmd=1")
    where = f"--output-dir={tmp_path / 'run'}"
    done("train", str(fifty), *options, where, "--tracker=wandb")
    kind.assert_called_once_with("textvae")  # the run's own phase alone
    logged = {name for each in kind.return_value.log.call_args_list for name in each.args[0]}
    documented = set(re.findall(r"`(\w+/[\w/]+)`", docs.text("docs/tracking.md")))
    verdicts = {name for name in logged if name.startswith("verdict/")}
    assert logged - verdicts == {name for name in documented if not name.startswith("verdict/")}
    assert len(verdicts) == 1


def test_the_commands_to_go_on_with_are_right(trained):
    lines = trained[1].out.split("go on with\n")[1].splitlines()
    commands = [shlex.split(line) for line in lines]
    names = "diagnose sample reconstruct interpolate"
    assert " ".join(command[1] for command in commands) == names
    for command in commands:
        assert command[0] == "textvae"
        done(*command[1:])


def test_runs_are_numbered_by_their_corpus(fifty, tmp_path, monkeypatch, taken):
    monkeypatch.chdir(tmp_path)
    none = "textvae: error: no run to resume at runs/fifty-N: name one with --output-dir\n"
    assert call("train", str(fifty), "--resume") == (2, "", none)
    call("train", str(fifty))
    for name in ("fifty-2", "fifty-10", "fifty-x", "fifty-more-11", "other-12"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    call("train", str(fifty))
    latest = call("train", str(fifty), "--resume")
    assert "no run at runs/fifty-10" in latest.err  # an empty directory
    assert [asked["directory"] for asked in taken] == [Path("runs/fifty-1"), Path("runs/fifty-11")]
    assert taken[0]["command"] == f"textvae train {fifty}"


def test_a_run_is_not_resumed_on_another_corpus(run, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("a b\n" * 50, encoding="utf-8")
    answer = call("train", str(other), f"--output-dir={run}", "--resume")
    assert answer.code == 2
    assert re.search(r"was trained on .*fifty\.txt, got .*other\.txt", answer.err)


def test_only_what_was_given_is_an_option(fifty, tmp_path, taken):
    call("train", str(fifty), "--output-dir=x", "--lr", "0.001", "--no-bidirectional")
    for name, lr in (("a", 0.1), ("b", 0.2)):  # the last of two files wins
        (tmp_path / name).write_text(f"lr: {lr}\nlatent_dim: 3\n")
    call("train", str(fifty), "-c", str(tmp_path / "a"), "--seed=1", "-c", str(tmp_path / "b"))
    flags, files = (asked["options"] for asked in taken)
    assert flags == {"lr": 0.001, "bidirectional": False}
    assert files == {"lr": 0.2, "latent_dim": 3, "seed": 1}


@pytest.mark.parametrize(
    "arguments",
    [
        ["-c", "FILE", "--lr", "0.5", "--tied-embeddings"],
        ["--lr", "0.5", "-c", "FILE", "--tied-embeddings"],
        ["--lr=0.5", "--tied-embeddings", "--config", "FILE"],
        ["--lr=0.5", "--tied-embeddings", "--config=FILE"],
        ["--lr=0.5", "--tied-embeddings", "-cFILE"],
        ["--lr=0.5", "--tied-embeddings", "-c=FILE"],
    ],
)
def test_flags_win_over_the_file_wherever_it_is_named(fifty, tmp_path, taken, arguments):
    file = tmp_path / "options.yaml"
    file.write_text("lr: 0.25\nlatent_dim: 9\ntokenizer: char\n")
    arguments = [argument.replace("FILE", str(file)) for argument in arguments]
    for place in ([str(fifty), *arguments], [*arguments, str(fifty)]):
        done("train", *place)
        options = {"lr": 0.5, "latent_dim": 9, "tokenizer": "char", "tied_embeddings": True}
        assert taken.pop()["options"] == options


def test_a_training_that_does_not_end(fifty, tmp_path, monkeypatch):
    faults = [TrainingError("loss or gradient not finite at step 3"), SafeInterrupt()]
    monkeypatch.setattr(Trainer, "fit", Mock(side_effect=faults))
    answer = call("train", str(fifty), *SIZES, f"--output-dir={tmp_path / 'run'}")
    assert (answer.code, answer.out) == (1, "")
    assert "textvae: error: loss or gradient not finite at step 3\n" in answer.err
    run, copy = tmp_path / "my runs", tmp_path / "my text.txt"
    copy.write_bytes(fifty.read_bytes())
    answer = call("train", str(copy), *SIZES, f"--output-dir={run}")
    assert (answer.code, answer.out) == (130, "")
    again = f"to go on: textvae train '{copy}' --output-dir '{run}' --resume\n"
    assert answer.err.endswith(again)


def test_a_language_model(trained_floor):
    run, said = str(trained_floor[0]), trained_floor[1]
    assert "textvae: language model, vocabulary" in said.err
    assert "no latent dimensions (a language model)" in said.out
    assert "reconstruct" not in said.out
    found = json.loads(call("evaluate", run, "--json").out)
    assert (found["kl"], found["au"], found["kl_per_dim"]) == (0, 0, [])
    assert call("sample", run, "-n2", "--max-length=5").out.count("\n") == 2


def test_evaluate(fifty, tmp_path, run, trained):
    table = call("evaluate", run).out
    assert table.split("\n")[0] == trained[1].out.split("\n")[1]
    assert "KL per dimension │" in table
    moved = tmp_path / "moved.txt"
    moved.write_bytes(fifty.read_bytes())
    valid = call("evaluate", run, "--split=valid", "--seed=4", f"--data-dir={moved}")
    assert valid.out.startswith("moved, valid split: 2 sentences")
    answer = call("evaluate", run, "--split", "test", "--json")
    assert (answer.code, answer.err) == (0, "")
    found = json.loads(answer.out)
    assert answer.out.count("\n") == 1
    assert " ".join(found) == (  # no ppl and no nll: those would be other estimates
        "rec kl elbo elbo_ppl mi mi_max au active_dimensions kl_per_dim num_sentences num_tokens"
    )
    assert found["elbo"] == pytest.approx(-found["rec"] - found["kl"])
    assert (found["num_sentences"], len(found["kl_per_dim"])) == (2, 2)
    results = json.loads((Path(run) / "results.json").read_text())
    assert {name: results[name] for name in found} == found


def test_a_line_break_within_a_sentence_is_not_printed(run, monkeypatch):
    texts = itertools.cycle(["a\nb", "\n", "", "c\r\nd"])
    decoded = lambda _, batch: [next(texts) for _ in batch]  # noqa: E731
    monkeypatch.setattr("textvae.tokenizer.Tokenizer.decode_batch", decoded)
    for command in (
        ["sample", run, "-n4"],
        ["reconstruct", run, *"abcd"],
        ["interpolate", run, *"ab", "--steps=4"],
        ["jitter", run, "a", "-n4"],
    ):
        assert call(*command).out == "a b\n\n\nc d\n"


def test_a_text_longer_than_any_in_training_is_refused(run, fifty):
    lengths = [len(line.split()) for line in fifty.read_text().splitlines()]
    answer = call("reconstruct", run, "the " * (max(lengths) + 1))
    assert answer.code == 2
    found = re.search(r"must have at most (\d+) tokens, as in training, got", answer.err)
    assert found is not None, answer.err
    longest = int(found[1])
    assert longest in lengths  # of those that were not held out
    done("reconstruct", run, "the " * longest, "--max-length=9")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (InputError("x must be 1, got 2"), 2, ["error: x must be 1, got 2"]),
        (FileNotFoundError("no run at x"), 2, ["error: no run at x"]),
        (FileExistsError("x is taken"), 2, ["error: x is taken"]),
        (NotInstalledError("pip install y"), 2, ["error: pip install y"]),
        (CorpusNotFound("gone", ["do this", "or that"]), 2, ["error: gone", "do this", "or that"]),
        (OSError(28, "No space", "r/x"), 1, ["error: [Errno 28] No space: 'r/x'"]),
        (TrainingError("not finite"), 1, ["error: not finite"]),
        (KeyboardInterrupt(), 130, []),
    ],
)
def test_exit_codes(capsys, error, code, said):
    assert cli.exit_code_of(Mock(side_effect=error)) == code
    assert capsys.readouterr() == ("", "".join(f"textvae: {line}\n" for line in said))
    assert cli.exit_code_of(lambda: None) == 0
    with pytest.raises(ValueError, match="a mistake of ours"):
        cli.exit_code_of(Mock(side_effect=ValueError("a mistake of ours")))


def test_ctrl_c_while_arguments_are_read(monkeypatch):
    monkeypatch.setattr("textvae.cli.parser_of_all", Mock(side_effect=KeyboardInterrupt))
    assert call("train", "any.txt") == (130, "", "")


def test_what_could_command_a_terminal_is_shown_escaped():
    text = "a\x1b[31mred\x9b0m\x00 ü\n\t.\x7f"
    assert cli.command.shown(text, io.StringIO()) == text
    assert cli.command.shown(text, Terminal()) == "a\\x1b[31mred\\x9b0m\\x00 ü\n\t.\\x7f"


def test_a_run_killed_before_it_wrote_anything_is_begun(fifty, tmp_path):
    for left in (".lock", ".config.json.9.tmp", ".tmpAbC123"):
        (tmp_path / left).touch()
    options = [str(fifty), *SIZES, "--max-steps=1", f"--output-dir={tmp_path}", "--resume"]
    done("train", *options)
    assert [path.name for path in tmp_path.glob("*tmp*")] == []


def test_the_package_is_the_program():
    command = [sys.executable, "-m", "textvae", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split()[-1] == textvae.__version__


def test_help_tells_every_option_with_its_text():
    answer = done("train", "--help")
    text = " ".join(answer.out.split())
    for config in PARTS.values():
        for name, field in config.__dataclass_fields__.items():
            if name in NO_FLAGS:
                continue
            assert f"--{name.replace('_', '-')}" in text
            assert " ".join(field.metadata["help"].split()) in text


def test_recipes_are_listed():
    listed = json.loads(call("recipes", "--json").out)
    assert [each["name"] for each in listed] == list(RECIPES)
    text = call("recipes").out
    for each in listed:
        assert {"summary", "paper", "cost", "options"} < set(each)
        assert f"{each['name']}: {each['summary']}\n    {each['paper']}\n" in text


def test_a_recipe_is_said_and_followed(fifty, tmp_path):
    run = tmp_path / "run"
    command = ("train", str(fifty), f"--output-dir={run}")
    answer = done(*command, *SIZES, "--recipe=pool+bow", "--max-steps=2", "--bag-of-words=0.5")
    assert "recipe pool+bow; chosen for fifty: " in answer.err
    assert "pooling max" in answer.err
    assert "verdict: " in answer.out
    assert answer.out.index("verdict: ") < answer.out.index("the run is in")
    flat = RunDirectory.open(run).config.flat()
    assert (flat["pooling"], flat["bag_of_words"], flat["bidirectional"]) == ("max", 0.5, True)
    done(*command, "--resume", "--recipe=pool", "--max-steps=3")
    refused = call(*command, "--resume", "--recipe=lagging")
    assert refused.code == 2
    assert "aggressive_updates is 0" in refused.err
    assert call(*command, "--recipe=pol").code == 2
