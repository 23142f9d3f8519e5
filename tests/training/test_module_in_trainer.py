from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

from psst.backbones import Conv4, ResNet12
from psst.callbacks import PSSTCallback
from psst.episodes import Evaluation
from psst.episodes.stream import ImageSplit, Reader
from psst.evaluation import load_scores
from psst.fewshot import PrototypicalHead
from psst.images.augment import Augmentation
from psst.pareto import FixedWeights
from psst.tasks import (
    Classes,
    Distillation,
    Episodic,
    GlobalClasses,
    PatchLocation,
    Preserve,
    Rotation,
    SelfDistillation,
    SimCLR,
    SupervisedContrastive,
)
from psst.training import FewShotModule


@pytest.fixture
def checkpoint(make_module, make_data, make_trainer, tmp_path):
    """A trained module and the path of its checkpoint."""
    trainer = make_trainer(max_steps=3, num_sanity_val_steps=0)
    module = make_module(image_shape=None)
    trainer.fit(module, datamodule=make_data())
    path = tmp_path / "model.ckpt"
    trainer.save_checkpoint(path)
    return module, path


def test_fit_builds_logs_and_evaluates(make_module, make_data, make_trainer):
    trainer = make_trainer(max_epochs=2, enable_checkpointing=False)
    module = make_module(image_shape=None)
    trainer.fit(module, datamodule=make_data())
    metrics = trainer.callback_metrics
    assert {"train/main_loss", "train/rotation_loss", "train/accuracy"} <= set(metrics)
    assert {"val/accuracy", "val/accuracy_half_width", "val/main_loss", "val/rotation_loss"} <= set(metrics)
    assert module.scores["all"].n == 20
    assert float(metrics["val/accuracy"]) == pytest.approx(module.scores["all"].mean)
    assert trainer.global_step == 8


def test_fast_dev_run_of_everything(make_module, make_data, make_trainer):
    trainer = make_trainer(fast_dev_run=True)
    module = make_module(image_shape=None)
    trainer.fit(module, datamodule=make_data())
    trainer.validate(module, datamodule=make_data(), verbose=False)
    trainer.test(module, datamodule=make_data(), verbose=False)
    assert module.scores["all"].n == 16


@pytest.mark.parametrize(
    "method", [None, PSSTCallback(tradeoff=0.5), PSSTCallback(FixedWeights(1.0)), PSSTCallback("min_norm")]
)
def test_tasks_have_losses_in_their_spans_only(make_module, make_data, make_trainer, method, recwarn):
    """Steps count, not batches; outside, a task's own layers rest; a module on its own knows its spans."""
    seen, weights = [], []

    class Look(pl.Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            seen.append(list(outputs["losses"]))
            weights.append([p.detach().clone() for p in pl_module.auxiliary["simclr"].parameters()])

    module = make_module(
        image_shape=None,
        auxiliary=[Rotation(), SimCLR()],
        active={"rotation": (0, 4), "simclr": (2, None)},
        optimizer=torch.optim.SGD,
    )
    callbacks = [Look(), *([] if method is None else [method])]
    trainer = make_trainer(
        max_steps=6, accumulate_grad_batches=2, num_sanity_val_steps=0, callbacks=callbacks
    )
    trainer.fit(module, datamodule=make_data(augmentations={"main": Augmentation(padding=2, flip=True)}))
    both, first, last = ["main", "rotation", "simclr"], ["main", "rotation"], ["main", "simclr"]
    assert not [warning for warning in recwarn if "PSSTCallback" in str(warning.message)]
    assert seen == [first] * 4 + [both] * 4 + [last] * 4
    assert all(map(torch.equal, weights[0], weights[3]))
    assert not all(map(torch.equal, weights[3], weights[-1]))
    assert {"val/rotation_loss", "val/simclr_loss"} <= set(trainer.callback_metrics)
    path = Path(trainer.default_root_dir) / "model.ckpt"
    trainer.save_checkpoint(path)
    assert FewShotModule.load_from_checkpoint(path).active == module.active


def test_training_learns(make_module, make_data, make_trainer):
    """Plain training and training with rotation both leave chance far behind on unseen classes."""
    for rotation in (False, True):
        trainer = make_trainer(max_steps=30, enable_checkpointing=False, num_sanity_val_steps=0)
        module = make_module(auxiliary=None if rotation else [])
        trainer.fit(module, datamodule=make_data())
        trainer.validate(
            module,
            datamodule=make_data(evaluation=Evaluation(way=3, query=3, val_episodes=100)),
            verbose=False,
        )
        scores = module.scores["all"]
        assert scores.mean - scores.half_width > 1 / 3


def test_without_auxiliary_tasks_the_step_is_plain_training(make_module, data):
    """One Adam step of the module equals one written out by hand."""
    module, twin = make_module(auxiliary=[]), make_module(auxiliary=[])
    episode = data.train_batch(0)
    for network, loss in (
        (module, module.training_step(episode, 0)["loss"]),
        (twin, twin.task_losses(episode)["main"]),
    ):
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
        loss.backward()
        optimizer.step()
    for mine, other in zip(module.parameters(), twin.parameters(), strict=True):
        assert torch.equal(mine, other)


def test_test_stores_scores_and_reports_groups(make_module, make_data, make_trainer, tmp_path):
    trainer = make_trainer()
    module = make_module()
    metrics = trainer.test(module, datamodule=make_data(groups=True), verbose=False)[0]
    stored = load_scores(tmp_path / "test_scores.npz")
    assert set(stored) == {"group0", "group1"}
    means = [metrics[f"test/{group}/accuracy"] for group in stored]
    assert metrics["test/accuracy"] == pytest.approx(sum(means) / 2)
    assert metrics["test/accuracy_half_width"] == pytest.approx(
        sum(scores.half_width**2 for scores in stored.values()) ** 0.5 / 2
    )
    assert stored["group0"].n == 30


def test_evaluation_is_repeatable_whatever_the_batch(make_module, make_data, make_trainer):
    """Accuracy does not depend on who shares a batch with whom."""
    module = make_module().eval()
    data = make_data()
    first = make_trainer().validate(module, datamodule=data, verbose=False)[0]
    split = ImageSplit(Reader(data.store, data.policies("val")), "val", batch_size=3)
    data.val_dataloader = lambda: torch.utils.data.DataLoader(split, batch_size=None)
    second = make_trainer().validate(module, datamodule=data, verbose=False)[0]
    assert first["val/accuracy"] == second["val/accuracy"]
    assert first["val/main_loss"] == pytest.approx(second["val/main_loss"], rel=1e-5)


def test_images_left_out_are_an_error(make_module, make_data, make_trainer):
    data = make_data()
    data.prepare_data()
    data.setup("fit")
    split = ImageSplit(Reader(data.store, data.policies("val")), "val", batch_size=4)
    data.val_dataloader = lambda: torch.utils.data.DataLoader(split, batch_size=None)
    with pytest.raises(ValueError, match=r"28 of 32 were left out; leave `trainer.limit_val_batches`"):
        make_trainer(limit_val_batches=1).validate(make_module(), datamodule=data, verbose=False)


def test_checkpoint_loads_with_weights_only(checkpoint, make_data):
    module, path = checkpoint
    loaded = FewShotModule.load_from_checkpoint(path, weights_only=True)
    assert loaded.image_shape == (1, 16, 16)
    for key, value in module.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[key])
    images = torch.rand(3, 1, 16, 16)
    assert torch.equal(module.embed(images), loaded.embed(images))
    assert loaded.hparams == module.hparams


