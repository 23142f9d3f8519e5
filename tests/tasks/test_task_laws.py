"""Every task keeps the laws of its kind; one without a case here fails."""

import pytest
import torch

import psst.tasks
from psst.backbones import Conv4, ResNet12
from psst.fewshot import PrototypicalHead
from psst.tasks import (
    Classes,
    Distillation,
    Episodes,
    Episodic,
    FeatureReconstruction,
    GlobalClasses,
    Jigsaw,
    MainTask,
    ManifoldMixup,
    PatchLocation,
    Preserve,
    RotatedClasses,
    Rotation,
    SelfDistillation,
    SimCLR,
    SupervisedContrastive,
    Task,
)
from tests import laws
from tests.tasks.batches import CLASSES, SIDE, built, finished_model, main_for, make_batch

TASKS = {
    Episodic: lambda path: Episodic(PrototypicalHead()),
    Episodes: lambda path: Episodes(PrototypicalHead()),
    GlobalClasses: lambda path: GlobalClasses(PrototypicalHead()),
    Rotation: lambda path: Rotation(),
    Classes: lambda path: Classes(),
    SimCLR: lambda path: SimCLR(),
    SupervisedContrastive: lambda path: SupervisedContrastive(),
    PatchLocation: lambda path: PatchLocation(),
    Preserve: lambda path: Preserve("start", crop=1),
    SelfDistillation: lambda path: SelfDistillation(),
    Distillation: lambda path: Distillation(str(path)),
    FeatureReconstruction: lambda path: FeatureReconstruction(),
    Jigsaw: lambda path: Jigsaw(),
    ManifoldMixup: lambda path: ManifoldMixup(),
    RotatedClasses: lambda path: RotatedClasses(),
}
FORMS = {
    "rotation of all turns": lambda path: Rotation("all"),
    "rotation of a quarter": lambda path: Rotation("quarter"),
    "rotated classes of all turns": lambda path: RotatedClasses("all"),
    "maps": lambda path: PatchLocation("maps"),
    "jigsaw of maps": lambda path: Jigsaw("maps"),
    "mixed inputs": lambda path: ManifoldMixup(stages=[0]),
    "mixed maps": lambda path: ManifoldMixup(stages=[3]),
}
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
    task = make(checkpoint)
    network = laws.Adapter() if isinstance(task, FeatureReconstruction) else BACKBONES[backbone]()
    setup = laws.setup_for(network, (1, SIDE, SIDE), CLASSES)
    main = main_for(setup, by_class=not isinstance(task, Episodic))
    setup = psst.tasks.task.Setup(setup.encoder, setup.classes, main)
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
