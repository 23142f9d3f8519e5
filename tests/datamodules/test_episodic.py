import pickle

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint

from tests.episodes.tiny_source import KINDS, SIZES, Tiny, digest, kind_of, ready


class Recorder(LightningModule):
    """Learns nothing worth knowing and writes down which batches it was trained on."""

    def __init__(self, fail_at: int | None = None):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[int] = []
        self.digests: list[str] = []
        self.fail_at = fail_at

    def training_step(self, batch, batch_idx):
        number = batch.index
        if self.fail_at == number:
            raise RuntimeError("stop here")
        self.seen.append(number)
        self.digests.append(digest(batch))
        return self.weight * batch.images().mean()

    def validation_step(self, batch, batch_idx):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer_of(folder, **settings):
    defaults = {"max_epochs": -1, "logger": False, "enable_checkpointing": False, "num_sanity_val_steps": 0}
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "limit_val_batches": 0}
    return Trainer(default_root_dir=folder, accelerator="cpu", **defaults | quiet | settings)


def fit(folder, module, data, start=None, **settings):
    trainer = trainer_of(folder, **settings)
    trainer.fit(module, datamodule=data, ckpt_path=start)
    return trainer


@pytest.fixture
def cache(tmp_path_factory):
    return tmp_path_factory.getbasetemp() / "cache"


@pytest.mark.filterwarnings("error:You're resuming from a checkpoint")
@pytest.mark.parametrize("steps", [3, 5])
def test_a_resume_goes_on_with_the_next_episode(tmp_path, cache, steps):
    """Epochs have 5 episodes: the checkpoint falls into, or between, epochs; workers have fetched ahead."""
    first = Recorder()
    trainer = fit(tmp_path, first, Tiny(cache, num_workers=2), max_steps=steps)
    trainer.save_checkpoint(tmp_path / "mid.ckpt")
    assert first.seen == list(range(steps))
    second = Recorder()
    fit(tmp_path, second, Tiny(cache, num_workers=2), tmp_path / "mid.ckpt", max_steps=steps + 12)
    assert second.seen == list(range(steps, steps + 12))


@pytest.mark.filterwarnings("error:You're resuming from a checkpoint")
@pytest.mark.parametrize(
    ("every", "settings"), [(1, {}), (2, {"accumulate_grad_batches": 2}), (3, {"limit_val_batches": 1})]
)
def test_a_checkpoint_written_during_training_resumes_too(tmp_path, cache, every, settings):
    settings = {"max_epochs": 3} | settings
    saving = ModelCheckpoint(tmp_path, save_top_k=-1, every_n_train_steps=every, filename="{step}")
    whole = Recorder()
    fit(tmp_path, whole, Tiny(cache), callbacks=[saving], enable_checkpointing=True, **settings)
    assert whole.seen == list(range(15))
    checkpoints = sorted(tmp_path.glob("*.ckpt"))
    assert checkpoints
    for path in checkpoints:
        position = torch.load(path, weights_only=True)["Tiny"]["consumed"]
        rest = Recorder()
        fit(tmp_path, rest, Tiny(cache, num_workers=0), path, **settings)
        assert rest.seen == list(range(position, 15))
        assert rest.digests == whole.digests[position:]


@pytest.mark.filterwarnings("error:You're resuming from a checkpoint")
@pytest.mark.parametrize(("kind", "device"), [*((kind, "map") for kind in KINDS), ("unlabeled", "cpu")])
def test_every_kind_of_stream_resumes_with_the_next_batch(tmp_path, cache, kind, device):
    """With accumulated batches, two workers in the second run, and images read ahead or on the device."""
    settings = {"accumulate_grad_batches": 2}
    data = kind_of(kind, cache, episodes={"per_epoch": 7})
    first = Recorder()
    trainer = fit(tmp_path, first, data, max_steps=3, **settings)
    trainer.save_checkpoint(tmp_path / "mid.ckpt")
    n = len(first.seen)
    assert first.seen == list(range(n))
    assert data.consumed == n
    second, rest = Recorder(), kind_of(kind, cache, episodes={"per_epoch": 7}, num_workers=2, device=device)
    fit(tmp_path, second, rest, tmp_path / "mid.ckpt", max_steps=8, **settings)
    assert second.seen == list(range(n, n + len(second.seen)))
    assert len(second.seen) >= 5
    again = ready(cache, sizes=SIZES | {"unlabeled": [12]}, **KINDS[kind])
    assert first.digests + second.digests == [
        digest(again.train_batch(i)) for i in range(len(first.seen + second.seen))
    ]


@pytest.mark.parametrize(("before", "after", "expected"), [(1, 4, 3), (4, 1, 36), (4, 3, 12), (2, 2, 9)])
def test_a_resume_with_other_batches_sees_no_episode_twice(cache, before, after, expected):
    state = {"consumed": 9, "per_batch": before}
    data = ready(cache, episodes={"per_batch": after})
    data.load_state_dict(state)
    assert data.consumed == expected


