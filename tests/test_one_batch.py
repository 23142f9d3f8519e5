"""One batch, from image files to the weight update: the rooms in the order of docs/architecture.md."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_lightning import Trainer

from psst.backbones import Conv4
from psst.callbacks import PSSTCallback
from psst.datamodules import ImageFolder
from psst.episodes.settings import Episodes, Evaluation
from psst.fewshot import PrototypicalHead
from psst.tasks import Episodic, Rotation
from psst.training import FewShotModule

ROOT = Path(__file__).parents[1]
WAY = {  # station of the page: a place in the code that a batch passes there
    "store": "psst.images.build",
    "sampler": "psst.episodes.sampler",
    "stream": "psst.episodes.stream",
    "data module": "psst.datamodules",
    "batch": "psst.episodes.batch:images",
    "view": "psst.images.view",
    "encode": "psst.tasks.task:_forward",
    "task": "psst.fewshot",
    "callback": "psst.pareto",
    "optimizer": "torch.optim.adam:adam",
}


class Walk:
    """Notes every function of psst, and Adam's step, in the order of calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __call__(self, frame, event, argument) -> None:
        module = frame.f_globals.get("__name__", "")
        if event == "call" and module.startswith(("psst.", "torch.optim.adam")):
            self.calls.append(f"{module}:{frame.f_code.co_name}")

    def __enter__(self) -> "Walk":
        sys.setprofile(self)
        return self

    def __exit__(self, *error: object) -> None:
        sys.setprofile(None)

    def first(self, place: str, after: int = 0) -> int:
        """Return when a place was first passed from some call on."""
        found = (i for i, call in enumerate(self.calls[after:], after) if call.startswith(place))
        return next(found, -1)


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        for name in "abc":
            for number in range(4):
                path = tmp_path / "images" / split / f"{split}_{name}" / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(256, size=(20, 20, 3), dtype=np.uint8)).save(path)
    return tmp_path


def test_one_batch_passes_the_rooms_in_their_order_and_changes_the_weights(folder):
    torch.manual_seed(0)
    episodes, evaluation = Episodes(way=3, query=2), Evaluation(3, 1, 2, 4, 4)
    data = ImageFolder(
        str(folder / "images"),
        size=16,
        episodes=episodes,
        evaluation=evaluation,
        cache_dir=str(folder / "cache"),
    )
    module = FewShotModule(
        Conv4(hidden=4), Episodic(PrototypicalHead()), auxiliary=[Rotation()], image_shape=(3, 16, 16)
    )
    before = {name: value.detach().clone() for name, value in module.named_parameters()}
    trainer = Trainer(
        max_steps=1,
        limit_val_batches=0,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[PSSTCallback(tradeoff=0.3)],
    )
    with Walk() as walk:
        trainer.fit(module, datamodule=data)

    fit = walk.first("psst.training.few_shot_module:training_step")
    assert 0 < walk.first("psst.images.build") < walk.first("psst.images.store") < fit
    drawn = walk.first("psst.episodes.stream", walk.first("psst.datamodules.episodic:train_dataloader"))
    way = [
        drawn,  # the stream asks the sampler for the next numbers, the data module reads their pixels
        walk.first("psst.episodes.sampler", drawn),
        walk.first("psst.episodes.batch", drawn),
        fit,
        *(
            walk.first(WAY[name], fit)
            for name in ("view", "batch", "encode", "task", "callback", "optimizer")
        ),
    ]
    assert -1 not in way, [walk.calls[i] for i in way]
    assert way == sorted(way), [walk.calls[i] for i in way]
    assert trainer.global_step == 1
    changed = [name for name, value in module.named_parameters() if not torch.equal(value, before[name])]
    assert set(changed) == set(before)


def test_the_page_tells_the_same_stations_and_its_picture_is_drawn_by_the_command(tmp_path):
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    told = [name.lower() for name in re.findall(r"^\d+\. \*\*(.+?)\*\*", page, re.MULTILINE)]
    assert told == list(WAY)
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        from architecture import STATIONS, draw
    finally:
        sys.path.pop(0)
    assert [name for name, _ in STATIONS] == ["image files", *WAY]
    draw(str(tmp_path / "again.svg"))
    assert (tmp_path / "again.svg").read_bytes() == (ROOT / "docs" / "architecture.svg").read_bytes()
