import numpy as np
import pytest
import torch
from test_image_store import Noise

from psst.images import build_store
from psst.images.resident import ResidentImages, resident_images

CUDA = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))


@pytest.fixture
def store(tmp_path):
    return build_store(Noise(), 5, tmp_path)


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (1, 2, 5)])
def test_resident_images_are_those_of_the_store(store, device, shape):
    ids = np.random.default_rng(0).integers(0, len(store), shape)
    read = ResidentImages(store, device).read(torch.tensor(ids))
    assert read.device.type == device
    assert read.is_contiguous()
    assert read.dtype == torch.uint8
    np.testing.assert_array_equal(read.cpu().numpy(), store.read(ids))


def test_copies_larger_than_a_chunk_are_whole(store, monkeypatch):
    monkeypatch.setattr(
        "psst.images.resident._CHUNK", 5 * 5 * 3 * 5
    )  # five images, so that the last chunk is short
    np.testing.assert_array_equal(
        ResidentImages(store, "cpu").images.numpy(), store.read(np.arange(len(store)))
    )


def test_reading_does_not_lend_the_images(store):
    resident = ResidentImages(store, "cpu")
    resident.read(torch.tensor([3])).zero_()
    np.testing.assert_array_equal(resident.images.numpy(), store.read(np.arange(len(store))))


def test_missing_image_is_an_error(store):
    with pytest.raises(IndexError):
        ResidentImages(store, "cpu").read(torch.tensor([len(store)]))


def test_images_stay_in_the_shared_map_on_a_cpu(store):
    assert resident_images(store, "cpu") is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_images_move_to_a_gpu_where_they_fit(store):
    found = resident_images(store, "cuda")
    assert found is not None
    assert found.device.type == "cuda"
    assert resident_images(store, "cuda", budget_fraction=1e-12) is None


@pytest.mark.parametrize("share", [0.0, -1.0, 1.5])
def test_budget_out_of_range_is_refused(store, share):
    with pytest.raises(ValueError, match=rf"`budget_fraction={share}` must be in \(0, 1\]"):
        resident_images(store, "cpu", share)