def test_loaders_carry_ids_where_the_device_has_the_images(tmp_path, cache):
    data, seen = kind_of("unlabeled", cache, device="cpu"), {}

    class Looking(Recorder):
        def on_train_start(self):
            seen["train"] = data.train_dataloader().dataset[0].pixels

        def validation_step(self, batch, batch_idx):
            seen["val"] = batch.images().shape

    fit(tmp_path, Looking(), data, max_steps=1, val_check_interval=1, limit_val_batches=1, max_epochs=1)
    assert seen == {"train": None, "val": (40, 3, 4, 4)}
    assert data.train_dataloader().dataset[0].pixels is not None  # a loop by hand gets images
    assert data._residence._held is None  # freed at the end of the run


@pytest.mark.parametrize("workers", [0, 2])
def test_an_episode_that_failed_is_trained_on_again(tmp_path, cache, workers):
    """What workers have fetched ahead, and a step that raised, do not count."""
    data, module = Tiny(cache, num_workers=workers), Recorder(fail_at=8)
    trainer = trainer_of(tmp_path, max_steps=20)
    with pytest.raises(RuntimeError, match="stop here"):
        trainer.fit(module, datamodule=data)
    assert data.state_dict() == {"consumed": 8, "per_batch": 1}
    trainer.save_checkpoint(tmp_path / "failed.ckpt")
    second = Recorder()
    fit(tmp_path, second, Tiny(cache), tmp_path / "failed.ckpt", max_steps=12)
    assert second.seen[0] == 8


def test_a_chain_of_runs_is_one_stream(tmp_path, cache):
    """The search starts units from the checkpoint of another unit, with a datamodule that may be shared."""
    shared, seen, start = Tiny(cache), [], None
    for steps in (4, 9, 20):
        module = Recorder()
        trainer = fit(tmp_path, module, shared, start, max_steps=steps)
        start = tmp_path / f"{steps}.ckpt"
        trainer.save_checkpoint(start)
        seen += module.seen
    assert seen == list(range(20))
    fresh = Recorder()
    fit(tmp_path, fresh, shared, max_steps=3)
    assert fresh.seen == [0, 1, 2]


def test_the_same_trainer_goes_on_when_asked_for_more(tmp_path, cache):
    module, data = Recorder(), Tiny(cache)
    trainer = fit(tmp_path, module, data, max_steps=7)
    trainer.fit_loop.epoch_loop.max_steps = 16
    trainer.fit(module, datamodule=data)
    assert module.seen == list(range(16))


def test_a_plain_loop_over_the_loader_takes_new_episodes_at_each_pass(cache):
    data = ready(cache)
    loader = data.train_dataloader()
    assert [batch.index for _ in range(2) for batch in loader] == list(range(10))
    data.load_state_dict({"consumed": 42, "per_batch": 1})
    assert next(iter(loader)).index == 42


def test_settings_other_than_the_seed_leave_the_stream_alone(cache):
    base, other, reseeded = (
        ready(cache),
        ready(cache, num_workers=1, episodes={"per_epoch": 9}),
        ready(cache, seed=1),
    )
    assert torch.equal(base.train_batch(7).pixels, other.train_batch(7).pixels)
    assert not torch.equal(base.train_batch(7).pixels, reseeded.train_batch(7).pixels)
    assert base.episode_plan("val")["all"].stream != reseeded.episode_plan("val")["all"].stream
    assert base.episode_plan("val")["all"].stream == other.episode_plan("val")["all"].stream


def test_evaluation_sees_every_image_once_and_plans_its_episodes(cache):
    data = ready(cache)
    ids = torch.cat([batch.ids for batch in data.test_dataloader()])
    assert torch.tensor(data.store.labels[ids]).bincount()[-5:].tolist() == SIZES["test"]
    sampler = data.episode_plan("test")["all"]
    assert (sampler.n_way, sampler.n_shot, sampler.n_query, sampler.seed) == (3, 1, 5, 0)
    assert set(sampler.class_ids) == set(data.store.splits["test"])
    assert (data.eval_episodes("val"), data.eval_episodes("test")) == (20, 30)
    assert data.image_shape == data.store.image_shape == (3, 4, 4)
    assert len(data.mean) == len(data.std) == 3


