"""Graph, processes and their loss, with pieces of work that take no time."""

import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from psst.search.engines.process_pool import ProcessPool
from psst.search.engines.worker import packed
from psst.search.graph import Graph, InProcess, Node
from tests.search.works import Named, Noting


class Log:
    """What a search does with the news of its graph."""

    def __init__(self):
        self.lines = []
        self.results = {}
        self.graph = Graph(self.started, self.finished, self.failed)

    def started(self, work):
        self.lines.append(f"start {work.name}")

    def finished(self, work, result):
        self.lines.append(f"end {work.name}")
        self.results[work.name] = result

    def failed(self, work, reason):
        self.lines.append(f"again {work.name}: {reason}")


def pool(slots=2):
    return ProcessPool(packed(Named("shop")), slots, 1, lambda: None)


@pytest.fixture
def log():
    return Log()


def test_nodes_run_in_order_as_soon_as_what_they_wait_for_is_done(log, tmp_path):
    def node(name, *after, **given):
        return Node(name, after, lambda: Noting(name, tmp_path), **given)

    def decide():
        log.graph.add(node("ray", "late"))

    log.graph.add(node("baseline", patient=True), node("late", "warm"), node("warm"))
    log.graph.add(Node("decision", ("late",), decide))
    log.graph.run(InProcess("here"))
    started = [line.removeprefix("start ") for line in log.lines if line.startswith("start")]
    assert started == ["warm", "late", "ray", "baseline"]  # the patient one last of all that could run
    assert log.results["ray"] == {"tries": 1, "workshop": "here"}


def test_an_error_in_this_process_is_raised_where_it_occurs(log, tmp_path):
    log.graph.add(Node("a", (), lambda: Noting("a", tmp_path, failures=1)))
    with pytest.raises(ArithmeticError, match="in try 1"):
        log.graph.run(InProcess("here"))


@pytest.mark.slow
def test_lost_and_failed_units_are_tried_again_in_living_processes(log, tmp_path):
    works = [Noting("killed", tmp_path, kills=1), Noting("failing", tmp_path, failures=2)]
    log.graph.add(*(Node(work.name, (), partial(lambda work: work, work)) for work in works))
    engine = pool()
    try:
        log.graph.run(engine)
    finally:
        engine.close()
    assert {name: result["tries"] for name, result in log.results.items()} == {"killed": 2, "failing": 3}
    assert "again killed: the worker process of unit `killed` ended by signal 9." in log.lines
    failing = set((tmp_path / "failing").read_text().split())
    assert len(failing) == 1  # its process was not replaced


@pytest.mark.slow
def test_a_unit_that_fails_three_times_stops_the_search_with_its_own_error(log, tmp_path):
    log.graph.add(Node("a", (), lambda: Noting("a", tmp_path, failures=9)))
    engine = pool(1)
    try:
        with pytest.raises(ArithmeticError, match=r"`a` failed, as asked, in try 3\."):
            log.graph.run(engine)
    finally:
        engine.close()


def test_what_cannot_be_sent_is_refused_in_words():
    with pytest.raises(TypeError, match=r"`workers` sends .* top level of a module .* or set `workers=1`"):
        packed(lambda: None)


CHILD = """
import sys, time
from pathlib import Path
from psst.search.engines.process_pool import ProcessPool
from psst.search.engines.worker import packed
from tests.search.works import Named, Noting
if __name__ == "__main__":
    engine = ProcessPool(packed(Named("shop")), 1, 1, lambda: None)
    engine.submit(Noting("long", Path(sys.argv[1]), pause=600))
    engine.wait()
"""


def test_workers_end_with_their_parent(tmp_path):
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    parent = subprocess.Popen([sys.executable, str(script), str(tmp_path)], env=environment)
    note = tmp_path / "long"
    deadline = time.monotonic() + 60
    while not (note.is_file() and note.read_text().strip()) and time.monotonic() < deadline:
        time.sleep(0.05)
    worker = int(note.read_text())
    assert alive(worker)
    parent.kill()
    parent.wait()
    while alive(worker) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not alive(worker)


def alive(pid):
    """Whether a process runs; one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
