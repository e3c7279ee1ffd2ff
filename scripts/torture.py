"""Torture: what runs, commands and the page must survive; drawn at random by a seed, and counted.

    python scripts/torture.py kills --count 200        # trainings are killed, and go on
    python scripts/torture.py kills_of_two --count 20  # of two processes that train one model
    python scripts/torture.py corruptions --count 300  # a flipped bit or a lost end in a run's file
    python scripts/torture.py inputs --count 1000      # wrong command lines, made of all options
    python scripts/torture.py fuzz --count 100000      # any values and files, from Python
    python scripts/torture.py page --count 60          # visitors for a minute, hostile requests

Lost: a result that was not had in the end. Silent: used, and should have been refused. One of
these, a traceback or a hang makes the exit code 1. All is done in a temporary directory.
"""

from textvae.runtime import shorten_spin

shorten_spin()  # before torch is loaded

import contextlib
import io
import json as jsons
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
import warnings
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from itertools import chain
from itertools import count as numbers
from pathlib import Path
from random import Random
from typing import Annotated, Any, Literal
from unittest import mock

from fuzzing import REFUSED, Fault, Trial, fuzzed
from jsonargparse.typing import PositiveInt
from tqdm import tqdm

from textvae import TextVAE, cli, explore, grammar, hub, recipes
from textvae.config import RunConfig
from textvae.files import output_file, write_json
from textvae.run import LOCK, RunDirectory

PATIENCE = 120  # seconds, after which something hangs
FLAGS = ["--recipe=linear", "--latent-dim=2", "--embedding-dim=4", "--encoder-hidden-size=5"]
FLAGS += ["--decoder-hidden-size=6", "--max-steps=12", "--save-every=2", "--log-every=1"]
FLAGS += ["--precision=fp32", "--device=cpu"]


def corpus_in(work: Path) -> str:
    """A file of sentences of the embedded corpus."""
    (work / "corpus.txt").write_text("\n".join(one.text for one in grammar.sample(300, seed=0)))
    return str(work / "corpus.txt")


def called(*arguments: str) -> tuple[int, str]:
    """A command in this process: its exit code, and what it says to standard error."""
    err, given = io.StringIO(), mock.patch("sys.stdin", io.StringIO())
    with given, contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
        try:
            return cli.main(arguments), err.getvalue()
        except SystemExit as stop:  # the parser's
            return int(str(stop.code or 0)), err.getvalue()


def trained(work: Path) -> str:
    """A tiny run."""
    code, said = called("train", corpus_in(work), *FLAGS, f"--output-dir={work / 'tiny'}")
    assert code == 0, said
    RunDirectory(work / "tiny", RunConfig(data_source="")).unlock()
    return str(work / "tiny")


def forked(arguments: list[str], log: Path, writes: int = -1, **own: str) -> int:
    """The number of a process that does a command, and is killed before one of its writes."""
    log.touch()
    if pid := os.fork():
        return pid
    os.environ.update(own)
    left, replace, code = numbers(writes, -1), os.replace, 1
    os.replace = lambda *a: replace(*a) if next(left) else os.kill(os.getpid(), signal.SIGKILL)
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have had it ignored
        with log.open("w", 1) as sys.stderr, open(os.devnull, "w") as sys.stdout:
            code = cli.main(arguments)
    except KeyboardInterrupt:
        code = 130
    except Exception:
        log.write_text(traceback.format_exc())
    finally:
        os._exit(code)


