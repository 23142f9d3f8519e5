"""The law of every wrong input: a refusal in one paragraph that names it, in seconds, and nothing is left."""

import contextlib
import shutil
import signal
import sys

import pytest

from psst.cli import main
from tests.fuzz.tables import Case, all_cases
from tests.fuzz.world import build

COMPUTING, WAITING = 10, 120  # seconds; a busy machine computes little in the latter
CASES = all_cases()
QUICK = """\
fit --data.init_args.episodes.shot 0.5
fit --data.init_args.root \n\
fit --seed_everything -5
callback tradeoff nan
search.course nonsense
wrong key --data.init_args.epsodes.query
wrong key in a file model.init_args.backbone.int_args.hidden
fit with a cyclic alias
search with exploding aliases
fit --config run.yaml: run.yaml is a web page
validate --config run.yaml
predict --config run.yaml
test --config run.yaml --ckpt_path model.ckpt: model.ckpt is cut in half
export a checkpoint with NaN
export model.ckpt --output run.yaml/below
transfer model.ckpt run.yaml,absent --shots 1
data verify: a class in two splits
data verify store --level 2: store/labels.npy is a pipe
compare with NaN
classify classifier pictures --unknown 7
adapt absent --encoder encoder --output new
import model.ckpt --config run.yaml --std [0,0,0]
reproduce recipe.yaml --keys run.yaml: run.yaml is a pipe
doctor --nonsense 1
one-shot-runs model.ckpt pictures
""".splitlines()


class TooLongError(BaseException):
    """What no handler of the product catches."""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    with contextlib.chdir(root):
        build(root)
    return root


@pytest.fixture(autouse=True)
def _here(world, tmp_path, monkeypatch):
    shutil.copytree(world, tmp_path, symlinks=True, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv("PSST_TRACEBACK", raising=False)


@contextlib.contextmanager
def limited():
    def stop(number, frame):
        raise TooLongError(signal.Signals(number).name)

    clocks = (signal.SIGPROF, signal.ITIMER_PROF, COMPUTING), (signal.SIGALRM, signal.ITIMER_REAL, WAITING)
    before = [signal.signal(number, stop) for number, _, _ in clocks]
    try:
        for _, clock, seconds in clocks:
            signal.setitimer(clock, seconds)
        yield
    finally:
        for (number, clock, _), handler in zip(clocks, before, strict=True):
            signal.setitimer(clock, 0)
            signal.signal(number, handler)


def status(words: tuple[str, ...]) -> object:
    with limited():
        try:
            return main(words)
        except SystemExit as stop:  # argparse
            return stop.code


def left(root):
    """Files but those that may stay: locks, whole stores, and what a run was asked for."""
    files = {path for path in root.rglob("*") if path.is_file() or path.is_fifo()}
    whole = {path.parent for path in files if path.name == "meta.json"}
    kept = {".lock"}
    return {
        str(path.relative_to(root))
        for path in files
        if path.suffix not in kept and path.name != "config.yaml" and not whole & set(path.parents)
    }


def slow_but_for_a_few(case: Case):
    return pytest.param(case, id=case.id, marks=() if case.id in QUICK else pytest.mark.slow)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", [slow_but_for_a_few(case) for case in CASES])
def test_wrong_input_is_refused_by_name_in_seconds_and_leaves_nothing(case, tmp_path, capsys):
    if case.change is not None:
        case.change(tmp_path)
    before = left(tmp_path)
    found = status(case.words)
    told = capsys.readouterr()
    assert "Traceback" not in told.out + told.err
    if case.accepted:
        assert found == 0, told.err
        return
    message = told.err.partition("error: ")[2]
    assert found == 2, told
    assert [name for name in case.names if name not in message] == [], message
    assert len(message.strip().splitlines()) == 1, message
    assert left(tmp_path) <= before


def test_there_are_hundreds_each_called_otherwise_and_the_few_are_among_them():
    names = [case.id for case in CASES]
    assert len(names) >= 500
    assert len(set(names)) == len(names)
    assert set(QUICK) <= set(names)
    assert {case.words[0] for case in CASES if case.id in QUICK} >= {
        *("fit", "validate", "predict", "test", "search", "export", "transfer", "data", "compare"),
        *("classify", "adapt", "import", "reproduce", "doctor", "one-shot-runs"),
    }
