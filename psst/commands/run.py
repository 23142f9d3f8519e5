"""``psst fit | validate | test | predict``: one Lightning run."""

import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from pytorch_lightning.callbacks import EarlyStopping
from torch.utils.data import DataLoader

from psst.commands.arguments import quiet
from psst.episodes.stream import ImageSplit
from psst.files import atomic_path
from psst.search.settings import SearchSettings
from psst.tasks.finished import read_checkpoint
from psst.training.experiment import RunCLI

_RUN = "--config RUN/config.yaml --ckpt_path RUN/checkpoints/NAME.ckpt"
_FIT = "--config quickstart --trainer.max_steps 100"
_EXAMPLES = {"fit": _FIT, "validate": _RUN, "test": _RUN, "predict": _RUN}


class _Run(RunCLI):
    """Checks what only the command line can get wrong, then lets Lightning run."""

    def before_instantiate_classes(self) -> None:
        """Refuse a run without data, or an evaluation without a checkpoint; say what is left out."""
        command = self.config["subcommand"]
        run = self.config[command]
        if run.get("data") is None:
            raise ValueError("`data` is missing; name a data set such as `--data psst.datamodules.Glyphs`.")
        if command != "fit" and run.get("ckpt_path") is None:
            raise ValueError(
                f"`psst {command}` needs a trained model: name one with `--ckpt_path FILE`; `psst fit` ends "
                "with the path of its own."
            )
        for name in ("accumulate_grad_batches", "check_val_every_n_epoch"):
            if (value := run["trainer"].get(name)) is not None and value < 1:
                raise ValueError(f"`trainer.{name}={value}` must be at least 1.")
        kept = [one.get("class_path", "") for one in run["trainer"].get("callbacks") or []]
        had = any("PSSTCallback" in path.read_text(encoding="utf-8") for path in self._configs)
        if command == "fit" and had and not any("PSSTCallback" in path for path in kept):
            sys.stderr.write(
                "psst: `trainer.callbacks` replaces those of the config: PSSTCallback is left out, and the "
                "losses are added up as they are; name it among yours to keep it.\n"
            )

    def after_instantiate_classes(self) -> None:
        """Refuse several processes that predict, and a file that is no checkpoint."""
        if self.config["subcommand"] == "predict" and self.trainer.world_size > 1:
            raise ValueError(
                f"`trainer.devices={self.trainer.num_devices}` makes {self.trainer.world_size} processes, "
                "each with some of the features; predict with `--trainer.devices 1`."
            )
        for one in self.trainer.callbacks:  # type: ignore[attr-defined]  # untyped in Lightning
            if isinstance(one, EarlyStopping) and one.monitor.startswith("val"):
                one._check_on_train_epoch_end = False  # an epoch may end before the first validation
        path = self.config[self.config["subcommand"]].get("ckpt_path")
        if path is not None and path not in ("best", "last", "hpc"):  # those are Lightning's to find
            read_checkpoint(Path(path))

    def after_fit(self) -> None:
        """Say what came of it and what may follow; it is saved and validated, if it was not by then.

        ValueError if a callback waited for a metric that nobody computes.
        """
        trainer = self.trainer
        if getattr(trainer, "fast_dev_run", False) or trainer.limit_val_batches == 0:
            return
        folder, keeper = Path(trainer.log_dir or trainer.default_root_dir), trainer.checkpoint_callback
        path = getattr(keeper, "best_model_path", "")
        if keeper is not None and not path:
            trainer.save_checkpoint(path := str(folder / "checkpoints" / "last.ckpt"))
        known = dict(trainer.callback_metrics)
        if "val/accuracy" not in known and trainer.world_size == 1:  # several ranks have taken leave
            trainer.validate(self.model, datamodule=self.datamodule, verbose=False)
            known |= trainer.callback_metrics
        accuracy = known.get("val/accuracy")
        if not trainer.is_global_zero or accuracy is None or not path:
            return
        config = folder / "config.yaml"
        sys.stdout.write(
            f"validation accuracy {100 * float(accuracy):.2f} %; checkpoint {path}\n"
            f"next: psst test --config {config} --ckpt_path {path}\n"
        )
        for one in trainer.callbacks:  # type: ignore[attr-defined]  # as above
            if (monitor := getattr(one, "monitor", None)) is not None and monitor not in known:
                raise ValueError(
                    f"`monitor={monitor}` of {type(one).__name__} was never computed; give `val/accuracy`, "
                    f"or another of {', '.join(sorted(known))}."
                )

    def after_predict(self) -> None:
        """Save what predict computed: the features of every test image, beside its class."""
        loader = cast(DataLoader[Any], self.trainer.predict_dataloaders)
        images = cast(ImageSplit, loader.dataset)
        folder = Path(self.trainer.log_dir or self.trainer.default_root_dir)
        folder.mkdir(parents=True, exist_ok=True)
        batches = cast(list[torch.Tensor], self.trainer.predict_loop.predictions)
        with atomic_path(folder / "features.npz") as temporary:
            np.savez(
                temporary,
                features=torch.cat(batches).float().cpu().numpy(),
                labels=images.reader.store.labels[images.image_ids],
                class_names=np.array(images.reader.store.class_names),
            )
        sys.stdout.write(f"features, labels and class_names in {folder / 'features.npz'}\n")


def main(words: list[str]) -> int:
    """Parse the words, make the parts, run them."""
    quiet()
    kwargs: dict[str, Any] = {"prog": "psst", **RunCLI.strict}
    for command, example in _EXAMPLES.items():
        kwargs[command] = {"epilog": f"example: psst {command} {example}", **RunCLI.strict}
    _Run(words, SearchSettings, parser_kwargs=kwargs)
    return 0