def free_port() -> int:
    """A port of this machine that nothing listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def kills_of_two(work: Path, count: int, closing: contextlib.ExitStack) -> Trial:
    """The same with two processes that train one model."""
    return kills(work, count, closing, processes=2)


def kills(work: Path, count: int, closing: contextlib.ExitStack, processes: int = 1) -> Trial:
    """Trainings killed up to three times, at any moment, before a write or by Ctrl-C; resumed."""
    command, duration = ["train", corpus_in(work), *FLAGS, "--autoencoder-epochs=1"], 0.0

    def train(run: Path, how: str = "", at: float = 0) -> dict[str, bytes]:
        """What it has come to, but for times."""
        signal.alarm(PATIENCE)
        begun = RunDirectory.is_taken(run) or (run / LOCK).exists()
        given = [*command, f"--output-dir={run}", *(["--resume"] if begun else [])]
        host = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": f"{free_port()}"}
        pids, logs = [], [work / f"log-{rank}" for rank in range(processes)]
        for rank, log in enumerate(logs):  # as torchrun starts them
            place = {"RANK": f"{rank}", "LOCAL_RANK": f"{rank}", "WORLD_SIZE": f"{processes}"}
            own = {**host, **place} if processes > 1 else {}
            pids.append(forked(given, log, int(at * 60) if how == "write" else -1, **own))
        try:
            if how in ("SIGKILL", "SIGINT"):
                time.sleep(0.05 + at * duration)
                for pid in pids:
                    os.kill(pid, getattr(signal, how))
            codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        except Fault:
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            raise
        said = "".join(log.read_text() for log in logs)
        ends = {0, 130, -9, *({1} if processes > 1 else ())}  # 1: the other process is gone
        if "Traceback" in said or not {*codes} <= (ends if how else {0}):
            kind = "tracebacks" if "Traceback" in said else "lost"
            raise Fault(kind, f"{how} at {at}: {codes} {said}")
        timed = rb'"(seconds|tokens_per_second)": [\d.]+'
        paths = [*run.rglob("model.safetensors"), *run.rglob("metrics.jsonl")]
        return {str(path.relative_to(run)): re.sub(timed, b"", path.read_bytes()) for path in paths}

    began, wanted = time.monotonic(), train(work / "whole")
    duration = time.monotonic() - began

    def trial(rng: Random) -> None:
        shutil.rmtree(work / "run", ignore_errors=True)
        ways = ("SIGKILL", "SIGINT", "write")[: 4 - processes]  # of one alone
        told = [(rng.choice(ways), rng.random()) for _ in range(3)]
        for how, at in told[: rng.randint(1, 3)]:
            train(work / "run", how, at)
        if train(work / "run") != wanted:
            raise Fault("lost", f"{told}: not as undisturbed")

    return trial


def corruptions(work: Path, count: int, closing: contextlib.ExitStack) -> Trial:
    """A run with a flipped bit or a lost end in a file: refused, or used as if that weren't."""
    clean, run = trained(work), work / "run"

    def used(use: str) -> Any:
        with contextlib.redirect_stderr(io.StringIO()):
            if use == "evaluated":
                return recipes.evaluate_run(run).evaluation.to_dict()
            if use == "sampled":
                return TextVAE.from_pretrained(run).sample(3, seed=0)
            recipes.resume(run, {"max_steps": 14}).fit()
            return (run / "model.safetensors").read_bytes()

    shutil.copytree(clean, run)
    wanted = {use: used(use) for use in ("evaluated", "sampled", "resumed")}

    def trial(rng: Random) -> None:
        RunDirectory(run, RunConfig(data_source="")).unlock()
        shutil.rmtree(run)
        shutil.copytree(clean, run)
        path = rng.choice(sorted(path for path in run.iterdir() if path.name != LOCK))
        content, bit = path.read_bytes(), rng.randrange(9)
        at = rng.randrange(len(content))
        end = bytes([content[at] ^ 1 << bit]) + content[at + 1 :] if bit < 8 else b""
        path.write_bytes(content[:at] + end)
        for use, result in wanted.items():
            with contextlib.suppress(*REFUSED):
                if used(use) != result:
                    raise Fault("silent", f"{use} otherwise: {path.name}, byte {at}, bit {bit}")

    return trial


