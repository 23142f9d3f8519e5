"""Validation and test on episodes, as hooks of a LightningModule."""

from abc import abstractmethod
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from pytorch_lightning import LightningModule
from torch import Tensor
from torch import distributed as dist

from psst.episodes import Batch
from psst.evaluation import EpisodeScores, evaluate_episodes, save_scores
from psst.tasks import MainTask

_NEEDED = ("image_shape", "train_classes", "policies", "episode_plan", "eval_episodes")  # of a datamodule
_FAST_DEV_EPISODES = 16  # of each group, where a run only proves that the code works


class EpisodeEvaluation(LightningModule):
    """Embeds every image of a split once, and at the end of the epoch draws episodes from the features.

    No image's features depend on another's, for the module is in evaluation mode. Logs ``<split>/accuracy``
    (the mean over groups of classes), its ``accuracy_half_width`` (95% interval), ``<split>/main_loss`` and
    the auxiliary losses; with several groups ``<split>/<group>/accuracy`` too.

    Attributes:
        scores: Group of classes to its scores, of the last evaluation.

    Example:
        >>> Trainer().validate(module, datamodule=Glyphs())  # a FewShotModule is one
        >>> module.scores["all"].mean  # after `validate` and `test`
    """

    main: MainTask  # whose head classifies the episodes

    def __init__(self) -> None:
        super().__init__()
        self.scores: dict[str, EpisodeScores] = {}
        self._embedded: list[tuple[Tensor, Tensor]] = []  # features [n, ...] and ids [n] of each batch

    @abstractmethod
    def embed_and_judge(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return what the head reads of each image, ``[n, ...]``, and the loss of each auxiliary task."""

    @torch.no_grad()
    def embed_split(self, data: Any, split: Literal["val", "test"]) -> tuple[Tensor, Tensor]:
        """Return what the head reads of all images of a split, ``[n, ...]``, and their ids ``[n]``.

        Without a trainer, on this module's device; it is in evaluation mode, and the data are set up.
        """
        loader = data.val_dataloader() if split == "val" else data.test_dataloader()
        batches = [data.on_after_batch_transfer(batch.to(self.device), 0) for batch in loader]
        features = [self.embed_and_judge(batch)[0].float() for batch in batches]
        return torch.cat(features), torch.cat([batch.ids for batch in batches])

    def on_validation_epoch_start(self) -> None:
        """Check the datamodule before any image is embedded."""
        few_shot_data(getattr(self.trainer, "datamodule", None))
        self._embedded = []

    on_test_epoch_start = on_validation_epoch_start

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Embed a batch of the split's images, and log the auxiliary losses on them."""
        features, losses = self.embed_and_judge(batch)
        self._embedded.append((features.float(), batch.ids))
        split = "test" if self.trainer.testing else "val"
        for name, loss in losses.items():
            self.log(f"{split}/{name}_loss", loss, on_epoch=True, batch_size=len(batch), sync_dist=True)

    test_step = validation_step

    def on_validation_epoch_end(self) -> None:
        """Draw the validation episodes; a sanity check has not seen every image and draws none."""
        if not self.trainer.sanity_checking:
            self._evaluate("val")

    def on_test_epoch_end(self) -> None:
        """Draw the test episodes, and save the scores of each as ``test_scores.npz`` beside the logs."""
        self._evaluate("test")
        folder = Path(self.trainer.log_dir or self.trainer.default_root_dir)
        if self.trainer.is_global_zero and not self._fast_dev_run:
            folder.mkdir(parents=True, exist_ok=True)
            save_scores(folder / "test_scores.npz", self.scores)

    @property
    def _fast_dev_run(self) -> bool:
        return bool(getattr(self.trainer, "fast_dev_run", False))

    def _evaluate(self, split: Literal["val", "test"]) -> None:
        """Score the episodes of each group and log; with several processes, each scores them all."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]  # Lightning's connector sets it
        plan, n_episodes = data.episode_plan(split), data.eval_episodes(split)
        features, image_ids = self._gathered()
        self._embedded = []  # the features are not needed any more
        needed = np.unique(np.concatenate([sampler.image_ids for sampler in plan.values()]))
        missing = len(np.setdiff1d(needed, image_ids))
        if missing and not self._fast_dev_run:
            raise ValueError(
                f"episodes need every image of the split, {missing} of {len(needed)} were left out; "
                "leave `trainer.limit_val_batches` and `trainer.limit_test_batches` alone and lower "
                "`val_episodes` or `test_episodes` of `data.init_args.evaluation` instead."
            )
        if missing:  # images that were seen stand in for those that were not
            rows = torch.arange(len(needed), device=features.device) % len(features)
            features, image_ids = features[rows], needed
        if self._fast_dev_run:
            n_episodes = min(n_episodes, _FAST_DEV_EPISODES)
        self.scores = {
            group: evaluate_episodes(features, sampler, self.main.head, n_episodes, image_ids)
            for group, sampler in plan.items()
        }
        groups = list(self.scores.values())
        logged = {
            "accuracy": sum(group.mean for group in groups) / len(groups),
            "accuracy_half_width": sum(group.half_width**2 for group in groups) ** 0.5 / len(groups),
            "main_loss": sum(float(group.losses.mean()) for group in groups) / len(groups),
        }
        if len(groups) > 1:
            logged |= {f"{name}/accuracy": group.mean for name, group in self.scores.items()}
        for name, value in logged.items():
            tensor = torch.tensor(value, device=self.device)
            self.log(f"{split}/{name}", tensor, prog_bar=name == "accuracy", sync_dist=True)

    def _gathered(self) -> tuple[Tensor, npt.NDArray[np.int64]]:
        features, image_ids = (torch.cat(parts) for parts in zip(*self._embedded, strict=True))
        image_ids = image_ids.cpu()
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            parts = [(features, image_ids)] * dist.get_world_size()  # of different lengths
            dist.all_gather_object(parts, (features.cpu(), image_ids))
            features = torch.cat([part[0] for part in parts]).to(features.device)
            image_ids = torch.cat([part[1] for part in parts])
        return features, image_ids.numpy()


def few_shot_data(datamodule: object) -> Any:
    """Return the datamodule, if it has what `psst.datamodules.EpisodicDataModule` offers.

    ``image_shape`` ``(C, H, W)``, known before its `setup`; ``train_classes``, names in the order of the
    labels; ``policies(split)``, which make views; ``episode_plan(split)`` and ``eval_episodes(split)`` of
    ``val`` and ``test``. ``mean`` and ``std`` are optional.

    Raises:
        TypeError: It lacks something.
    """
    # properties of the class are not asked for their values, some of which there are after `setup` only
    known = {*dir(type(datamodule)), *getattr(datamodule, "__dict__", ())}
    lacking = [name for name in _NEEDED if name not in known]
    if lacking:
        found = "no datamodule" if datamodule is None else f"{type(datamodule).__name__}, which lacks"
        missing = "" if datamodule is None else " " + ", ".join(f"`{name}`" for name in lacking)
        raise TypeError(
            f"FewShotModule needs a datamodule with {', '.join(f'`{name}`' for name in _NEEDED)}, found "
            f"{found}{missing}; pass `datamodule=` a subclass of psst.datamodules.EpisodicDataModule."
        )
    return datamodule
