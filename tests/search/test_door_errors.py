"""What cannot work is refused before anything is trained or written."""

import pytest
import torch
from torch import nn

from psst.search import SearchSettings, search
from tests.search.tasks import Columns, Heads


def refused(tmp_path, error, match, module=Heads, data=None, **changes):
    arguments = {"max_steps": 20, "monitor": "val/error", "trainer": {"accelerator": "cpu"}, **changes}
    output = tmp_path / "out"
    with pytest.raises(error, match=match):
        search(module, data or Columns(), output=output, **arguments)
    assert not output.exists()


class NoLosses(Heads):
    def training_step(self, batch, batch_idx):
        return sum(self.losses(batch).values())


class Sealed(Heads):
    """Keeps an object among its hyperparameters."""

    def __init__(self, activation):
        super().__init__()
        self.save_hyperparameters({"activation": activation})


class Own(Heads):
    """Draws parameters from a generator of its own."""

    stream = torch.Generator().manual_seed(0)

    def __init__(self):
        super().__init__()
        with torch.no_grad():
            self.trunk[0].weight.copy_(torch.randn(8, 6, generator=self.stream))


class Negative(Heads):
    def validation_step(self, batch, batch_idx):
        self.log_dict({"val/error": 0.0, "val/main_loss": -1.0, "val/other_loss": 1.0})


def sharing():
    trunk = nn.Linear(6, 8)

    def make():
        module = Heads()
        module.trunk[0] = trunk
        return module

    return make


def test_a_factory_that_gives_the_same_module_twice(tmp_path):
    module = Heads()
    refused(tmp_path, ValueError, "the same object twice", lambda: module)


def test_a_factory_whose_modules_share_a_layer(tmp_path):
    refused(tmp_path, ValueError, r"share `trunk\.0\.weight`", sharing())


def test_a_factory_that_the_seed_does_not_reach(tmp_path):
    refused(tmp_path, ValueError, r"differ in `trunk\.0\.weight`", Own)


def test_a_factory_of_something_else(tmp_path):
    refused(tmp_path, TypeError, "`module_factory` gave a Linear", lambda: nn.Linear(1, 1))


def test_data_of_something_else(tmp_path):
    refused(tmp_path, TypeError, "`datamodule` gave a list", data=list)


def test_no_named_losses(tmp_path):
    refused(tmp_path, TypeError, "`losses`, which `training_step` of NoLosses lacks", NoLosses)


def test_one_loss_only(tmp_path):
    refused(tmp_path, ValueError, r"\['main'\].*at least two", lambda: Heads(("main",)))


def test_a_loss_whose_name_is_no_folders(tmp_path):
    class Slashed(Heads):
        def training_step(self, batch, batch_idx):
            losses = self.losses(batch)
            return {"loss": losses["main"], "losses": {"main": losses["main"], "a/b": losses["other"]}}

    refused(tmp_path, ValueError, r"`losses\['a/b'\]`", Slashed)


def test_an_unknown_monitor_names_the_known_ones(tmp_path):
    refused(tmp_path, ValueError, "`monitor='val/acc'` is not logged.*`val/error`", monitor="val/acc")


def test_a_negative_validation_loss(tmp_path):
    refused(tmp_path, ValueError, r"`val/main_loss` is -1\.0", Negative)


def test_too_few_steps(tmp_path):
    refused(tmp_path, ValueError, "`max_steps=2` is too short", max_steps=2)
    refused(tmp_path, TypeError, r"`max_steps=2\.5`", max_steps=2.5)


def test_hyperparameters_that_a_checkpoint_cannot_give_back(tmp_path):
    refused(tmp_path, TypeError, r"save_hyperparameters\(ignore=", lambda: Sealed(nn.ReLU()))


@pytest.mark.parametrize(
    ("argument", "error", "match"),
    [
        ({"max_epochs": 3}, ValueError, "`max_steps` sets the length"),
        ({"logger": False}, ValueError, "own folder"),
        ({"precison": 16}, TypeError, "no argument of the Trainer"),
        ({"devices": 2}, ValueError, "2 processes"),
    ],
)
def test_trainer_arguments_that_the_search_cannot_take(tmp_path, argument, error, match):
    refused(tmp_path, error, match, trainer={"accelerator": "cpu", **argument})


def test_a_method_without_rays_is_refused_before_the_anchors_are_trained(tmp_path):
    settings = SearchSettings(method="psst.pareto.FixedWeights")
    refused(tmp_path, TypeError, "`init_args` of psst.pareto.FixedWeights do not fit", settings=settings)


def test_a_callback_that_ends_a_unit_early_is_named(tmp_path):
    from pytorch_lightning.callbacks import Callback

    class Hasty(Callback):
        def on_train_batch_end(self, trainer, *_):
            trainer.should_stop = trainer.global_step >= 3

    with pytest.raises(ValueError, match="unit `warm` ended at step 3 instead of 12"):
        search(
            Heads,
            Columns(),
            max_steps=20,
            monitor="val/error",
            output=tmp_path,
            trainer={"accelerator": "cpu", "callbacks": [Hasty()]},
        )