def test_groups_are_evaluated_within_themselves(cache):
    groups = {"test": ["Alpha", "Alpha", "Beta", "Beta", "Beta"]}
    data = ready(cache, groups=groups, evaluation={"way": 3})
    plan = data.episode_plan("test")
    assert {group: sampler.n_way for group, sampler in plan.items()} == {"Alpha": 2, "Beta": 3}
    names = {group: {data.store.class_names[i] for i in s.class_ids} for group, s in plan.items()}
    assert names == {"Alpha": {"test0", "test1"}, "Beta": {"test2", "test3", "test4"}}
    assert list(data.episode_plan("val")) == ["all"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"episodes": {"way": 7}},
            r"`data.init_args.episodes.way=7` needs 7 classes, split 'train' of Tiny has 6",
        ),
        (
            {"evaluation": {"way": 5}},
            r"`data.init_args.evaluation.way=5` needs 5 classes, split 'val' of Tiny has 4",
        ),
        (
            {"episodes": {"shot": 5}},
            r"episodes.shot=5` and .*episodes.query=4` need 9 .* `train1` has 8, `train5` has 8; lower",
        ),
        (
            {"evaluation": {"query": 9}},
            r"`data.init_args.evaluation.query=9` need 10 images a class; in split 'val' .* `val1` has 9",
        ),
        (
            {"groups": {"test": list("AAAAB")}},
            r"needs 2 classes, group 'B' of split 'test' of Tiny has 1; add",
        ),
        ({"sizes": {"train": [9] * 6, "val": [9] * 3}}, r"split 'test' of Tiny has 0; add classes"),
        (
            {"episodes": {"way": [3, 7]}},
            r"`data.init_args.episodes.way=\[3, 7\]` needs 7 classes, split 'train' of Tiny has 6",
        ),
        (
            {"episodes": {"shot": (1, 5)}},
            r"episodes.shot=\[1, 5\]` and `data.init_args.episodes.query=4` need 9 .* `train1` has 8",
        ),
        (
            {"n_unlabeled": 2},
            r"`data.init_args.n_unlabeled=2` needs unlabeled images, Tiny has none; set it to 0",
        ),
    ],
)
def test_data_that_cannot_serve_are_refused_at_setup(cache, settings, message):
    with pytest.raises(ValueError, match=message):
        ready(cache, **settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("episodes.way", 1), ("episodes.shot", 0), ("episodes.per_epoch", 0), ("episodes.per_batch", 0)],
        *[("evaluation.way", 1), ("evaluation.test_episodes", 0)],
        *[("num_workers", -1), ("batch_size", 0), ("n_unlabeled", -1)],
    ],
)
def test_numbers_out_of_range_are_refused_at_construction(cache, name, value):
    group, _, key = name.rpartition(".")
    with pytest.raises(ValueError, match=f"`data.init_args.{name}={value}` must be at least"):
        Tiny(cache, **({group: {key: value}} if group else {key: value}))


def test_the_store_before_setup_is_an_error(cache):
    with pytest.raises(RuntimeError, match="prepare_data"):
        _ = Tiny(cache).store


def test_the_module_pickles_for_ranks_that_are_spawned(cache):
    data = pickle.loads(pickle.dumps(ready(cache)))
    assert data.train_batch(2).index == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"episodes": {"way": [1, 3]}}, r"`data.init_args.episodes.way=\[1, 3\]` must be at least 2"),
        (
            {"episodes": {"way": [4, 3]}},
            r"`data.init_args.episodes.way=\[4, 3\]` must be a whole number, or two as `\[low, high\]`",
        ),
        (
            {"episodes": {"shot": [1, 2, 3]}},
            r"`data.init_args.episodes.shot=\[1, 2, 3\]` must be a whole number, or two",
        ),
        ({"episodes": {"shot": 1.5}}, r"`data.init_args.episodes.shot=1.5` must be a whole number"),
        ({"episodes": {"balance": 0.0}}, r"`data.init_args.episodes.balance=0.0` must be above 0"),
        ({"batches": "images"}, r"`data.init_args.batches=images` must be `episodes`, `classes` or `mixed`"),
        (
            {"batches": "classes", "episodes": {"balance": 1.0}},
            r"`data.init_args.episodes.balance=1.0` is of",
        ),
        ({"download": True}, r"`data.init_args.download=true`: Tiny has nothing to download; put its files"),
        ({"mirror": "http://x"}, r"`data.init_args.mirror=http://x` needs `data.init_args.download=true`"),
        ({"device": "nowhere"}, r"`data.init_args.device=nowhere` is no device"),
    ],
)
def test_settings_that_make_no_sense_are_refused_at_construction(cache, settings, message):
    with pytest.raises(ValueError, match=message):
        Tiny(cache, **settings)


def test_an_epoch_of_classes_is_a_pass_over_all_images(cache):
    data = ready(cache, batches="classes", batch_size=9)
    assert len(data.train_dataloader()) == 9  # 76 images, nine at a time


def test_an_epoch_counts_episodes_whatever_a_batch_holds(cache):
    lengths = [
        len(ready(cache, episodes={"per_epoch": 12, "per_batch": b}).train_dataloader())
        for b in (1, 4, 5, 20)
    ]
    assert lengths == [12, 3, 2, 1]
