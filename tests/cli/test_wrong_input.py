"""Wrong input to any command: one plain line, exit code 2, and nothing written."""

import time

import pytest

from tests.cli.calling import call

ONE = "the cat sees a dog"

FILES = {
    "GOOD": f"{ONE}\n".encode(),
    "BLANK": b"\n  \n",
    "NOTHING": b"",
    "RESERVED": b"the cat\n\na dog <eos>\n",
    "LATIN": b"the caf\xe9\n",
    "YAML": b"latnet_dim: 3\n",
    "ANCHOR": b"a: &a [*a]\n",
    "NULL": b"lr: null\n",
    "P.py": b"def f(text): return {}[text]\n",
    "DEEP.jsonl": b'{"text": "a b"}\n' * 2 + b"[" * 10**5 + b"\n",
    **{f"empty/{split}.txt": b"\n" for split in ("train", "valid", "test")},
    **{f"other/{split}.txt": b"x y z\n" * 3 for split in ("train", "valid", "test")},
}

DIRECTION = "direction RUN --apply GOOD --from"
LANGUAGE_MODEL = "this is a language model (latent_dim 0): it has no latent code"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("paint RUN", "paint"),
        ("", "subcommand"),
        ("train DATA --latent-dims=3", "latent-dims"),
        ("train DATA -c gone.yaml", "gone.yaml"),
        ("train DATA -c YAML", "latnet_dim"),
        ("train DATA -c", "config: "),
        ("train DATA --latent_dim 3", "--latent_dim 3: did you mean --latent-dim? (textvae train"),
        ("trian DATA", "invalid choice: 'trian': did you mean train? (textvae --help"),
        ("train DATA --latent-dim x", "latent_dim: must be of type int, got x (textvae train"),
        ("train DATA --optimizer sdg", "optimizer: must be one of 'adam', 'adamw', 'sgd', got sdg"),
        ("train DATA -c LATIN", "the file of --config can't be read: 'utf-8' codec can't decode"),
        ("train DATA -c ANCHOR", "the file of --config can't be read: maximum recursion depth"),
        ("train DATA -c NULL", "lr must be a number, got None"),
        ("train DATA -c NUL", "no argument can hold a null byte"),
        ("train ~nosuchuser/x", "no file or directory '~nosuchuser/x'"),
        ("train DEEP", "line 3 of DEEP.jsonl must be a JSON object"),
        ("train DATA --seed=9223372036854775808", "seed must be at most 9007199254740992, got 9"),
        ("train DATA --free-bits=1e308", "free_bits must be at most 1e+30, got 1e+308"),
        ("train DATA --latent-dim=1000000000", " GB to train, and this machine has "),
        ("train DATA --decoder-hidden-size=9000000000000000", "a model of inf parameters takes"),
        ("train DATA --encoder-num-layers=10000000", "must be at least 1 and at most 100, got 100"),
        ("train DATA --min-count=1000", "leaves no vocabulary: every word is <unk>, or seen fewer"),
        ("train DATA --vocab-size=5", "of another vocabulary than the model: "),
        ("train DATA --annealer=cyclical --warmup-epochs=1", "warmup_steps must be 0 or at least"),
        ("train DATA --lr=0 --min-count=0", "min_count must be at least 1, got 0; lr"),
        ("train", "DATA is missing: a file, a directory, grammar, ptb, or a hub id"),
        ("train no-such-file.txt", "no file or directory 'no-such-file.txt'"),
        ("train NOTHING", "is empty"),
        ("train RESERVED", "line 3 of"),
        ("train GOOD", "too few sentences"),
        ("train DATA --output-dir=.", "exists and is not empty"),
        ("train --resume --output-dir=nowhere", "no run at nowhere"),
        ("score TRAINED GOOD --seed=99999999999999999999", "seed must be at most 9007199254740992"),
        ("evaluate", "run"),
        ("evaluate no-such-run", "no run directory at 'no-such-run'"),
        ("evaluate TRAINED --split=dev", "fifty has no split 'dev'; it has train, valid, test"),
        ("diagnose .", "is not a run directory"),
        ("diagnose TRAINED --data-dir=empty", "holds no sentences"),
        ("diagnose TRAINED --data-dir=other", "of another vocabulary than the model"),
        ("diagnose TRAINED --report=no/page.html", "no directory no to write page.html to"),
        ("diagnose TRAINED --report=notes.txt", "must end in one of .html, got 'notes.txt'"),
        ("diagnose TRAINED --report=IN/config.html", "is a file of the run in "),
        ("compare TRAINED", "runs must be at least 2, got "),
        ("compare TRAINED .", "is not a run directory"),
        ("quality TRAINED -n 1", "num_samples must be at least 2, got 1"),
        ("quality TRAINED --language-model TRAINED", "must be a run with latent_dim 0, got 2"),
        ("sample RUN -n 0", "num_sentences must be at least 1, got 0"),
        ("sample RUN -n 100000000000000000000", "num_sentences must be at most 10000000, got 1"),
        ("interpolate RUN a b --steps 10000000000", "steps must be at most 10000000, got 1000000"),
        ("sample RUN --strategy beams", "strategy"),
        ("sample RUN --num-beams 3", "num_beams is an option of strategy 'beam' only, got"),
        ("sample RUN --like BLANK", "must hold at least one sentence, got empty lines only"),
        ("sample RUN --from=gmn", "from must be one of prior, aggregate, gaussian, gmm, got 'gmn'"),
        ("sample RUN --from=prior --like GOOD", "texts must be given with sources but 'prior' onl"),
        ("sample RUN --from=gmm --like GOOD", "texts must be more than 1 to fit to, got 1"),
        ("sample LANGUAGE --from=gmm --like GOOD", LANGUAGE_MODEL),
        ("direction RUN --to GOOD --apply GOOD", "from of textvae direction"),
        (f"{DIRECTION} GOOD --to BLANK", "BLANK must hold at least one sentence, got empty lines"),
        (f"{DIRECTION} NOTHING --to GOOD", "NOTHING is empty: it must hold at least one sentence"),
        (f"{DIRECTION} GOOD --to GOOD", "texts of from must be at least 5, got 1"),
        (f"{DIRECTION} GOOD --to GOOD --scale x", "scale: must be a list, [1,2], got x (textvae"),
        (f"{DIRECTION} GOOD --to GOOD --plot=a.xyz", "must end in one of .png, .svg, .pdf, got"),
        ("sample NOWHERE", "no run directory at 'NOWHERE'"),
        ("reconstruct RUN", "standard input is empty: it must hold at least one sentence, a line"),
        ("reconstruct RUN EMPTY", "text 1 must have at least one token, got ''"),
        ("reconstruct RUN --input NOTHING", "is empty: it must hold at least one sentence"),
        ("reconstruct RUN --input LATIN", "is not UTF-8: invalid"),
        ("reconstruct RUN --input .", "Is a directory"),
        ("reconstruct RUN a --input GOOD", "texts must be arguments or --input, got both"),
        ("reconstruct RUN <eos>", "text 1 contains the reserved token <eos>"),
        ("reconstruct SHORT a LONG", "text 2 must have at most 4 tokens, as in training, got 5"),
        ("reconstruct LANGUAGE a", LANGUAGE_MODEL),
        ("complete RUN EMPTY", "text must not be empty"),
        ("complete RUN a --gap=#", "the mark of a gap '#', got 'a'"),
        ("complete RUN _ --strategy=beam", "strategy must be one of sample, greedy, got 'beam'"),
        ("interpolate RUN a", "texts must be at least 2 sentences (both ends), got 1"),
        ("interpolate RUN a b --method cubic", "method must be one of linear, spherical, got"),
        ("traverse RUN a", "dim of textvae traverse"),
        ("traverse RUN a b --dim 1", "texts must be 1 in number, got 2"),
        ("traverse RUN a --dim 3", "dim must be at least 0 and at most 2, got 3"),
        ("traverse RUN a --dim 1 --low 3", "low must be finite and below high, got 3.0 and 3.0"),
        ("analogy RUN a b", "texts must be 3 in number, got 2"),
        ("jitter RUN a -n 0", "num_sentences must be at least 1, got 0"),
        ("encode LANGUAGE a", LANGUAGE_MODEL),
        (
            "decode RUN half.npz",
            "half.npz must hold numbers, as many for each code: File is not a zip file",
        ),
        ("train DATA -c DATA", "the file of --config must hold lines such as latent_dim"),
        ("train DATA --max-ep 3", "unrecognized arguments: --max-ep 3"),
        ("tune DATA --minutes 0", "minutes must be in (0, inf), got 0.0"),
        ("encode RUN a --output codes.txt", "must end in one of .npz, got 'codes.txt'"),
        ("encode RUN a --output gone/codes.npz", "no directory gone to write codes.npz to"),
        ("encode RUN a --output taken.npz", "taken.npz must be a file to write to, it is a"),
        ("encode RUN a --output codes.npz --json", "output must be lines (--json) or a file"),
        ("encode RUN EMPTY --output codes.npz", "text 1 must have at least one token"),
        ("neighbours RUN a", "corpus of textvae neighbours"),
        ("neighbours RUN a --corpus BLANK", "BLANK must hold at least one sentence, got empty"),
        ("neighbours RUN a --corpus RESERVED", "line 3 of RESERVED contains the reserved token"),
        ("neighbours RUN a --corpus GOOD -k 0", "k must be at least 1, got 0"),
        ("optimise RUN", "property of textvae optimise"),
        ("optimise RUN --property GOOD", "property must be FILE.py:function, got 'GOOD'"),
        ("optimise RUN --property gone.py:f", "got 'gone.py:f': FileNotFoundError"),
        ("optimise RUN --property P.py:f --steps 2", "none of 2 candidates could be scored: Key"),
        ("optimise LANGUAGE --property P.py:f", LANGUAGE_MODEL),
        ("train DATA --init-from NOWHERE", "no run directory at 'NOWHERE'"),
        ("train DATA --init-from TRAINED --latent-dim=5", ", where this run begins, got 5"),
        ("train DATA --freeze encoder", "freeze needs init_from"),
        ("schedules lineal", ", vae-annealing, got 'lineal'"),
        ("schedules --figure=shape", "of shapes, cyclical, switching, example, got 'shape'"),
        ("schedules linear --figure=shapes", "either annealers or --figure can be given, got both"),
        ("schedules --steps=0", "steps must be at least 1, got 0"),
        ("schedules --steps=0 --plot=a.png", "steps must be at least 1, got 0"),
        ("schedules --plot=a.xyz", "must end in one of .png, .svg, .pdf, got 'a.xyz'"),
        ("explore LANGUAGE", "is a language model (latent_dim 0): it has no z to explore"),
        ("explore RUN --corpus=", "corpus must not be empty: leave out what isn't there"),
        ("evaluate NUL", "no argument can hold a null byte"),
        ("evaluate EMPTY --data-dir=", "run and data_dir must not be empty"),
        ("train DATA --output-dir= --tokenizer-file=", "output_dir and tokenizer_file must not be"),
        ("explore RUN --port=65536", "port must be at least 1 and at most 65535, got 65536"),
        ("explore RUN --port=0", "port must be at least 1 and at most 65535, got 0"),
    ],
)
def test_wrong_input_is_said_in_plain_words(
    fifty, trained, lively_run, short_run, language_run, tmp_path, monkeypatch, arguments, said
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("textvae.explore.server.gradio", lambda: None)
    (tmp_path / "taken.npz").mkdir()
    (tmp_path / "half.npz").write_bytes(b"PK")
    (tmp_path / "IN").mkdir()
    (tmp_path / "IN" / "config.html").symlink_to(trained[0] / "config.json")
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    before = sorted(tmp_path.rglob("*"))
    names = {"RUN": lively_run, "SHORT": short_run, "LANGUAGE": language_run, "EMPTY": ""}
    names |= {"DATA": str(fifty), "TRAINED": str(trained[0]), "LONG": ONE}
    names |= {"DEEP": "DEEP.jsonl", "NUL": "a\0b"}
    began = time.monotonic()
    answer = call(*(names.get(argument, argument) for argument in arguments.split()))
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err
    assert "Traceback" not in answer.err
    *_, last = answer.err.splitlines()
    assert last.startswith("textvae: error: ") == ("textvae: " in answer.err)  # or the parser's own
    assert time.monotonic() - began < 5  # no hub is asked, nothing retried
    assert sorted(tmp_path.rglob("*")) == before
