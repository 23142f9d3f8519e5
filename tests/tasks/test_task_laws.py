"""Every task keeps the laws of its kind; one without a case here fails."""

import pytest
import torch

import psst.tasks
from psst.backbones import Conv4, ResNet12
from psst.fewshot import PrototypicalHead
from psst.tasks import (
    Classes,
    Distillation,
    Episodic,
    GlobalClasses,
    MainTask,
    PatchLocation,
    Preserve,
    Rotation,
    SelfDistillation,
    SimCLR,
    SupervisedContrastive,
    Task,
)
from tests import laws
from tests.tasks.batches import CLASSES, SIDE, built, finished_model, main_for, make_batch

TASKS = {
    Episodic: lambda path: Episodic(PrototypicalHead(), name="episodes"),
    GlobalClasses: lambda path: GlobalClasses(PrototypicalHead()),
    Rotation: lambda path: Rotation(),
    Classes: lambda path: Classes(),
    SimCLR: lambda path: SimCLR(),
    SupervisedContrastive: lambda path: SupervisedContrastive(),
    PatchLocation: lambda path: PatchLocation(),
    Preserve: lambda path: Preserve("start", crop=1),
    SelfDistillation: lambda path: SelfDistillation(),
    Distillation: lambda path: Distillation(str(path)),
}
FORMS = {"rotation of all turns": lambda path: Rotation("all"), "maps": lambda path: PatchLocation("maps")}
BACKBONES = {"Conv4": lambda: Conv4(hidden=8), "ResNet12": lambda: ResNet12((4, 4, 8, 8), drop_rate=0.3)}


def test_every_task_joins_the_laws():
    laws.assert_all_join(psst.tasks, Task, {*TASKS, MainTask})


def test_a_task_without_a_case_fails():
    with pytest.raises(AssertionError, match="join no law"):
        laws.assert_all_join(psst.tasks, Task, {MainTask})


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("finished") / "model.ckpt"
    finished_model(path)
    return path


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("make", [*TASKS.values(), *FORMS.values()], ids=[*map(str, TASKS), *FORMS])
def test_a_loss_depends_on_batch_and_draws_only(make, backbone, checkpoint):
    setup = laws.setup_for(BACKBONES[backbone](), (1, SIDE, SIDE), CLASSES)
    main = main_for(setup, by_class=True)
    setup = psst.tasks.task.Setup(setup.encoder, setup.classes, main)
    task = make(checkpoint)
    others = [built(one, setup) for one in (Rotation("all"), SimCLR(), Classes()) if one.name != task.name]
    task = main if task.name == main.name else built(task, setup)
    with torch.no_grad():  # a model that is still at its start may be at the minimum of a loss
        for parameter in setup.encoder.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    if task is main:
        first = laws.loss_of(main, setup, make_batch())
        assert torch.equal(first, laws.loss_of(main, setup, make_batch()))
    else:
        laws.assert_loss_depends_on_batch_and_draws_only(
            task, setup, make_batch(), main, others, with_maps=task.maps
        )
    loss = laws.loss_of(task, setup, make_batch(), [main] if task is not main else [], task.maps)
    own = [parameter for parameter in task.parameters() if parameter.requires_grad]
    laws.assert_gradient_reaches(loss, [*setup.encoder.backbone.parameters(), *own])
