"""TensorBoard's view of a search, read back from its event files."""

import json

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import psst.search
from psst.search import SearchSettings
from psst.search.reports.front import FrontScale, hypervolume
from psst.search.reports.live import LiveFront
from psst.search.result import Candidate, Metric, SearchResult, loss_matrix
from tests.search.tasks import Columns, Heads

METRIC = Metric("val/error", "min", "error")
ERRORS = [0.5, 0.6, 0.3, 0.4, 0.2]


def events(folder):
    found = EventAccumulator(str(folder / "tensorboard"), size_guidance={"images": 0, "scalars": 0})
    found.Reload()
    return found


def scalars(found, name):
    return [(event.step, pytest.approx(event.value, rel=1e-6)) for event in found.Scalars(name)]


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    """Two anchors, a part of a subproblem, two subproblems and a baseline, of 10 steps each."""
    folder = tmp_path_factory.mktemp("live")
    live, units = LiveFront(folder, METRIC, n_anchors=2, max_steps=20), {}
    kinds = ["warm", "anchor", "anchor", "rung", "subproblem", "subproblem", "baseline"]
    errors = iter([9.0, *ERRORS[:2], 9.0, *ERRORS[2:4], ERRORS[4]])
    for i, kind in enumerate(kinds):
        losses = {"main": 1.0 + 0.1 * i, "aux": 2.0 - 0.1 * i}
        units[f"{kind}-{i}"] = {"kind": kind, "steps": 10}
        live.add(Candidate(f"{kind}-{i}", kind, losses, next(errors), {}), units)
    models = list(live.models.values())
    result = SearchResult(
        METRIC, models[:-1], models[-1:], ["anchor-1"], "subproblem-4", folder, {}, units, 20
    )
    live.close(result)
    return events(folder), result


def test_the_best_so_far_is_that_of_the_candidates_over_the_steps_spent(grown):
    found, _ = grown
    expected = [(20, 0.5), (30, 0.5), (50, 0.3), (60, 0.3), (70, 0.3)]  # no baseline counts
    assert expected == scalars(found, "best/error")
    assert scalars(found, "front/n_candidates") == [(20, 1), (30, 2), (50, 3), (60, 4), (70, 4)]


def test_the_hypervolume_begins_with_the_last_anchor_and_never_falls(grown):
    found, result = grown
    events = found.Scalars("front/hypervolume")
    assert [event.step for event in events] == [30, 50, 60, 70]
    values = [event.value for event in events]
    assert values == sorted(values)
    losses = loss_matrix(result.candidates)
    assert values[-1] == pytest.approx(hypervolume(losses, FrontScale.of(losses[:2])), rel=1e-6)


def test_the_last_picture_is_there_and_shows_something(grown, tmp_path):
    found, _ = grown
    images = found.Images("front")
    assert images[-1].step == 70
    (tmp_path / "last.png").write_bytes(images[-1].encoded_image_string)
    pixels = np.asarray(Image.open(tmp_path / "last.png"))
    assert pixels.shape[1] > pixels.shape[0] > 300
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20


def test_a_search_and_its_second_run_write_one_growing_front(tmp_path, capsys):
    few = SearchSettings(auxiliary_weights=(0.0, 1.0), max_explored=0, baselines=False)
    arguments = {"max_steps": 10, "monitor": "val/error", "mode": "min", "output": tmp_path, "settings": few}
    trainer = {"accelerator": "cpu"}
    psst.search.search(Heads, Columns(), trainer=trainer, **arguments)
    path = tmp_path / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["units"]["subproblem-0"]
    path.write_text(json.dumps(manifest))
    result = psst.search.search(Heads, Columns(), trainer=trainer, **arguments)
    found = events(tmp_path).Scalars("best/val/error")
    assert [event.step for event in found] == [10, 14, 18, 18]
    assert found[-1].value == pytest.approx(result.best.metric, rel=1e-6)
    touched = json.loads((tmp_path / "metrics.json").read_text())["test_touched"]
    assert touched["units"] == [result.chosen]  # no baselines
    assert f"test: touched on {touched['when']}, its results are used again" in capsys.readouterr().err
