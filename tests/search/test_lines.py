"""Lines of work side by side."""

from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool

import pytest

from psst.search.course import Found
from psst.search.mixture import MAIN_ONLY, alone
from psst.search.session import _run_lines
from psst.search.unit import Unit


def work(name):
    return Unit(name, MAIN_ONLY, 0, 1, 1)


class Slots:
    """Ends what was submitted first, once all slots are taken or nothing else is asked for."""

    def __init__(self, slots, losses=()):
        self.slots, self.order, self.losses = slots, [], list(losses)

    def submit(self, piece):
        self.order.append(piece.name)
        future = Future()
        if piece.name in self.losses:
            self.losses.remove(piece.name)
            future.set_exception(BrokenProcessPool("gone"))
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


class Memory:
    """Remembers what came of work, and what it was told."""

    def __init__(self, known=()):
        self.results, self.done, self.gone, self.progress = dict(known), [], [], self

    def known(self, piece):
        return self.results.get(piece.name)

    def begin(self, piece):
        assert piece.name not in self.results

    def lost(self, piece):
        self.gone.append(piece.name)

    def finished(self, piece, result):
        self.done.append(piece.name)
        self.results[piece.name] = result


def run(lines, engine, known=()):
    memory = Memory(known)
    return _run_lines(lines, engine, memory), memory


@pytest.mark.parametrize("slots", [1, 2, 5])
def test_each_line_gets_its_own_results_in_order(slots):
    values, memory = run([line("ab", "c"), line("x", "yz")], Slots(slots))
    assert values == [["a", "b", "c"], ["x", "y", "z"]]
    assert sorted(memory.done) == sorted("abcxyz")


def test_the_first_line_has_precedence():
    engine = Slots(1)
    run([line("ab", "c"), line("x")], engine)
    assert engine.order == ["a", "b", "c", "x"]


def test_what_is_known_is_not_done_again():
    values, memory = run([line("ab", "c")], Slots(2), {"a": {"name": "old"}})
    assert values == [["old", "b", "c"]]
    assert memory.done == ["b", "c"]


def test_a_lost_worker_is_replaced_twice_and_then_named():
    values, memory = run([line("a")], Slots(1, losses="aa"))
    assert values == [["a"]]
    assert memory.gone == ["a", "a"]
    with pytest.raises(RuntimeError, match="unit `a`: its worker process ended abruptly"):
        run([line("a")], Slots(1, losses="aaa"))


def test_an_error_of_a_unit_is_raised_at_once():
    class Failing(Slots):
        def submit(self, piece):
            future = Future()
            future.set_result(ValueError("bad"))  # an error that a process has handed over
            return future

    with pytest.raises(ValueError, match="bad"):
        run([line("a")], Failing(1))


def test_a_line_without_work_ends():
    assert run([line("", "")], Slots(1))[0] == [[]]


def test_what_two_lines_have_in_common_is_done_once():
    engine = Slots(2)
    values, _ = run([line(["a", "b"], ["c"]), line(["b", "a"], ["c", "d"])], engine)
    assert sorted(engine.order) == ["a", "b", "c", "d"]
    assert values == [["a", "b", "c"], ["b", "a", "c", "d"]]


def test_a_look_that_had_nothing_to_try_but_main_only_has_lacked_no_room():
    found = Found("search")
    found.note_left_out("look 2", [MAIN_ONLY], ["turns"])
    assert found.remarks == []
    found.note_left_out("look 2", [MAIN_ONLY, alone("turns", 3.0)], ["turns"])
    assert found.remarks == ["look 2 had no room for w=3"]
