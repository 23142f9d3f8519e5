"""A unit that is stopped in its middle ends bit for bit like one that is not."""

import numpy as np
import pytest
import torch
from pytorch_lightning import Callback
from torch.utils.data import DataLoader, IterableDataset

from psst.callbacks import PSSTCallback
from psst.search.metric_judge import MetricJudge
from psst.search.python_run import PythonRun
from psst.search.result import Metric
from psst.search.runner import UnitFolder, UnitRunner
from psst.search.settings import SearchSettings
from psst.search.units import Schedule, Unit, fixed_weights
from tests.search.tasks import Columns, Heads, samples

SETTINGS = SearchSettings(auxiliary_weights=(0.0, 0.3))


class Killed(BaseException):
    """What stands for SIGKILL inside one process: nothing below catches it."""


class KillAt(Callback):
    """Ends the process, so to speak, at its n-th batch."""

    left: int | None = None

    def on_train_batch_end(self, *_):
        if KillAt.left is not None:
            KillAt.left -= 1
            if KillAt.left == 0:
                KillAt.left = None
                raise Killed


class Denoising(UnitRunner):
    """With other arguments of the units' callback."""

    changes: dict[str, object]

    def callback(self, method):
        return PSSTCallback(method=method, ema=self.ema, **self.changes)


class Epochs(Heads):
    """Its learning rate falls at each epoch, beside what falls with each step."""

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)
        return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.7)]


class Plateau(Heads):
    """Its learning rate follows a mean over the epoch."""

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, threshold=0.2)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "monitor": "train/mean"}}

    def training_step(self, batch, batch_idx):
        output = super().training_step(batch, batch_idx)
        self.log("train/mean", output["loss"].detach(), on_step=False, on_epoch=True)
        return output


class Endless(IterableDataset):
    """Passes of 9 samples and no length."""

    def __iter__(self):
        for index in torch.randperm(56)[:72].tolist():
            yield tuple(column[index] for column in samples(56, 0).tensors)


class Streamed(Columns):
    def train_dataloader(self):
        return DataLoader(Endless(), 8)


def runner(folder, module=Heads, data=None, every=2, callback=None, **trainer):
    arguments = {"accelerator": "cpu", "callbacks": [KillAt()], **trainer}
    run = PythonRun(module, data or Columns(), 20, trainer=arguments, settings=SETTINGS)
    judge = MetricJudge(run, Metric("val/error", "min", "val/error"))
    made = Denoising(run, folder, judge, checkpoint_every=every)
    made.changes = callback or {}
    return made


def units():
    """A warm start, and one that goes on from it."""
    schedule = Schedule(SETTINGS, 20, ["other"])
    return schedule.warm, schedule.anchors[1]


def content(folder):
    """Everything a unit comes to, timings aside."""
    place = UnitFolder(folder)
    checkpoint = torch.load(place.model, weights_only=True)
    with np.load(place.trajectory) as file:
        trajectory = {key: file[key] for key in file.files}
    return checkpoint, trajectory


def same(one, other, path=""):
    if isinstance(one, dict):
        assert one.keys() == other.keys(), path
        for key in one:
            same(one[key], other[key], f"{path}/{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), path
        for place, (a, b) in enumerate(zip(one, other, strict=True)):
            same(a, b, f"{path}/{place}")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other), path
    elif isinstance(one, np.ndarray):
        assert np.array_equal(one, other), path
    else:
        assert one == other, f"{path}: {one} and {other}"


def train_with_kills(make, unit, kills):
    """Train; start again after each kill, as a new process would."""
    for batches in kills:
        KillAt.left = batches
        with pytest.raises(Killed):
            make().train(unit)
    return make().train(unit)


def compare(tmp_path, kills=(5, 3), **arguments):
    whole, pieces = runner(tmp_path / "whole", **arguments), tmp_path / "pieces"
    for unit in units():
        expected = whole.train(unit)
        found = train_with_kills(lambda: runner(pieces, **arguments), unit, kills)
        for result in (expected, found):
            assert result.pop("seconds") > 0
        assert found == expected
        same(content(pieces / "units" / unit.name), content(tmp_path / "whole" / "units" / unit.name))
        assert not UnitFolder(pieces / "units" / unit.name).last.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"data": Columns(num_workers=2)},
        {"module": Epochs},
        {"every": 1},
        {"every": 7, "kills": (7, 1)},  # a pass has 7 batches: the checkpoint falls between two
        {"module": Epochs, "data": Columns(n=8), "every": 1},  # one batch a pass
        {"accumulate_grad_batches": 3, "kills": (14, 8)},
        {"data": Streamed(), "every": 3},
        {"module": Plateau, "data": Columns(n=24), "every": 1},
    ],
    ids=["plain", "workers", "epochs", "every", "between", "one batch", "windows", "no length", "plateau"],
)
def test_a_killed_unit_ends_as_if_it_had_not_been(tmp_path, arguments):
    compare(tmp_path, **arguments)


