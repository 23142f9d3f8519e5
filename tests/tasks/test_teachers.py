"""Preserve, SelfDistillation and Distillation: tasks with a reference of their own."""

import copy

import pytest
import torch
from torch.nn import functional as F

from psst.backbones import Conv4, Setup
from psst.fewshot import PrototypicalHead
from psst.images.view import View
from psst.tasks import Distillation, Encode, Episodic, Preserve, SelfDistillation
from tests import laws
from tests.tasks.batches import CLASSES, SIDE, built, finished_model, main_for, make_batch


@pytest.fixture
def setup():
    torch.manual_seed(0)
    return laws.setup_for(Conv4(hidden=8), (1, SIDE, SIDE), CLASSES)


def shaken(setup):
    with torch.no_grad():
        for parameter in setup.encoder.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))


def test_preserve_measures_the_angle_to_the_features_of_the_start(setup):
    before = copy.deepcopy(setup.encoder).eval()
    task, batch = built(Preserve("start"), setup), make_batch()
    shaken(setup)
    task.start(setup)  # once only: a resumed fit keeps what it began with
    features = Encode(setup.encoder, (0, "train", 7))(batch)
    expected = (1 - F.cosine_similarity(features, before(batch.images()), dim=1)).mean()
    torch.testing.assert_close(laws.loss_of(task, setup, batch), expected)


def test_preserve_begins_at_its_minimum_on_an_adapter():
    setup = laws.setup_for(laws.Adapter(), (1, SIDE, SIDE), CLASSES)
    torch.nn.init.zeros_(setup.encoder.backbone.layer.weight)
    torch.nn.init.zeros_(setup.encoder.backbone.layer.bias)
    assert float(laws.loss_of(built(Preserve(), setup), setup, make_batch())) < 1e-6


def test_preserve_refuses_a_backbone_without_a_frozen_part(setup):
    with pytest.raises(TypeError, match="Conv4 has none; write `reference: start`"):
        Preserve().build(setup)
    for options, words in (({"reference": "teacher"}, "`reference=teacher`"), ({"crop": -1}, "`crop=-1`")):
        with pytest.raises(ValueError, match=words):
            Preserve(**options)


def test_the_teacher_is_the_moving_average_of_the_encoder(setup):
    task = built(SelfDistillation(decay=0.9), setup)
    name, parameter = next(iter(setup.encoder.named_parameters()))
    average = parameter.detach().clone()
    for _ in range(3):
        shaken(setup)
        task.after_step(setup)
        average = 0.9 * average + 0.1 * parameter.detach()
    torch.testing.assert_close(dict(task.teacher.module.named_parameters())[name], average)
    for mine, its in zip(setup.encoder.buffers(), task.teacher.module.buffers(), strict=True):
        assert torch.equal(mine, its)
    resumed = built(SelfDistillation(decay=0.9), setup, start=False)
    resumed.load_state_dict(task.state_dict())
    resumed.start(setup)
    torch.testing.assert_close(dict(resumed.teacher.module.named_parameters())[name], average)


def test_self_distillation_predicts_the_teachers_other_crop(setup):
    task, batch = built(SelfDistillation(), setup), make_batch()
    shaken(setup)
    target = copy.deepcopy(task.teacher.module).eval()(batch.images(View(crop=1)))
    found = task.predictor(Encode(setup.encoder, (0, "train", 7))(batch))
    expected = (1 - F.cosine_similarity(found, target, dim=1)).mean()
    torch.testing.assert_close(laws.loss_of(task, setup, batch), expected)
    assert not any(parameter.requires_grad for parameter in task.teacher.parameters())
    with pytest.raises(ValueError, match="`decay=1`"):
        SelfDistillation(decay=1)


def test_distillation_is_the_softened_divergence_and_zero_from_itself(setup, tmp_path):
    teacher = finished_model(tmp_path / "model.ckpt").eval()
    main = main_for(setup, by_class=True)
    setup = Setup(setup.encoder, setup.classes, main)
    task, batch = built(Distillation(str(tmp_path / "model.ckpt"), temperature=2.0), setup), make_batch()
    mine = main.logits(setup.encoder.eval()(batch.images())) / 2
    with torch.no_grad():
        wanted = (teacher.main.logits(teacher.encoder(batch.images())) / 2).softmax(1)
    expected = 4 * (wanted * (wanted.log() - mine.log_softmax(1))).sum(1).mean()
    torch.testing.assert_close(laws.loss_of(task, setup, batch, [main]), expected)
    setup.encoder.load_state_dict(teacher.encoder.state_dict())
    main.load_state_dict(teacher.main.state_dict())
    assert abs(float(laws.loss_of(task, setup, batch, [main]))) < 1e-6


def test_distillation_refuses_models_that_do_not_fit(setup, tmp_path):
    path = tmp_path / "model.ckpt"
    finished_model(path)
    with pytest.raises(TypeError, match="the main task Episodic does not have"):
        Distillation(str(path)).build(Setup(setup.encoder, CLASSES, Episodic(PrototypicalHead())))
    fewer = laws.setup_for(Conv4(hidden=8), (1, SIDE, SIDE), CLASSES[:3])
    fewer = Setup(fewer.encoder, fewer.classes, main_for(fewer, by_class=True))
    with pytest.raises(ValueError, match="must classify the 3 training classes, it knows 4"):
        built(Distillation(str(path)), fewer)
    with pytest.raises(FileNotFoundError, match="name a checkpoint"):
        built(Distillation(str(tmp_path / "none.ckpt")), fewer)
    with pytest.raises(ValueError, match="`temperature=0`"):
        Distillation(str(path), temperature=0)
