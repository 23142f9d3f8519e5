"""Two gloo ranks under PSSTCallback equal one process by hand on the joined batches."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from by_hand import HandLoop
from torch.nn.utils import clip_grad_norm_
from two_ranks import ALL_CASES, CASES, N_EPOCHS, SLOW_CASES, joined_loader, module_of, run
from two_tasks import largest_difference

HERE = Path(__file__).parent
pytestmark = pytest.mark.skipif(
    not (torch.distributed.is_available() and hasattr(os, "fork")), reason="needs gloo and fork"
)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """From a group of cases to their folder, filled by forks: imports take longer than fits."""
    folders = {}

    def folder_of(cases):
        if id(cases) not in folders:
            folders[id(cases)] = path = tmp_path_factory.mktemp("ranks")
            if torch.cuda.is_available():  # a process that has used a GPU must not fork
                in_a_fresh_process(path, cases)
            else:
                for name in cases:
                    run(path, name)
        return folders[id(cases)]

    return folder_of


def in_a_fresh_process(path, cases):
    command = [sys.executable, str(HERE / "two_ranks.py"), str(path), *cases]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(params=[*CASES, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW_CASES)])
def case(request, results):
    """The case's name and what each rank has kept."""
    folder = results(CASES if request.param in CASES else SLOW_CASES)
    return request.param, [torch.load(folder / f"{request.param}.{rank}.pt") for rank in range(2)]


def test_ranks_agree_bit_for_bit(case):
    """On Gramians and so on weights; and on parameters."""
    _, (first, second) = case
    for key in ("gramians", "weights", "mean_weights", "trajectory"):
        assert torch.equal(first[key], second[key])
    assert first["reached"] == second["reached"]
    assert first["skipped"] == second["skipped"] == 0
    assert all(torch.equal(value, second["parameters"][name]) for name, value in first["parameters"].items())


def test_two_ranks_equal_one_process_on_the_joined_batches(case):
    """Where a method looks at Gramians, they are the mean over the ranks' halves here as there.

    The joined batch's own Gramian has less of the batches' noise on its diagonal; `by losses` needs none.
    """
    name, (first, _) = case
    arguments, make_method, settings = ALL_CASES[name]
    clip = settings.get("gradient_clip_val")
    loop = HandLoop(
        make_method(),
        accumulate=settings.get("accumulate_grad_batches", 1),
        ranks=1 if "by losses" in name else 2,
        window=name == "window",
        clip=lambda parameters: clip_grad_norm_(parameters, clip) if clip else None,
    )
    expected = loop.fit(module_of(name), list(joined_loader()), settings.get("max_epochs", N_EPOCHS))
    ours = module_of(name)
    start = module_of(name)
    ours.load_state_dict(first["parameters"])
    assert largest_difference(expected, ours) < 1e-5
    assert largest_difference(expected, start) > 1e-2
    assert np.allclose(first["weights"], loop.method.decided, rtol=0, atol=1e-4)
    assert np.ptp(loop.method.decided, axis=0).min() > 1e-2
    if "spare" in arguments:
        assert torch.equal(start.spare.weight, ours.spare.weight)
