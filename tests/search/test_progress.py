"""What a search says of its time."""

import io
from pathlib import Path

import pytest

from psst.search.progress import SearchProgress, forget_progress, read_progress, write_progress


def test_steps_of_an_earlier_run_count_as_done_and_take_no_time(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    stream = io.StringIO()
    progress = SearchProgress(100, stream)
    progress.begin("warm", 0, 60)
    progress.at(Path("units/warm"), 40, 40)
    assert "warm: goes on from step 40" in stream.getvalue()
    progress.begin("plain", 0, 40)
    now[0] = 5.0
    progress.at(Path("units/warm"), 40, 50)
    progress.at(Path("units/plain"), 0, 10)
    # 20 steps in 5 s by two workers, 60 of 100 done: 40 steps at 0.25 s
    assert progress.time_left() == "60% done, about 0:10 min left"
    progress.end("warm", "fine")
    progress.end("plain", "fine")
    assert progress.time_left() == "training done"


def test_skipped_units_leave_the_plan():
    progress = SearchProgress(100, io.StringIO())
    progress.skip("warm", 60, "finished earlier")
    progress.begin("anchor-0", 60, 40)
    progress.end("anchor-0")
    assert progress.time_left() == "training done"


def test_progress_goes_through_a_file(tmp_path):
    assert read_progress(tmp_path) is None
    write_progress(tmp_path, 3, 7)
    assert read_progress(tmp_path) == (3, 7)
    forget_progress(tmp_path)
    assert read_progress(tmp_path) is None


@pytest.mark.parametrize("name", ["anchor-0", "unknown"])
def test_news_of_a_unit_that_does_not_run_are_no_news(name):
    stream = io.StringIO()
    progress = SearchProgress(100, stream)
    progress.at(Path("units") / name, 0, 5)
    assert stream.getvalue() == ""