WRONG = {  # by what stands in an option's type
    "int": ("x", "1.5", "", "nan", "-1", "1" + "0" * 20),
    "float": ("x", "", "nan", "1,5"),
    "literal": ("nonsense", "", "NONE"),
    "str": ("", "a\0b", "corpus.txt/below", "gone/gone", "full", "noise.bin", "link"),
    "bool": ("maybe",),
}
# Of these only "" is surely wrong.
ANY = ("text", "texts", "text_field", "pattern", "label_field", "output_dir", "repository")


def inputs(work: Path, count: int, closing: contextlib.ExitStack) -> Trial:
    """Lines with an option or argument that is wrong: exit code 2, two lines at most."""
    os.chdir(work)
    run, corpus = trained(work), corpus_in(work)
    Path("full/full").mkdir(parents=True)
    Path("noise.bin").write_bytes(bytes(range(128, 256)) * 9)
    Path("link").symlink_to("nowhere")
    good = {"run": [run], "runs": [run, run], "--dim": ["--dim=0"], "annealers": ["cyclical"]}
    good |= {"--corpus": [f"--corpus={corpus}"], "data": [corpus], "file": [corpus]}
    good |= {"codes": [corpus]}
    texts = {"analogy": ["a", "b", "c"], "interpolate": ["a", "b"]}
    for room, name in ((explore, "serve"), (hub, "create"), (hub, "push")):
        closing.enter_context(mock.patch.object(room, name))
    parsers, none = cli.parser_of_all()._subcommands_action.choices, ("help", "print_config")
    options = {k: [a for a in p._actions if a.dest not in none] for k, p in parsers.items()}

    def trial(rng: Random) -> None:
        command = rng.choice(sorted(name for name in options if options[name]))
        line, wrong = [command], rng.choice(options[command])
        line += [*FLAGS, "--output-dir=new"] if command in ("train", "tune") else []
        for action in options[command]:
            name = (action.option_strings or [action.dest])[-1]
            if action is wrong:
                hint = str(getattr(action, "_typehint", "bool" if action.nargs == 0 else "str"))
                values = next(WRONG[kind] for kind in (*WRONG, "str") if kind in hint.lower())
                value = "" if action.dest in ANY else rng.choice(values)
                flag = f"{name}~=" if rng.random() < 0.1 else f"{name}="
                line.append(f"{flag * bool(action.option_strings)}{value}")
            elif action.required or not action.option_strings:
                line += good.get(name) or texts.get(command, ["a"])
        code, said = called(*line)
        shutil.rmtree("new", ignore_errors=True)
        if code != 2 or len(said.splitlines()) > 2:
            raise Fault("silent", f"{line}: {code}, {said}")

    return trial


def fuzz(work: Path, count: int, closing: contextlib.ExitStack) -> Trial:
    """What Python is given: options, annealers, losses, texts, files (see fuzzing.py)."""
    return fuzzed(work, corpus_in(work), trained(work))


def ask(port: int, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, str]:
    """What the page answers: the status, and the words."""
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    connection.request(method, path, body, {"Content-Type": "application/json", **headers})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def visit(port: int) -> float:
    """The seconds until all events of a page's start are answered, or told that it is busy."""
    began, joined, session = time.monotonic(), 0, os.urandom(5).hex()
    config = jsons.loads(ask(port, "GET", "/config")[1])
    values = {each["id"]: each["props"].get("value") for each in config["components"]}
    for event in config["dependencies"]:
        if any(target[1] == "load" for target in event["targets"]):
            data = {"data": [values[each] for each in event["inputs"]], "fn_index": event["id"]}
            body = jsons.dumps({**data, "session_hash": session})
            code, said = ask(port, "POST", "/gradio_api/queue/join", body)
            if code != 200 and "Queue is full" not in said:
                raise Fault("lost", said)
            joined += code == 200
    said = ask(port, "GET", f"/gradio_api/queue/data?session_hash={session}")[1] if joined else ""
    if said.count('"success":true') < joined:
        raise Fault("lost", f"{joined} events were answered by {said}")
    return time.monotonic() - began