def test_resume_goes_on(checkpoint, make_module, make_data, make_trainer):
    """Three steps, a checkpoint, three more: the same parameters as six at once."""
    _, path = checkpoint
    states = []
    for ckpt_path in (path, None):
        module = make_module(image_shape=None)
        trainer = make_trainer(max_steps=6, enable_checkpointing=False, num_sanity_val_steps=0)
        trainer.fit(module, datamodule=make_data(), ckpt_path=ckpt_path, weights_only=True)
        assert trainer.global_step == 6
        states.append(module.state_dict())
    for key, value in states[0].items():
        torch.testing.assert_close(value, states[1][key], rtol=0, atol=0)


@pytest.mark.parametrize("other", ["backbone", "width", "tasks"])
def test_a_checkpoint_of_another_model_is_refused_in_words(
    checkpoint, make_module, make_data, make_trainer, other
):
    _, path = checkpoint
    module, words = {
        "backbone": (
            make_module(ResNet12((4, 4, 4, 4))),
            r"model.ckpt holds another model: Conv4\(hidden=8\).* of 6 classes .* this one is ResNet12",
        ),
        "width": (
            make_module(Conv4(hidden=4)),
            r"encoder.backbone.blocks.0.conv.weight is \[8, .* in the checkpoint and \[4, 1, 3, 3\] here",
        ),
        "tasks": (
            make_module(auxiliary=[]),
            r"auxiliary.rotation.classifier.weight is \[4, 8\] in the checkpoint and absent here",
        ),
    }[other]
    trainer = make_trainer(max_steps=6)
    for action in (trainer.fit, trainer.test):
        with pytest.raises(ValueError, match=words):
            action(module, datamodule=make_data(), ckpt_path=path)


def test_a_checkpoint_from_a_newer_psst_is_refused(checkpoint, tmp_path):
    content = torch.load(checkpoint[1], weights_only=True) | {"psst_format": 99}
    torch.save(content, tmp_path / "newer.ckpt")
    with pytest.raises(ValueError, match=r"format 99.*newer psst"):
        FewShotModule.load_from_checkpoint(tmp_path / "newer.ckpt", weights_only=True)