def test_a_kill_between_training_and_validation_trains_nothing_anew(tmp_path):
    make = lambda: runner(tmp_path / "out")  # noqa: E731 - a single call
    warm, _ = units()
    expected = runner(tmp_path / "whole").train(warm)

    class Torn(MetricJudge):
        def validate(self, *_):
            raise Killed

    torn = make()
    torn.judge.__class__ = Torn
    with pytest.raises(Killed):
        torn.train(warm)
    model = UnitFolder(tmp_path / "out" / "units" / "warm").model
    before = model.stat().st_mtime_ns
    found = make().train(warm)
    assert model.stat().st_mtime_ns == before
    assert found["losses"] == expected["losses"]
    assert found["weights"] == expected["weights"]


@pytest.mark.parametrize("left", ["torn", "empty", "another unit", "another run"])
def test_what_is_of_no_use_is_not_used(tmp_path, left):
    warm, _ = units()
    expected = runner(tmp_path / "whole").train(warm)
    KillAt.left = 5
    first = runner(tmp_path / "out", **({"module": Epochs} if left == "another run" else {}))
    unit = warm
    if left == "another unit":
        unit = Unit("warm", "warm", fixed_weights([0.7]), 0, warm.stop)
    with pytest.raises(Killed):
        first.train(unit)
    place = UnitFolder(tmp_path / "out" / "units" / "warm")
    if left == "torn":
        place.last.write_bytes(place.last.read_bytes()[:-100])
    elif left == "empty":
        place.last.write_bytes(b"")
    (place.path / ".last.x8a.ckpt").write_bytes(b"half")
    found = runner(tmp_path / "out").train(warm)
    assert found | {"seconds": 0} == expected | {"seconds": 0}
    same(content(place.path), content(tmp_path / "whole" / "units" / "warm"))
    assert not list(place.path.glob(".*"))


def test_a_last_checkpoint_is_never_at_a_units_end(tmp_path):
    """Its 12th step is a multiple of 4, and the training would go on beyond."""
    warm, _ = units()

    class Torn(MetricJudge):
        def validate(self, *_):
            raise Killed

    stopped = runner(tmp_path, every=4)
    kept = []
    saved = UnitFolder.finish

    def finish(self, *arguments):
        kept.append(torch.load(self.last, weights_only=True)["global_step"])
        saved(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(UnitFolder, "finish", finish)
        stopped.train(warm)
    assert kept == [8]
    assert torch.load(UnitFolder(tmp_path / "units" / "warm").model, weights_only=True)["global_step"] == 12


@pytest.mark.slow
def test_the_episodes_of_a_few_shot_unit_go_on_where_they_were(tmp_path):
    from psst.search.episode_judge import EpisodeJudge
    from psst.training.experiment import Experiment

    changes = {
        "trainer.max_steps": 16,
        "data.init_args.cache_dir": str(tmp_path / "cache"),
        "data.init_args.evaluation.val_episodes": 10,
        "data.init_args.episodes.query": 2,
        "data.init_args.episodes.per_epoch": 5,
        "model.init_args.backbone.init_args.hidden": 4,
        "trainer.callbacks": [{"class_path": f"{__name__}.KillAt"}],
    }

    def make(folder):
        experiment = Experiment.from_config("quickstart", changes, SearchSettings)
        return UnitRunner(experiment, tmp_path / folder, EpisodeJudge(experiment), checkpoint_every=2)

    schedule = Schedule(SETTINGS, 16, ["rotation"])
    for unit in (schedule.warm, schedule.anchors[1]):
        expected = make("whole").train(unit)
        found = train_with_kills(lambda: make("pieces"), unit, (4, 3))
        assert found | {"seconds": 0} == expected | {"seconds": 0}
        folders = [tmp_path / folder / "units" / unit.name for folder in ("pieces", "whole")]
        same(content(folders[0]), content(folders[1]))


def test_the_callbacks_own_memory_comes_back(tmp_path):
    """The remembered gradients of the denoised Gramian."""
    compare(tmp_path, callback={"denoise": True})
