"""Few-shot models are judged by scores on common episodes; those of training are drawn by index."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning import LightningDataModule, LightningModule, Trainer

from psst.datamodules import EpisodicDataModule
from psst.episodes import Batch, EpisodeSampler, FrozenEpisodes
from psst.episodes.recipes import class_sampler
from psst.evaluation import EpisodeScores, class_difference, load_scores, save_scores
from psst.images.store import ImageStore
from psst.randomness import stream_key
from psst.search.explore import State, neighbors
from psst.search.protocols import BatchWork, T, training_losses
from psst.search.result import Candidate, Metric, Selection
from psst.search.training_pass import work_on
from psst.training import FewShotModule
from psst.training.experiment import Experiment

_TEST_FILE = "test_scores.npz"  # written by the module
_CHOOSES, _CONFIRMS = "-chooses", "-confirms"
_LEAST = 2
"""Classes of each half, in units of the classes of an episode: with fewer, all episodes are alike."""


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
        self._selection: Selection | None = None if selection == "confirm" else Selection()

    @property
    def selection(self) -> Selection:
        """On which classes the search chooses."""
        if self._selection is None:
            reason = reason_against(self._data().episode_plan("val"))
            self._selection = Selection("best", reason) if reason else Selection("confirm")
        return self._selection

    def task_names(self) -> list[str]:
        """``main`` and the auxiliary tasks of the module."""
        return self._task_names

    @cached_property
    def _task_names(self) -> list[str]:
        return self.experiment.module().task_names

    def check(self, resumed: bool) -> None:
        """Build the store if need be, and hold all splits against the settings."""
        self._data()

    def prepare(self, module: LightningModule, data: LightningDataModule) -> None:
        """Make the layers for the data's images and classes, and divide validation if need be."""
        data.prepare_data()
        data.setup("fit")
        _few_shot(module).attach(data)  # its tasks may need the training classes
        if self.selection.kind == "confirm":
            images = _episodic(data)
            images.divide_validation(lambda plan: halved(plan, images.store))

    def validate(
        self, module: LightningModule, data: LightningDataModule, trainer: Trainer, folder: Path
    ) -> dict[str, Any]:
        """Validate on common episodes, and keep the score of each."""
        module = _few_shot(module)
        trainer.validate(module, datamodule=data, verbose=False)
        save_scores(folder / "val_scores.npz", module.scores)
        chooses, confirms = split_scores(module.scores)
        result: dict[str, Any] = {"accuracy": float(np.mean([one.mean for one in chooses.values()]))}
        names, logged = module.task_names, trainer.callback_metrics
        losses = {task: float(logged[f"val/{task}_loss"]) for task in names if f"val/{task}_loss" in logged}
        if len(losses) == len(names):
            if confirms:  # what was logged is the mean over both halves
                losses[names[0]] = float(np.mean([one.loss for one in chooses.values()]))
            result["losses"] = losses
        elif trained := training_losses(folder, names):
            result |= {"losses": trained, "losses_from": "training"}
        return result

    def candidate(self, name: str, folder: Path, result: dict[str, Any]) -> Candidate:
        """Read a unit and its score on each episode; its metric is the mean over those that choose."""
        chooses, confirms = split_scores(load_scores(folder / "val_scores.npz"))
        accuracy = float(_pooled(chooses).mean())
        return Candidate(name, result["kind"], result["losses"], accuracy, result, chooses, confirms)

    def region(self, candidates: Sequence[Candidate], points: NDArray[np.float64]) -> list[int]:
        """The neighbors of the best that are not significantly worse on common episodes."""
        return region(points, [candidate.scores for candidate in candidates])

    def fresh_losses(
        self, states: dict[str, State], start: int, count: int
    ) -> dict[str, NDArray[np.float64]]:
        """Losses ``[count, m]`` of models on the same training episodes, from `start` on, in eval mode."""
        module, data = self._model_and_data()
        episodes = _episodes(data, start, count)
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
        module.renew_batch_statistics(_episodes(data, start, count))
        return {key: value.detach().clone() for key, value in module.state_dict().items()}

    def on_batches(self, state: State, starts: Sequence[int], count: int, work: BatchWork[T]) -> T:
        """Do `work` with losses of training episodes."""
        module, data = self._model_and_data()
        module.load_state_dict(state)
        module.eval()

        def losses(episode: Batch) -> Callable[[], list[torch.Tensor]]:
            return lambda: list(module.task_losses(episode).values())

        sets = [[losses(episode) for episode in _episodes(data, start, count)] for start in starts]
        return work_on(module, sets, work)

    def test(
        self, module: LightningModule, data: LightningDataModule, trainer: Trainer, folder: Path
    ) -> None:
        """Test; the module writes the score of each episode into its trainer's folder."""
        trainer.test(module, datamodule=data, verbose=False)

    def read_test(self, folder: Path) -> dict[str, EpisodeScores] | None:
        """Scores of the test by group of classes."""
        path = folder / _TEST_FILE
        return load_scores(path) if path.is_file() else None

    def _data(self) -> EpisodicDataModule:
        """Data ready for use, outside a trainer."""
        data = _episodic(self.experiment.datamodule())
        data.prepare_data()
        data.setup("fit")
        return data

    def _model_and_data(self) -> tuple[FewShotModule, EpisodicDataModule]:
        module, data = self.experiment.module(), self._data()
        module.attach(data)
        return module, data


