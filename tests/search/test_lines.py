"""Lines of work side by side."""

from concurrent.futures import Future

import pytest

from psst.search.engines import LostWorkerError
from psst.search.lines import run_lines
from psst.search.mixture import MAIN_ONLY
from psst.search.unit import Unit
from psst.search.work import Work


def work(name):
    return Work("train", Unit(name, MAIN_ONLY, 0, 1, 1), name)


class Slots:
    """Ends what was submitted first, once all slots are taken or nothing else is asked for."""

    def __init__(self, slots, losses=()):
        self.slots, self.order, self.losses = slots, [], list(losses)

    def submit(self, piece):
        self.order.append(piece.name)
        future = Future()
        if piece.name in self.losses:
            self.losses.remove(piece.name)
            future.set_exception(LostWorkerError("gone"))
        else:
            future.set_result({"name": piece.name})
        return future

    def close(self):
        """Nothing."""


def line(*stages):
    seen = []
    for stage in stages:
        results = yield [work(name) for name in stage]
        assert set(results) == set(stage)
        seen += [results[name]["name"] for name in stage]
    return seen


def run(lines, engine, known=lambda piece: None, lost=None):
    done = []
    return (
        run_lines(
            lines,
            engine,
            known,
            lambda piece: None,
            lambda piece, result: done.append(piece.name),
            lambda piece: lost.append(piece.name) if lost is not None else None,
            lambda: None,
        ),
        done,
    )


@pytest.mark.parametrize("slots", [1, 2, 5])
def test_each_line_gets_its_own_results_in_order(slots):
    values, done = run([line("ab", "c"), line("x", "yz")], Slots(slots))
    assert values == [["a", "b", "c"], ["x", "y", "z"]]
    assert sorted(done) == sorted("abcxyz")


def test_the_first_line_has_precedence():
    engine = Slots(1)
    run([line("ab", "c"), line("x")], engine)
    assert engine.order == ["a", "b", "c", "x"]


def test_what_is_known_is_not_done_again():
    known = {"a": {"name": "old"}}
    values, done = run([line("ab", "c")], Slots(2), lambda piece: known.get(piece.name))
    assert values == [["old", "b", "c"]]
    assert done == ["b", "c"]


def test_a_lost_worker_is_replaced_twice_and_then_named():
    lost = []
    values, _ = run([line("a")], Slots(1, losses="aa"), lost=lost)
    assert values == [["a"]]
    assert lost == ["a", "a"]
    with pytest.raises(RuntimeError, match="unit `a`: gone"):
        run([line("a")], Slots(1, losses="aaa"))


def test_an_error_of_a_unit_is_raised_at_once():
    class Failing(Slots):
        def submit(self, piece):
            future = Future()
            future.set_exception(ValueError("bad"))
            return future

    with pytest.raises(ValueError, match="bad"):
        run([line("a")], Failing(1))


def test_a_line_without_work_ends():
    assert run([line("", "")], Slots(1))[0] == [[]]


def test_what_two_lines_have_in_common_is_done_once():
    engine, finished = Slots(2), {}

    def known(piece):
        return finished.get(piece.name)

    def done(piece, result):
        finished[piece.name] = result

    lines = [line(["a", "b"], ["c"]), line(["b", "a"], ["c", "d"])]
    values = run_lines(lines, engine, known, lambda p: None, done, lambda p: None, lambda: None)
    assert sorted(engine.order) == ["a", "b", "c", "d"]
    assert values == [["a", "b", "c"], ["b", "a", "c", "d"]]