def page(work: Path, count: int, closing: contextlib.ExitStack) -> Trial:
    """Visitors of a page all at once; then requests that it must refuse."""
    port = free_port()
    server = forked(["explore", trained(work), f"--port={port}"], work / "log")
    closing.callback(os.kill, server, signal.SIGKILL)
    while "the page is at" not in (work / "log").read_text():
        assert os.waitpid(server, os.WNOHANG) == (0, 0), (work / "log").read_text()
        time.sleep(0.1)
    visitors = [port] * count

    def trial(rng: Random) -> None:
        if visitors:
            ends, waited = time.monotonic() + min(count, 60), list[float]()
            with ThreadPoolExecutor(count) as threads:
                while time.monotonic() < ends:
                    signal.alarm(PATIENCE)
                    waited += threads.map(visit, visitors)
            told = f"{len(waited)} visits by {count} at once, the slowest answered after"
            print(f"{told} {max(waited):.1f} s")
            visitors.clear()
        route = rng.choice(("queue/join", "upload", "file=/etc/passwd", "run/show", "deep_link"))
        body = rng.choice((b"", b"{", b"[" * 10**5, bytes(2**21)))
        hosts = ("127.0.0.1", "localhost", "evil.example", "localhost.evil.example", "10.0.0.1")
        headers = {"Host": f"{rng.choice(hosts)}:{port}"}
        if rng.random() < 0.5:
            headers["Origin"] = rng.choice(("http://evil.example", "null", "http://127.0.0.1:1"))
        code, _ = ask(port, rng.choice(("GET", "POST")), f"/gradio_api/{route}", body, **headers)
        if not 400 <= code < 500:
            raise Fault("silent", f"{route} {headers} {body[:9]!r}: {code}")
        if "Traceback" in (said := (work / "log").read_text()):
            raise Fault("tracebacks", said)

    return trial


Part = Literal["kills", "kills_of_two", "corruptions", "inputs", "fuzz", "page"]
PARTS = {part.__name__: part for part in (kills, kills_of_two, corruptions, inputs, fuzz, page)}


def torture(
    part: Annotated[Part, "what is tormented"],
    *,
    count: Annotated[PositiveInt, "trials; of page also visitors at once"] = 20,
    seed: Annotated[int, "of all that is drawn"] = 0,
    json: Annotated[str | None, "also write what was found to this file"] = None,
) -> None:
    """Torment runs, commands or the page at random, and count what must not be."""
    file = None if json is None else output_file(json, ".json").resolve()
    faults: dict[str, list[str]] = {"lost": [], "silent": [], "tracebacks": [], "hangs": []}

    def late(*_: Any) -> None:
        raise Fault("hangs", f"nothing after {PATIENCE} s")

    signal.signal(signal.SIGALRM, late)
    with tempfile.TemporaryDirectory() as work, contextlib.ExitStack() as closing:
        closing.callback(os.chdir, os.getcwd())
        own = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": work, "TOKENIZERS_PARALLELISM": "false"}
        closing.enter_context(mock.patch.dict(os.environ, own))
        closing.enter_context(warnings.catch_warnings(action="ignore"))
        trial = PARTS[part](Path(work), count, closing)
        for number in tqdm(range(count), unit=" trials", disable=None):
            signal.alarm(PATIENCE)
            try:
                trial(Random(f"{seed} {number}"))
            except Fault as fault:
                faults[fault.args[0]].append(f"trial {number}: {fault.args[1]}")
            except Exception:
                faults["tracebacks"].append(f"trial {number}: {traceback.format_exc()}")
            signal.alarm(0)
    counted = {name: len(each) for name, each in faults.items()}
    told = ", ".join(f"{n} {name}" for name, n in counted.items())
    print(*chain(*faults.values()), f"{part}: {count} trials, seed {seed}: {told}", sep="\n")
    if file is not None:
        write_json(file, {"part": part, "count": count, "seed": seed, **counted, "faults": faults})
    sys.exit(int(any(counted.values())))


def main() -> int:
    """Parse, torment, tell."""
    return cli.run(torture)


if __name__ == "__main__":
    sys.exit(main())
