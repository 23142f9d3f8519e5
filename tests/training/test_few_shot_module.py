import dataclasses

import pytest
import torch

from psst.backbones import Conv4, ResNet12
from psst.episodes import Episodes, Policies
from psst.fewshot import PrototypicalHead
from psst.images.augment import Augmentation
from psst.images.view import View
from psst.tasks import Episodic, Rotation
from psst.training import FewShotModule


def ready(data):
    """A datamodule for use outside a trainer."""
    data.prepare_data()
    data.setup()
    return data


def test_step_returns_the_sum_and_the_named_losses(make_module, data):
    module = make_module()
    output = module.training_step(data.train_batch(0), 0)
    assert module.task_names == ["main", "rotation"] == list(output["losses"])
    torch.testing.assert_close(output["loss"], output["losses"]["main"] + output["losses"]["rotation"])


def test_tasks_that_do_not_work_have_no_loss_and_cost_nothing(make_module, data):
    module, batch = make_module(), data.train_batch(0)
    whole = module.task_losses(batch)
    for working in ((), ("rotation",), None):
        module.working = working
        losses = module.training_step(batch, 0)["losses"]
        assert module.task_names == list(losses)
        assert list(losses) == ["main", *(("rotation",) if working is None else working)]
        assert all(torch.equal(loss, whole[name]) for name, loss in losses.items())


@pytest.mark.parametrize(
    ("active", "words"),
    [
        ({"main": (0, 5)}, r"auxiliary tasks, of which there are \['rotation'\], found `main`"),
        ({"rotations": (0, 5)}, "found `rotations`"),
        ({"rotation": (5, 5)}, r"`active: {rotation: \[5, 5\]}` must be the first step"),
        ({"rotation": (-1, None)}, r"\[-1, None\]"),
        ({"rotation": (0,)}, r"\[0\]"),
    ],
)
def test_spans_that_name_no_task_or_no_steps_are_refused(make_module, active, words):
    with pytest.raises(ValueError, match=words):
        make_module(active=active)


@pytest.mark.parametrize("backbone", [Conv4(hidden=4), ResNet12(widths=(4, 4, 4, 4), drop_rate=0.3)])
def test_same_seed_and_episode_give_the_same_losses(make_module, make_data, backbone):
    """Whatever was drawn from the global generator before; dropout and augmentation included."""
    module = make_module(backbone)
    episode = ready(make_data(augmentations={"main": Augmentation(padding=2, flip=True)})).train_batch(3)
    first = module.task_losses(episode)
    torch.rand(7)
    before = torch.get_rng_state()
    second = module.task_losses(episode)
    assert torch.equal(before, torch.get_rng_state())  # the step leaves no trace in it
    other = module.task_losses(dataclasses.replace(episode, index=episode.index + 1))
    for name in module.task_names:
        assert torch.equal(first[name], second[name])
    assert not torch.equal(first["rotation"], other["rotation"])


def test_an_auxiliary_task_does_not_change_the_main_loss(make_module, data):
    backbone = {"class_path": "psst.backbones.ResNet12", "init_args": {"widths": [4, 4, 4, 4]}}
    episode = data.train_batch(0)
    alone = make_module(backbone, []).task_losses(episode)
    assert torch.equal(alone["main"], make_module(backbone).task_losses(episode)["main"])


def test_graphs_are_disjoint(make_module, data):
    """The main loss reaches no parameter of the rotation head, and the two share no node but parameters."""
    module = make_module()
    losses = module.task_losses(data.train_batch(0))
    head = list(module.auxiliary.parameters())
    assert torch.autograd.grad(losses["main"], head, allow_unused=True, retain_graph=True) == (None, None)

    def nodes(loss):
        stack, seen = [loss.grad_fn], set()
        while stack:
            node = stack.pop()
            if node is not None and node not in seen and "AccumulateGrad" not in node.name():
                seen.add(node)
                stack += [parent for parent, _ in node.next_functions]
        return seen

    assert not nodes(losses["main"]) & nodes(losses["rotation"])


def test_running_statistics_belong_to_the_main_task_by_default(make_module, data):
    episode = data.train_batch(0)
    buffers = {}
    for key, auxiliary, batch_stats in (
        ("plain", [], "main"),
        ("main", None, "main"),
        ("shared", None, "shared"),
    ):
        module = make_module(auxiliary=auxiliary, batch_stats=batch_stats)
        module.task_losses(episode)
        buffers[key] = [buffer.clone() for buffer in module.encoder.backbone.buffers()]
    assert all(map(torch.equal, buffers["plain"], buffers["main"]))
    assert not all(map(torch.equal, buffers["plain"], buffers["shared"]))


def test_a_query_is_embedded_for_itself(make_module, data):
    """In evaluation no image's features depend on the others of its batch."""
    module = make_module()
    module.task_losses(data.train_batch(0))
    images = data.train_batch(1).pixels
    together = module.embed(images)
    torch.testing.assert_close(together, torch.cat([module.embed(image[None]) for image in images]))
    assert module.training
    assert not together.requires_grad


def test_uint8_and_unit_interval_images_are_the_same(make_module, data):
    module = make_module()
    images = data.train_batch(1).pixels
    torch.testing.assert_close(module.embed(images), module.embed(images.float() / 255))


