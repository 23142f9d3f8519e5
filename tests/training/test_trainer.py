"""The trainer chooses the precision, where it is asked to."""

import pytest
import torch

from psst.process import has_fast_bf16
from psst.training.experiment import AutoTrainer, Experiment

WORDS = ["--config", "quickstart", "--trainer.accelerator=cpu", "--trainer.logger=false"]


def test_auto_is_what_the_processor_is_fast_at():
    chosen = Experiment([*WORDS, "--trainer.precision=auto"], dict).trainer().precision
    assert chosen == ("bf16-mixed" if has_fast_bf16("cpu") else "32-true")


@pytest.mark.parametrize("precision", [None, "32-true", "bf16-mixed", 64])
def test_anything_else_is_lightnings(precision):
    assert AutoTrainer(precision=precision, accelerator="cpu", logger=False).precision in (
        {None: "32-true", 64: "64-true"}.get(precision, precision),
    )


def test_the_parameters_stay_in_float32(tmp_path, make_module, make_data):
    module, quiet = make_module(), {"enable_progress_bar": False, "enable_model_summary": False}
    settings = {"accelerator": "cpu", "logger": False, "max_steps": 2, "limit_val_batches": 0, **quiet}
    AutoTrainer(precision="bf16-mixed", default_root_dir=tmp_path, **settings).fit(module, make_data())
    assert {parameter.dtype for parameter in module.parameters()} == {torch.float32}
