"""Two processes train and evaluate together as one would."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch

from psst.backbones import Conv4
from psst.fewshot import PrototypicalHead
from psst.tasks import Episodic, Rotation
from psst.training import FewShotModule
from tests.datamodules.test_episodic import Recorder, trainer_of
from tests.episodes.tiny_source import SIZES, digest, kind_of, ready

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
RANKS = {"devices": 2, "strategy": "ddp_spawn"}


class RankRecorder(Recorder):
    """Leaves what each rank saw, and a checkpoint, in a folder."""

    def __init__(self, folder):
        super().__init__()
        self.folder = Path(folder)

    def on_train_end(self):
        content = {"seen": self.seen, "digests": self.digests}
        (self.folder / f"rank{self.global_rank}.json").write_text(json.dumps(content))
        self.trainer.save_checkpoint(self.folder / f"step{self.global_step}.ckpt")


class RankScores(FewShotModule):
    """Leaves what each rank embedded and found out in a folder."""

    folder: Path

    def on_validation_epoch_end(self):
        ids = torch.cat([ids for _, ids in self._embedded]).tolist()
        super().on_validation_epoch_end()
        scores = self.scores["all"]
        content = {"ids": ids, "accuracies": scores.accuracies.tolist(), "losses": scores.losses.tolist()}
        (self.folder / f"rank{self.global_rank}.json").write_text(json.dumps(content))


def of_ranks(folder, n_ranks=2):
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(n_ranks)]


@pytest.mark.parametrize("kind", ["several", "varied", "unlabeled", "classes", "mixed"])
def test_two_ranks_see_what_one_process_sees(tmp_path, kind):
    """An epoch of 7 episodes does not divide by 2; the run goes on in one process and in two."""
    settings = {"episodes": {"per_epoch": 7}, "cache_dir": tmp_path / "cache"}
    data = kind_of(kind, **settings)
    trainer_of(tmp_path, max_steps=7, **RANKS).fit(RankRecorder(tmp_path), datamodule=data)
    middle = tmp_path / "step7.ckpt"
    assert torch.load(middle, weights_only=True)["Tiny"]["consumed"] == 14
    parts = of_ranks(tmp_path)
    assert [part["seen"] for part in parts] == [list(range(0, 14, 2)), list(range(1, 14, 2))]
    data.setup()
    expected = [digest(data.train_batch(i)) for i in range(18)]
    assert [part["digests"] for part in parts] == [expected[0:14:2], expected[1:14:2]]

    alone = Recorder()
    trainer_of(tmp_path, max_steps=11).fit(alone, datamodule=kind_of(kind, **settings), ckpt_path=middle)
    assert alone.digests == expected[14:18]
    trainer_of(tmp_path, max_steps=9, **RANKS).fit(
        RankRecorder(tmp_path), datamodule=kind_of(kind, **settings), ckpt_path=middle
    )
    assert [part["digests"] for part in of_ranks(tmp_path)] == [expected[14:18:2], expected[15:18:2]]


def test_two_ranks_embed_every_image_once_and_find_the_same_scores(tmp_path):
    """41 images in the split: one rank has one more than the other."""
    sizes = SIZES | {"val": [10, 9, 11, 11]}
    settings = {"size": 16, "sizes": sizes, "cache_dir": tmp_path / "cache", "episodes": {"query": 2}}

    def validate(folder, **trainer_settings):
        folder.mkdir()
        torch.manual_seed(0)
        adam = partial(torch.optim.Adam, lr=1e-3)  # spawned processes need one that pickles
        main = Episodic(PrototypicalHead())
        module = RankScores(Conv4(hidden=4), main, [Rotation()], adam, image_shape=(3, 16, 16))
        module.folder = folder
        ready_data = ready(**settings)
        trainer = trainer_of(folder, limit_val_batches=1.0, max_epochs=1, **trainer_settings)
        trainer.fit(module, datamodule=ready_data)

    validate(tmp_path / "two", **RANKS)
    two = of_ranks(tmp_path / "two")
    assert [len(part["ids"]) for part in two] == [21, 20]
    val = ready(**settings).episode_plan("val")["all"].image_ids.tolist()
    assert sorted(two[0]["ids"] + two[1]["ids"]) == sorted(val)
    assert two[0]["accuracies"] == two[1]["accuracies"]
    assert two[0]["losses"] == two[1]["losses"]