@pytest.mark.parametrize("datamodule", [None, pl.LightningDataModule()])
def test_a_datamodule_without_episodes_is_refused(make_trainer, datamodule):
    module = FewShotModule(Conv4(), Episodic(PrototypicalHead()))
    loader = torch.utils.data.DataLoader([0])
    if datamodule is None:
        with pytest.raises(TypeError, match="found no datamodule; pass `datamodule=`"):
            make_trainer(max_steps=1).fit(module, loader)
    else:
        datamodule.train_dataloader = lambda: loader
        with pytest.raises(TypeError, match="which lacks `image_shape`, `train_classes`"):
            make_trainer(max_steps=1).fit(module, datamodule=datamodule)


def test_scheduler_advances_every_step(make_module, make_data, make_trainer):
    module = make_module(
        optimizer=lambda params: torch.optim.SGD(params, lr=1.0e-3),
        scheduler=lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.1),
    )
    trainer = make_trainer(max_steps=4, enable_checkpointing=False, num_sanity_val_steps=0)
    trainer.fit(module, datamodule=make_data())
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(1e-5)


def test_predict_embeds(make_module, make_data, make_trainer, data):
    module = make_module()
    batches = make_trainer().predict(module, dataloaders=data.test_dataloader())
    assert torch.cat(batches).shape == (40, module.encoder.num_features)


EVERY = {
    "classes": lambda path: Classes(),
    "simclr": lambda path: SimCLR(),
    "supervised_contrastive": lambda path: SupervisedContrastive(),
    "patch_location": lambda path: PatchLocation(),
    "preserve": lambda path: Preserve("start"),
    "self_distillation": lambda path: SelfDistillation(),
    "distillation": lambda path: Distillation(str(path)),
}


@pytest.fixture(scope="module")
def make_task(tmp_path_factory):
    """Any auxiliary task by name; a finished model of six classes is trained when one asks for it."""
    path = tmp_path_factory.mktemp("finished") / "model.ckpt"
    return lambda name: EVERY[name](path), path


@pytest.mark.parametrize(
    ("batches", "by_class"), [("episodes", 0), ("classes", 1), ("mixed", 0), ("mixed", 1)]
)
def test_every_task_trains_in_a_real_run_resumes_and_is_saved(
    make_module, make_data, make_trainer, make_task, tmp_path, batches, by_class
):
    """Beside each main task, on each kind of batch: a resumed run ends as one that was not interrupted."""
    make, finished = make_task
    settings = {"batches": batches, "batch_size": 12, "augmentations": {"main": Augmentation(padding=2)}}
    kinds = set(EVERY) if by_class else set(EVERY) - {"distillation"}

    def fresh(tasks=kinds):
        main = (GlobalClasses if by_class else Episodic)(PrototypicalHead())
        return make_module(None, [make(name) for name in sorted(tasks)], main=main, image_shape=None)

    def fit(module, steps, **options):
        trainer = make_trainer(max_steps=steps, num_sanity_val_steps=0, enable_checkpointing=False)
        trainer.fit(module, datamodule=make_data(**settings), **options)
        return trainer

    if by_class and not finished.exists():
        fit(fresh(kinds - {"distillation"}), 1).save_checkpoint(finished)
    straight = fresh()
    metrics = fit(straight, 6).callback_metrics
    assert {f"train/{name}_loss" for name in kinds} <= set(metrics)
    assert {f"val/{name}_loss" for name in kinds - {"classes"}} <= set(metrics)
    first = fit(fresh(), 3)
    first.save_checkpoint(tmp_path / "half.ckpt")
    resumed = fresh()
    fit(resumed, 6, ckpt_path=tmp_path / "half.ckpt", weights_only=True)
    for key, value in straight.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[key], value, rtol=0, atol=0)
    loaded = FewShotModule.load_from_checkpoint(tmp_path / "half.ckpt", weights_only=True)
    assert loaded.task_names == straight.task_names


def test_teachers_follow_optimizer_steps_not_batches(make_module, make_data, make_trainer, tmp_path):
    """With accumulated gradients, and in a resumed fit too."""
    settings = {"accumulate_grad_batches": 2, "num_sanity_val_steps": 0, "enable_checkpointing": False}
    start = None
    for steps in (3, 5):
        module = make_module(auxiliary=[SelfDistillation()], image_shape=None)
        trainer = make_trainer(max_steps=steps, **settings)
        trainer.fit(module, datamodule=make_data(), ckpt_path=start, weights_only=True)
        assert int(module.auxiliary["self_distillation"].teacher.n_averaged) == 1 + steps
        start = tmp_path / "model.ckpt"
        trainer.save_checkpoint(start)


def test_what_the_data_cannot_give_is_said_before_training(make_module, make_data, make_trainer):
    for auxiliary, words in (
        ([SimCLR()], "`simclr` compares 2 crops of an image, and the policy `main` changes nothing"),
        ([SimCLR(policy="strong")], "`policy=strong` names no augmentation of the data module"),
    ):
        with pytest.raises((ValueError, KeyError), match=words):
            make_trainer(max_steps=1).fit(make_module(None, auxiliary), datamodule=make_data())
    module = make_module(auxiliary=[Classes()], classes=["another"])
    with pytest.raises(ValueError, match="`classes` was made for 1 training classes, NoiseData has 6"):
        make_trainer(max_steps=1).fit(module, datamodule=make_data())
