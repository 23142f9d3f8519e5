"""The official one-shot runs, in a small archive of their format made here."""

import shutil
import zipfile

import numpy as np
import pytest
import torch

from psst.commands.data import prepare
from psst.datamodules import Omniglot
from psst.datamodules.omniglot import _MINIMAL
from psst.evaluation.one_shot_runs import read_one_shot_runs
from tests.datamodules.drawings import folder
from tests.evaluation.runs import answer, write_runs


@pytest.fixture(scope="module")
def all_runs(tmp_path_factory):
    return write_runs(tmp_path_factory.mktemp("runs") / "all_runs.zip")


@pytest.fixture
def extracted(all_runs, tmp_path):
    shutil.unpack_archive(all_runs, tmp_path / "all_runs")
    return tmp_path / "all_runs"


def test_a_run_is_an_episode_of_twenty_ways(all_runs):
    runs = read_one_shot_runs(all_runs)
    assert len(runs) == 20
    for run in runs:
        assert run.images.shape == (40, 1, 28, 28)
        assert run.images.dtype == torch.uint8


def test_answers_are_those_of_the_list(all_runs):
    """A query of these runs is drawn as its class is."""
    for number, run in enumerate(read_one_shot_runs(all_runs), start=1):
        assert run.answers.tolist() == [answer(number, item) - 1 for item in range(1, 21)]
        assert torch.equal(run.images[20:], run.images[run.answers])


@pytest.mark.parametrize("size", [28, 105])
def test_images_are_made_as_those_of_the_store(all_runs, tmp_path, size):
    """A drawing of the first run is put among the training drawings."""
    folder(tmp_path, dict.fromkeys(sum(_MINIMAL.values(), ()), 1), "drawings")
    with zipfile.ZipFile(all_runs) as file:
        data = file.read("run01/training/class01.png")
    (tmp_path / "drawings/Balinese/character01/0000_01.png").write_bytes(data)
    store = prepare(Omniglot(str(tmp_path), size=size, cache_dir=str(tmp_path / "cache")))
    stored = torch.from_numpy(np.array(store.images[0])).movedim(-1, 0)
    assert torch.equal(read_one_shot_runs(all_runs, size)[0].images[0], stored)


def test_color_models_get_the_same_values_three_times(all_runs):
    color, gray = (read_one_shot_runs(all_runs, size=16, channels=channels)[4].images for channels in (3, 1))
    assert color.shape == (40, 3, 16, 16)
    assert torch.equal(color, gray.expand_as(color))


def test_archive_its_folder_and_extracted_folders_give_the_same_runs(all_runs, extracted):
    expected = read_one_shot_runs(all_runs, size=8)
    for path in (all_runs.parent, extracted):
        for run, other in zip(expected, read_one_shot_runs(path, size=8), strict=True):
            assert torch.equal(run.images, other.images)
            assert torch.equal(run.answers, other.answers)


@pytest.mark.parametrize(
    "name", ["run07/class_labels.txt", "run07/test/item20.png", "run07/training/class01.png"]
)
def test_a_missing_file_is_named(extracted, name):
    (extracted / name).unlink()
    with pytest.raises(
        FileNotFoundError, match=f"the one-shot runs lack {name}; 819 of .* brendenlake/omniglot"
    ):
        read_one_shot_runs(extracted)


def test_a_path_without_runs_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere` does not exist; get all_runs.zip"):
        read_one_shot_runs(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"` holds no one-shot runs; get all_runs.zip"):
        read_one_shot_runs(tmp_path)


@pytest.mark.parametrize(
    "lines",
    [
        "",
        "run03/test/item01.png\n",
        "\n".join(f"run03/test/item{k:02}.png run03/training/class01.png" for k in range(1, 21)),
        "\n".join(f"run03/test/item{k:02}.png run04/training/class{k:02}.png" for k in range(1, 21)),
        "\n".join(["run03/test/item01.png run03/training/class01.png"] * 20),
        "\x00\xff\n" * 20,
    ],
)
def test_a_wrong_list_of_answers_is_refused(extracted, lines):
    (extracted / "run03/class_labels.txt").write_bytes(lines.encode("latin1"))
    with pytest.raises(ValueError, match=r"run03/class_labels.txt` must give each of run03/test/item01.png"):
        read_one_shot_runs(extracted)


def test_a_damaged_drawing_is_named(extracted):
    path = extracted / "run20/test/item05.png"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ValueError, match=r"run20/test/item05.png` .* cannot be decoded"):
        read_one_shot_runs(extracted)


def test_a_truncated_archive_is_named(all_runs, tmp_path):
    path = tmp_path / "all_runs.zip"
    path.write_bytes(all_runs.read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"all_runs.zip` cannot be read as a zip archive"):
        read_one_shot_runs(path)
