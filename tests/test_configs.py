"""Every shipped run works: its first line is run, on archives in the real formats, made here."""

import csv
import io
import shlex
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from psst.cli import main
from psst.configs import find, shipped

SMALL1 = ("Balinese", "Early_Aramaic", "Greek", "Korean", "Latin")
SMALL2 = ("Japanese_(katakana)", "Sanskrit", "Tagalog")
TINY = [
    *("--trainer.max_steps", "10", "--trainer.enable_progress_bar", "false", "--trainer.accelerator", "cpu"),
    *("--data.init_args.episodes.way", "3", "--data.init_args.episodes.query", "2"),
    *("--data.init_args.evaluation.way", "3", "--data.init_args.evaluation.query", "2"),
    *("--data.init_args.evaluation.val_episodes", "20", "--data.init_args.evaluation.test_episodes", "20"),
]
OWN = {  # what makes a run of each name small
    "mini_imagenet_conv4": [
        "--model.init_args.backbone.init_args.hidden",
        "8",
        "--data.init_args.size",
        "32",
    ],
    "omniglot_minimal_conv4": ["--model.init_args.backbone.init_args.hidden", "8"],
    "quickstart": ["--model.init_args.backbone.init_args.hidden", "8"],
    "own_network": ["--model.init_args.backbone.init_args.hidden", "8", "--data.init_args.batch_size", "24"],
    "pretrained_adapter": [
        *("--model.init_args.backbone.init_args.input_size", "32", "--data.init_args.size", "32"),
        *("--data.init_args.batch_size", "24"),
    ],
}
TINY_SEARCH = [
    *("--search.course", "grid", "--search.rivals", "[plain]", "--search.renewal_batches", "2"),
]


def encoded(shape: tuple[int, ...], kind: str, rng: np.random.Generator) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def write_omniglot(root: Path) -> None:
    rng = np.random.default_rng(0)
    for number, alphabets in enumerate((SMALL1, SMALL2), start=1):
        name = f"images_background_small{number}"
        with zipfile.ZipFile(root / f"{name}.zip", "w") as archive:
            for alphabet in alphabets:
                for character in range(1, 4):
                    for drawing in range(1, 6):
                        path = f"{name}/{alphabet}/character{character:02}/0001_{drawing:02}.png"
                        archive.writestr(path, encoded((12, 12), "PNG", rng))


def write_mini_imagenet(root: Path) -> None:
    rng = np.random.default_rng(0)
    for s, split in enumerate(("train", "val", "test")):
        rows = [(f"n{s}{c}{i:08}.jpg", f"n{s}{c}") for c in range(4) for i in range(5)]
        with tarfile.open(root / f"{split}-00.tar", "w") as archive:
            for filename, _ in rows:
                content = encoded((40, 40, 3), "JPEG", rng)
                member = tarfile.TarInfo(f"images/{filename}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        with (root / f"{split}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("filename", "label"), *rows])


def write_photos(root: Path) -> None:
    rng = np.random.default_rng(0)
    for kind in range(20):
        (root / f"kind{kind}").mkdir()
        for photo in range(4):
            (root / f"kind{kind}/{photo}.jpg").write_bytes(encoded((40, 40, 3), "JPEG", rng))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working folder with both archives where the first lines say they are."""
    folder = tmp_path_factory.mktemp("configs")
    for name, write in (("omniglot", write_omniglot), ("mini_imagenet", write_mini_imagenet)):
        (folder / "data" / name).mkdir(parents=True)
        write(folder / "data" / name)
    (folder / "photos").mkdir()
    write_photos(folder / "photos")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


def first_line(name: str) -> list[str]:
    line = shipped()[name].read_text(encoding="utf-8").splitlines()[0]
    assert line.startswith("# psst ")
    return shlex.split(line.removeprefix("# psst "))


@pytest.mark.parametrize("name", shipped())
def test_the_first_line_of_each_config_runs(name, folder, capsys):
    words = [*first_line(name), *TINY, *TINY_SEARCH, *OWN[name], "--output", f"out/{name}"]
    assert words[:3] == ["search", "--config", name]
    assert main(words) == 0, capsys.readouterr().err
    assert (folder / "out" / name / "best.ckpt").is_file()


@pytest.mark.parametrize("name", shipped())
def test_each_config_trains_one_model_too(name, folder, capsys):
    words = ["fit", *first_line(name)[1:], *TINY, *OWN[name], "--trainer.fast_dev_run", "2"]
    assert main(words) == 0, capsys.readouterr().err


def test_features_are_cached_before_a_run(folder, capsys):
    words = [*first_line("pretrained_adapter")[1:], *TINY, *OWN["pretrained_adapter"]]
    assert main(["data", "features", *words, "--data.init_args.cache_dir", "new", "--verify"]) == 0
    shown = capsys.readouterr().out
    assert "views    10: 1 upright, 3 random crops, 6 quarter turns" in shown
    assert "as meta.json says" in shown
    assert main(["data", "features", *words, "--data.init_args.features", "null"]) == 2
    assert "`data.init_args.features` is null: the run reads images; set it" in capsys.readouterr().err
    (path,) = Path("new").glob("features-*/features.npy")
    path.write_bytes(path.read_bytes()[::-1])
    assert main(["fit", *words, "--data.init_args.cache_dir", "new"]) == 2
    assert "features.npy` has sha256" in capsys.readouterr().err


def test_a_config_is_found_by_name_with_or_without_its_ending(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find("quickstart") == find("quickstart.yaml") == shipped()["quickstart"]
    (tmp_path / "quickstart").write_text("trainer: {}  # a file of the user's own comes first")
    assert find("quickstart") == Path("quickstart")


def test_an_unknown_name_lists_those_there_are():
    with pytest.raises(FileNotFoundError, match=r"`--config quikstart`.*quickstart"):
        find("quikstart")
