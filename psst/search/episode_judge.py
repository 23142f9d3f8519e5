"""Few-shot models are judged by scores on common episodes; those of training are drawn by index."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning import LightningDataModule, LightningModule, Trainer

from psst.datamodules import EpisodicDataModule
from psst.evaluation import EpisodeScores, load_scores, save_scores
from psst.search.explore import State
from psst.search.region import region
from psst.search.result import Candidate, Metric
from psst.training import FewShotModule
from psst.training.experiment import Experiment

__all__ = ["EpisodeJudge"]

TEST_FILE = "test_scores.npz"  # written by the module


class EpisodeJudge:
    """Judges a FewShotModule on the episodes of an EpisodicDataModule.

    Args:
        experiment: Gives both.
    """

    metric = Metric("val_accuracy", "max", "accuracy", "%")
    can_test = True

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment

    def task_names(self) -> list[str]:
        """``main`` and the auxiliary tasks of the module."""
        return self.experiment.module().task_names

    def check(self, resumed: bool) -> None:
        """Build the store if need be, and hold all splits against the settings."""
        data = self._data()
        data.prepare_data()
        data.setup("fit")

    def prepare(self, module: LightningModule, data: LightningDataModule) -> None:
        """Make the layers for the data's images."""
        few_shot(module).build(episodic(data).image_shape)

    def validate(
        self, module: LightningModule, data: LightningDataModule, trainer: Trainer, folder: Path
    ) -> dict[str, Any]:
        """Validate on common episodes, and keep the score of each."""
        module = few_shot(module)
        trainer.validate(module, datamodule=data, verbose=False)
        save_scores(folder / "val_scores.npz", module.scores)
        metrics = {key: float(value) for key, value in trainer.callback_metrics.items()}
        return {
            "losses": {task: metrics[f"val/{task}_loss"] for task in module.task_names},
            "accuracy": metrics["val/accuracy"],
        }

    def candidate(self, name: str, folder: Path, result: dict[str, Any]) -> Candidate:
        """Read a unit and its score on each episode, all groups of classes pooled."""
        scores = load_scores(folder / "val_scores.npz")
        pooled = np.concatenate([scores[group].accuracies for group in sorted(scores)])
        return Candidate(name, result["kind"], result["losses"], float(pooled.mean()), result, pooled)

    def region(self, candidates: Sequence[Candidate], points: NDArray[np.float64]) -> list[int]:
        """The neighbors of the best that are not significantly worse on common episodes."""
        return region(points, [c.scores for c in candidates if c.scores is not None])

    def fresh_losses(
        self, states: dict[str, State], start: int, count: int
    ) -> dict[str, NDArray[np.float64]]:
        """Losses ``[count, m]`` of models on the same training episodes, from `start` on, in eval mode."""
        module, data = self._model_and_data()
        episodes = [data.train_episode(start + offset) for offset in range(count)]
        losses = {}
        for name, state in states.items():
            module.load_state_dict(state)
            module.eval()
            with torch.no_grad():
                rows = [
                    [float(value) for value in module.task_losses(episode).values()] for episode in episodes
                ]
            losses[name] = np.array(rows)
        return losses

    def recalibrated(self, state: State, start: int, count: int) -> State:
        """Renew the BatchNorm statistics of `state` on `count` training episodes."""
        module, data = self._model_and_data()
        module.load_state_dict(state)
        module.renew_batch_statistics([data.train_episode(start + offset) for offset in range(count)])
        return {key: value.detach().clone() for key, value in module.state_dict().items()}

    def test(
        self, module: LightningModule, data: LightningDataModule, trainer: Trainer, folder: Path
    ) -> None:
        """Test; the module writes the score of each episode into its trainer's folder."""
        trainer.test(module, datamodule=data, verbose=False)

    def read_test(self, folder: Path) -> dict[str, EpisodeScores] | None:
        """Scores of the test by group of classes."""
        path = folder / TEST_FILE
        return load_scores(path) if path.is_file() else None

    def _data(self) -> EpisodicDataModule:
        return episodic(self.experiment.datamodule())

    def _model_and_data(self) -> tuple[FewShotModule, EpisodicDataModule]:
        """A module built for the data, with the data ready for use, outside a trainer."""
        data = self._data()
        data.prepare_data()
        data.setup("fit")
        module = self.experiment.module()
        module.attach(data)
        return module, data


def few_shot(module: LightningModule) -> FewShotModule:
    """Return the module, typed."""
    assert isinstance(module, FewShotModule)
    return module


def episodic(data: LightningDataModule) -> EpisodicDataModule:
    """Return the datamodule, typed; TypeError if it has no episodes."""
    if not isinstance(data, EpisodicDataModule):
        raise TypeError(
            f"`data.class_path` is {type(data).__name__}, a search needs an EpisodicDataModule; "
            "name one of psst.datamodules."
        )
    return data
