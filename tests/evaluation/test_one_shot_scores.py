"""Scores of the one-shot runs."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from psst.backbones import Conv4
from psst.evaluation import class_difference, load_scores, save_scores
from psst.evaluation.one_shot_runs import evaluate_one_shot_runs, read_one_shot_runs, report_one_shot_runs
from psst.fewshot import PrototypicalHead
from psst.tasks import Episodic
from psst.training import FewShotModule
from tests.evaluation.runs import write_runs

WRONG = ((1, 3), (1, 4), (2, 20), (17, 1))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return read_one_shot_runs(write_runs(tmp_path_factory.mktemp("runs") / "all_runs.zip", WRONG), size=28)


def pixels(images):
    return images.flatten(1) / 255


def scored(runs, embed=pixels):
    return evaluate_one_shot_runs(embed, runs, PrototypicalHead())


def test_accuracy_of_each_run_is_the_share_of_right_answers(runs):
    expected = np.ones(20)
    for run, _ in WRONG:
        expected[run - 1] -= 1 / 20
    np.testing.assert_allclose(scored(runs).accuracies, expected, atol=1e-6)


def test_interval_is_that_of_student_over_the_runs(runs):
    scores = scored(runs)
    spread = np.std(scores.accuracies, ddof=1, dtype=np.float64) / np.sqrt(20)
    half = 100 * stats.t.ppf(0.975, 19) * spread
    first, *_, last = report_one_shot_runs(scores).splitlines()
    assert first == "run01  error  10.0 %"
    assert last == f"mean   error   1.0 +- {half:.1f} % (20 runs, 95% t-interval over runs)"


def test_a_query_goes_to_the_nearest_drawing(runs):
    """With one support a class the prototype is that drawing; compared with distances by hand."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(28 * 28, 8, generator=generator)
    scores = scored(runs, lambda images: pixels(images) @ weight)
    for run, accuracy in zip(runs, scores.accuracies, strict=True):
        support, query = (pixels(run.images) @ weight).split(20)
        nearest = torch.cdist(query.double(), support.double()).argmin(dim=1)
        assert accuracy == pytest.approx(float((nearest == run.answers).float().mean()))


def test_a_module_is_evaluated_by_its_embed(runs):
    torch.manual_seed(0)
    module = FewShotModule(Conv4(), Episodic(PrototypicalHead()), image_shape=(1, 28, 28))
    scores = evaluate_one_shot_runs(module.embed, runs, module.head)
    assert scores.n == 20
    assert scores.mean > 0.9  # test drawings equal their class, but for the four
    assert module.training


def test_models_of_different_image_sizes_are_compared_run_by_run(runs, tmp_path):
    smaller = [replace(run, images=run.images[..., ::4, ::4]) for run in runs]
    save_scores(tmp_path / "runs.npz", {"runs": scored(runs)})
    loaded = load_scores(tmp_path / "runs.npz")
    assert class_difference(loaded, {"runs": scored(smaller)}).n == 20
    with pytest.raises(ValueError, match="different episodes"):
        class_difference(loaded, {"runs": scored(runs[:19])})


def test_no_runs_are_an_error():
    with pytest.raises(ValueError, match="`runs` is empty"):
        scored([])


def test_features_that_are_not_finite_are_refused(runs):
    with pytest.raises(ValueError, match="NaN or an infinity"):
        scored(runs, lambda images: torch.full((len(images), 4), torch.nan))