def test_images_are_normalized_by_the_datamodules_statistics(make_module, data):
    module = make_module(image_shape=None)
    module.attach(data)
    torch.testing.assert_close(module.encoder.mean, torch.tensor(data.mean))
    torch.testing.assert_close(module.encoder.std, torch.tensor(data.std))


def test_a_channel_that_never_changes_does_no_harm(make_module, data):
    class Flat(type(data)):
        std = (0.0,)

    data.__class__ = Flat
    module = make_module(image_shape=None)
    module.attach(data)
    assert all(torch.isfinite(loss) for loss in module.task_losses(data.train_batch(0)).values())


def test_loaded_parameters_keep_their_own_statistics(make_module, data):
    source, module = make_module(), make_module()
    module.load_state_dict(source.state_dict())
    module.attach(data)
    assert module.encoder.mean.tolist() == source.encoder.mean.tolist()


@pytest.mark.parametrize("task", ["main", "rotation"])
def test_a_loss_that_is_not_finite_stops_at_that_step_and_names_the_task(make_module, data, task):
    module = make_module()
    if task == "rotation":
        with torch.no_grad():
            module.auxiliary["rotation"].classifier.bias.fill_(float("nan"))
        episode = data.train_batch(0)
    else:
        episode = data.train_batch(0)
        pixels = episode.pixels.float() / 255
        pixels[-1, 0, 0, 0] = float("nan")
        episode = dataclasses.replace(episode, pixels=pixels)
    with pytest.raises(ValueError, match=rf"the loss of task `{task}` is nan at step 0"):
        module.training_step(episode, 0)


def test_several_episodes_a_batch(make_module, make_data):
    """In evaluation mode, where images do not mix, the loss is the mean over the episodes'."""
    module = make_module(auxiliary=[]).eval()
    single, double = (ready(make_data(episodes=Episodes(way=3, query=2, per_batch=size))) for size in (1, 2))
    both = module.task_losses(double.train_batch(1))["main"]
    parts = [module.task_losses(single.train_batch(index))["main"] for index in (2, 3)]
    torch.testing.assert_close(both, sum(parts) / 2)


def test_renewed_statistics_follow_the_parameters(make_module, data):
    module = make_module()
    module.renew_batch_statistics([data.train_batch(i) for i in range(3)])
    images = torch.cat([data.train_batch(i).images() for i in range(3)])
    norm = module.encoder.backbone.blocks[0].norm
    convolved = module.encoder.backbone.blocks[0].conv(module.encoder.normalized(images))
    torch.testing.assert_close(norm.running_mean, convolved.mean(dim=(0, 2, 3)), rtol=0.2, atol=0.1)
    assert module.encoder.backbone.training


def test_wrong_parts_are_refused():
    with pytest.raises(TypeError, match="`backbone` must be a Backbone or its description, found Linear"):
        FewShotModule(torch.nn.Linear(1, 1), Episodic(PrototypicalHead()))
    with pytest.raises(ValueError, match=r"\['main', 'rotation', 'rotation'\]"):
        FewShotModule(Conv4(), Episodic(PrototypicalHead()), [Rotation(), Rotation("all")])
    with pytest.raises(ValueError, match="`batch_stats=own`"):
        FewShotModule(Conv4(), Episodic(PrototypicalHead()), batch_stats="own")
    with pytest.raises(TypeError, match=r"batches of psst.episodes.Batch, found dict"):
        FewShotModule(Conv4(), Episodic(PrototypicalHead()), image_shape=(1, 16, 16)).training_step({}, 0)


def test_unlabeled_images_reach_the_auxiliary_tasks_alone(make_module, data):
    """Augmentation and dropout of the main task draw what they drew without them."""
    backbone = {"class_path": "psst.backbones.ResNet12", "init_args": {"widths": [4] * 4, "drop_rate": 0.3}}
    policies = Policies({"main": Augmentation(padding=2, flip=True)})
    episode = dataclasses.replace(data.train_batch(0), policies=policies)
    pixels = torch.cat([episode.pixels, data.train_batch(1).pixels])
    labels = torch.cat([episode.labels, torch.full_like(episode.labels, -1)])
    more = dataclasses.replace(
        episode, ids=torch.arange(len(pixels)), labels=labels, pixels=pixels, n_unlabeled=len(episode)
    )
    losses = [make_module(backbone).task_losses(batch) for batch in (episode, more)]
    assert torch.equal(losses[0]["main"], losses[1]["main"])
    assert not torch.equal(losses[0]["rotation"], losses[1]["rotation"])
    assert torch.equal(more.images(View(crop=0))[: len(episode)], episode.images())


@pytest.mark.parametrize(
    "settings",
    [
        {"episodes": Episodes(way=(2, 4), shot=(1, 3), query=2, per_batch=3)},
        {"episodes": Episodes(way=3, shot=2, query=2, balance=0.5)},
    ],
)
def test_any_shape_of_episodes_trains(make_module, make_data, settings):
    data = ready(make_data(**settings))
    module = make_module()
    for index in range(4):
        losses = module.task_losses(data.train_batch(index))
        sum(losses.values()).backward()
        assert all(torch.isfinite(loss) for loss in losses.values())