def region(points: NDArray[np.float64], scores: Sequence[Mapping[str, EpisodeScores]]) -> list[int]:
    """Return the candidates joined to the best one by candidates that are not significantly worse.

    Significant means that the 95% interval of the paired difference over common episodes lies below zero. It
    covers the draw of classes and of episodes, see `psst.evaluation.class_draw`: thousands of episodes over
    few classes are no proof that a candidate does worse on other classes.

    Args:
        points: ``[n, m]``, centered logarithms of the candidates' losses.
        scores: Of n candidates on the same validation episodes, by group of classes.
    """
    best = int(np.argmax([_pooled(groups).mean() for groups in scores]))
    kept = {i for i, groups in enumerate(scores) if not class_difference(groups, scores[best]).worse}
    joined, frontier = {best}, [best]
    links = [pair for pair in neighbors(points) if kept.issuperset(pair)]
    while frontier:
        here = frontier.pop()
        reached = {j if i == here else i for i, j in links if here in (i, j)} - joined
        joined |= reached
        frontier.extend(reached)
    return sorted(joined)


def reason_against(plan: Mapping[str, EpisodeSampler]) -> str:
    """Say why the classes of a plan, by group, cannot be halved; empty if they can."""
    for group, sampler in plan.items():
        if isinstance(sampler, FrozenEpisodes):
            return f"the episodes of '{group}' come from a list, so that none can be drawn within a half"
        classes, needed = len(sampler.class_ids) // 2, _LEAST * sampler.n_way
        if classes < needed:
            return (
                f"half of the {len(sampler.class_ids)} validation classes of '{group}' are {classes}, "
                f"{needed} are needed for episodes of {sampler.n_way}"
            )
    return ""


def halved(plan: Mapping[str, EpisodeSampler], store: ImageStore) -> dict[str, EpisodeSampler]:
    """Return two samplers for each group of classes, each drawing episodes within its own half.

    Which class is in which half depends on the group's random stream alone.
    """
    halves: dict[str, EpisodeSampler] = {}
    for group, whole in plan.items():
        key = stream_key(whole.key, "halves")
        shuffled = np.random.Generator(np.random.Philox(key=key)).permutation(whole.class_ids)
        middle = len(shuffled) // 2
        for suffix, part in ((_CHOOSES, shuffled[:middle]), (_CONFIRMS, shuffled[middle:])):
            drawn = (whole.n_way, whole.n_shot, whole.n_query, stream_key(whole.key, suffix), whole.seed)
            halves[group + suffix] = class_sampler(store, np.sort(part), *drawn)
    return halves


def split_scores(
    scores: Mapping[str, EpisodeScores],
) -> tuple[dict[str, EpisodeScores], dict[str, EpisodeScores]]:
    """Return the scores that choose and those that confirm, by group; all choose if there are no halves."""
    chooses = {name.removesuffix(_CHOOSES): one for name, one in scores.items() if name.endswith(_CHOOSES)}
    confirms = {name.removesuffix(_CONFIRMS): one for name, one in scores.items() if name.endswith(_CONFIRMS)}
    return (chooses, confirms) if confirms else (dict(scores), {})


def _episodes(data: EpisodicDataModule, start: int, count: int) -> list[Batch]:
    """Training batches that depend on their place in the stream alone."""
    return [data.train_batch(index) for index in range(start, start + count)]


def _few_shot(module: LightningModule) -> FewShotModule:
    """Return the module, typed."""
    assert isinstance(module, FewShotModule)
    return module


def _episodic(data: LightningDataModule) -> EpisodicDataModule:
    """Return the datamodule, typed; TypeError if it has no episodes."""
    if not isinstance(data, EpisodicDataModule):
        raise TypeError(
            f"`data.class_path` is {type(data).__name__}, a search needs an EpisodicDataModule; "
            "name one of psst.datamodules."
        )
    return data


def _pooled(scores: Mapping[str, EpisodeScores]) -> NDArray[np.float64]:
    """``[n]`` accuracies of the episodes of all groups of classes, one after the other."""
    values = [scores[group].accuracies for group in sorted(scores)]
    return np.concatenate(values).astype(np.float64)
