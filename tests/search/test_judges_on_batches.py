"""Both judges give the tangent the losses that they measure models by, with their graphs."""

import numpy as np
import pytest
import torch

from psst.search.episode_judge import EpisodeJudge
from psst.search.metric_judge import MetricJudge
from psst.search.result import Metric
from psst.search.settings import SearchSettings
from psst.training.experiment import Experiment
from tests.search.tangents.competing import make_run

STARTS, COUNT = [40, 50], 3


def any_module(_):
    run = make_run()
    return MetricJudge(run, Metric("val/error", "min", "val/error")), run.module()


def few_shot(folder):
    changes = {"data.init_args.cache_dir": str(folder), "seed_everything": 3}
    judge = EpisodeJudge(Experiment.from_config("quickstart", changes, SearchSettings))
    return judge, judge._model_and_data()[0]


@pytest.mark.parametrize("parts", [any_module, few_shot])
def test_the_losses_with_graphs_are_those_of_fresh_losses(parts, tmp_path):
    judge, module = parts(tmp_path)
    state = {name: value.clone() for name, value in module.state_dict().items()}

    def work(module, sets):
        assert not module.training
        losses = [[torch.stack(list(batch())) for batch in batches] for batches in sets]
        assert all(loss.requires_grad for batches in losses for loss in batches)
        return np.array([[loss.tolist() for loss in batches] for batches in losses])

    found = judge.on_batches(state, STARTS, COUNT, work)
    expected = [judge.fresh_losses({"it": state}, start, COUNT)["it"] for start in STARTS]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_impossible_numbers_of_tangents_are_refused():
    with pytest.raises(ValueError, match=r"search\.max_tangents=-1"):
        SearchSettings(max_tangents=-1)
