"""Before torch is imported: one thread. On a busy machine two threads wait for each other, over and over."""

import logging
import os

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def _lightning_speaks():
    """A search that was run in this process has silenced it for good."""
    logging.getLogger("pytorch_lightning").setLevel(logging.INFO)
