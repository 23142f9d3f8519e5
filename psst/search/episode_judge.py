"""Few-shot models are judged by scores on common episodes; those of training are drawn by index."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning import LightningDataModule, LightningModule, Trainer

from psst.datamodules import EpisodicDataModule
from psst.episodes import EpisodeSampler
from psst.evaluation import EpisodeScores, load_scores, save_scores
from psst.search.explore import State
from psst.search.halves import halved, reason_against, split_scores
from psst.search.region import pooled, region
from psst.search.result import Candidate, Metric, Selection
from psst.search.tangents.batches import T, Work, on_episodes
from psst.training import FewShotModule
from psst.training.experiment import Experiment

__all__ = ["EpisodeJudge"]

TEST_FILE = "test_scores.npz"  # written by the module


class EpisodeJudge:
    """Judges a FewShotModule on the episodes of an EpisodicDataModule.

    Args:
        experiment: Gives both.
        selection: `confirm` lets half of the validation classes choose and keeps the other half for a check
            of the choice; where there are too few classes, all choose, as in `best`.
    """

    metric = Metric("val_accuracy", "max", "accuracy", "%")
    can_test = True

    def __init__(self, experiment: Experiment, selection: Literal["best", "confirm"] = "best") -> None:
        self.experiment = experiment
        self._asked = selection
        self._selection: Selection | None = None if selection == "confirm" else Selection()

    @property
    def selection(self) -> Selection:
        """On which classes the search chooses."""
        if self._selection is None:
            data = self._data()
            data.prepare_data()
            data.setup("fit")
            reason = reason_against(data.episode_plan("val"))
            self._selection = Selection("best", reason) if reason else Selection("confirm")
        return self._selection

    def task_names(self) -> list[str]:
        """``main`` and the auxiliary tasks of the module."""
        return self.experiment.module().task_names

    def check(self, resumed: bool) -> None:
        """Build the store if need be, and hold all splits against the settings."""
        data = self._data()
        data.prepare_data()
        data.setup("fit")

    def prepare(self, module: LightningModule, data: LightningDataModule) -> None:
        """Make the layers for the data's images, and draw validation episodes within halves if need be."""
        few_shot(module).build(episodic(data).image_shape)
        if self.selection.kind == "confirm":
            images = episodic(data)
            draw = partial(plan_in_halves, images, images.episode_plan)
            images.episode_plan = draw  # type: ignore[method-assign]  # on the instance

    def validate(
        self, module: LightningModule, data: LightningDataModule, trainer: Trainer, folder: Path
    ) -> dict[str, Any]:
        """Validate on common episodes, and keep the score of each."""
        module = few_shot(module)
        trainer.validate(module, datamodule=data, verbose=False)
        save_scores(folder / "val_scores.npz", module.scores)
        metrics = {key: float(value) for key, value in trainer.callback_metrics.items()}
        losses = {task: metrics.get(f"val/{task}_loss", float("nan")) for task in module.task_names}
        chooses, confirms = split_scores(module.scores)
        if confirms:  # what was logged is the mean over both halves
            losses[module.task_names[0]] = float(np.mean([one.loss for one in chooses.values()]))
        return {"losses": losses, "accuracy": float(np.mean([one.mean for one in chooses.values()]))}

    def candidate(self, name: str, folder: Path, result: dict[str, Any]) -> Candidate:
        """Read a unit and its score on each episode; its metric is the mean over those that choose."""
        chooses, confirms = split_scores(load_scores(folder / "val_scores.npz"))
        accuracy = float(pooled(chooses).mean())
        return Candidate(name, result["kind"], result["losses"], accuracy, result, chooses, confirms)

    def region(self, candidates: Sequence[Candidate], points: NDArray[np.float64]) -> list[int]:
        """The neighbors of the best that are not significantly worse on common episodes."""
        return region(points, [candidate.scores for candidate in candidates])

    def fresh_losses(
        self, states: dict[str, State], start: int, count: int
    ) -> dict[str, NDArray[np.float64]]:
        """Losses ``[count, m]`` of models on the same training episodes, from `start` on, in eval mode."""
        module, data = self._model_and_data()
        episodes = [data.train_batch(start + offset) for offset in range(count)]
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
        module.renew_batch_statistics([data.train_batch(start + offset) for offset in range(count)])
        return {key: value.detach().clone() for key, value in module.state_dict().items()}

    def on_batches(self, state: State, starts: Sequence[int], count: int, work: Work[T]) -> T:
        """Do `work` with losses of training episodes."""
        module, data = self._model_and_data()
        sets = [[data.train_batch(start + offset) for offset in range(count)] for start in starts]
        return on_episodes(module, state, sets, work)

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


def plan_in_halves(
    data: EpisodicDataModule, plan: Callable[[str], dict[str, EpisodeSampler]], split: str
) -> dict[str, EpisodeSampler]:
    """Return what `plan` says of `split`, the validation classes in two halves."""
    return halved(plan(split), data.store) if split == "val" else plan(split)


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
