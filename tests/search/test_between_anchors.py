"""A subproblem between two anchors ends between them, on the embedded letters."""

import numpy as np
import pytest

from psst.pareto import Trajectory, rays_between
from psst.search.episode_judge import EpisodeJudge
from psst.search.runner import UnitRunner
from psst.search.settings import SearchSettings
from psst.search.units import Schedule
from psst.training.experiment import Experiment


@pytest.mark.slow
def test_a_subproblem_ends_between_its_anchors_in_four_of_five_trials(tmp_path, capsys):
    """The log-ratio of the averaged losses at the last step, five seeds of the quickstart."""
    settings = SearchSettings(auxiliary_weights=(0.0, 1.0))
    between = 0
    for seed in range(5):
        experiment = Experiment.from_config(
            "quickstart",
            {
                "seed_everything": seed,
                "data.init_args.cache_dir": str(tmp_path / "cache"),
                "data.init_args.evaluation.val_episodes": 2,
            },
            SearchSettings,
        )
        schedule = Schedule(settings, experiment.config.trainer.max_steps, experiment.module().task_names[1:])
        runner = UnitRunner(experiment, tmp_path / str(seed), EpisodeJudge(experiment))

        def trained(unit, runner=runner):
            runner.train(unit)
            return Trajectory.load(runner.unit_folder(unit.name) / "trajectory.npz")

        trained(schedule.warm)
        anchors = [trained(unit) for unit in schedule.anchors]
        rays_between(anchors).save(tmp_path / f"rays-{seed}.npz")
        middle = trained(schedule.subproblems(str(tmp_path / f"rays-{seed}.npz"), 1)[0])
        low, ratio, high = (float(run.centered[-1, 1]) for run in (anchors[1], middle, anchors[0]))
        between += low < ratio < high
        with capsys.disabled():
            print(
                f"\nseed {seed}: log-ratio {low:.4f} < {ratio:.4f} < {high:.4f}: {bool(low < ratio < high)}",
                end="",
            )
        assert np.isfinite(ratio)
    assert between >= 4
