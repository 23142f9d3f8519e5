"""SIGKILL in the middle of `FewShotClassifier.save` leaves no half of a classifier; the next save works."""

import multiprocessing
import os
import signal
import time

import numpy as np
import pytest

from psst.deploy import FewShotClassifier
from tests.deploy.pictures import exported

N_EXAMPLES, N_FEATURES = 30_000, 64  # random, so that compressing them takes a while


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(N_EXAMPLES, N_FEATURES)).astype(np.float32)
    made = FewShotClassifier(exported(tmp_path_factory.mktemp("killed")), temperature=1.0)
    return made.fit_features(features, np.where(np.arange(N_EXAMPLES) % 2, "cup", "jug"))


def wait_for(found, seconds=60):
    end = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end
        time.sleep(0.002)


@pytest.mark.parametrize("there", ["nothing", "an empty folder"])
def test_a_killed_save_leaves_no_classifier(classifier, tmp_path, there):
    folder = tmp_path / "saved"
    if there != "nothing":
        folder.mkdir()
    process = multiprocessing.get_context("fork").Process(target=classifier.save, args=(folder,))
    process.start()
    wait_for(lambda: list(tmp_path.rglob("model.safetensors")))  # the examples are next
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert list(folder.glob("*")) == []
    again = FewShotClassifier.from_pretrained(classifier.save(folder))
    assert again.n_examples_ == N_EXAMPLES
    assert (again.labels_ == classifier.labels_).all()
