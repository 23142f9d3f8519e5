"""The twenty official one-shot runs of Omniglot (Lake et al. 2015), and the accuracy in them."""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from psst.episodes import EpisodeIndices
from psst.episodes.evaluation_plan import FrozenEpisodes
from psst.evaluation.episodes import evaluate_episodes
from psst.evaluation.scores import EpisodeScores
from psst.fewshot import Head
from psst.images.decode import decode_image
from psst.images.files.archives import Entry, archive_entries
from psst.images.sources.image_tree import ImageTree

_N_RUNS = 20
_N_WAY = 20

_FILE = re.compile(
    r"(?:^|/)(?P<name>run\d\d/(?:class_labels\.txt|training/class\d\d\.png|test/item\d\d\.png))$"
)
_ARCHIVE = "all_runs.zip"
_AGAIN = "get all_runs.zip from the repository brendenlake/omniglot, folder python/one-shot-classification."


@dataclass(frozen=True)
class _OneShotRun:
    """One run: 20 drawings to learn from, one of each class, and 20 to classify."""

    images: Tensor  # [40, C, H, W] uint8: the 20 supports, class by class, then the queries
    answers: Tensor  # [20] int64, class of each query


def read_one_shot_runs(path: str | Path, size: int = 28, channels: int = 1) -> list[_OneShotRun]:
    """Return the twenty runs in order: 20-way 1-shot within an alphabet, 20 test drawings, one of each class.

    `path` is all_runs.zip as it is, a folder that holds it, or one that holds run01 to run20. Label k is
    ``training/class{k+1}.png`` and query k ``test/item{k+1}.png``. Images are made as those of the store of
    `psst.datamodules.Omniglot`: ink 255 on 0, centered square, same filter; three channels hold the same. The
    drawings are of evaluation alphabets: models trained under the protocols "minimal", "background" and
    "official" have not seen them, those under "vinyals" have seen some of these alphabets.

    FileNotFoundError if runs or files of them are missing, ValueError if the archive, a drawing or a list of
    answers is damaged.
    """
    entries = _entries(Path(path).expanduser())
    return [_run(entries, number, size, channels) for number in range(_N_RUNS)]


def _entries(path: Path) -> dict[str, Entry]:
    """Index the files of the runs by their names from ``run01`` on."""
    if not path.exists():
        raise FileNotFoundError(f"`{path}` does not exist; {_AGAIN}")
    archive = path if path.is_file() else path / _ARCHIVE
    found = archive_entries(archive) if archive.is_file() else ImageTree.grow(path).entries()
    matches = ((_FILE.search(entry.name), entry) for entry in found)
    if not (named := {match["name"]: entry for match, entry in matches if match}):
        raise FileNotFoundError(f"`{path}` holds no one-shot runs; {_AGAIN}")
    return named


def _run(entries: Mapping[str, Entry], number: int, size: int, channels: int) -> _OneShotRun:
    run = f"run{number + 1:02}"
    classes = [f"{run}/training/class{k:02}.png" for k in range(1, _N_WAY + 1)]
    items = [f"{run}/test/item{k:02}.png" for k in range(1, _N_WAY + 1)]
    answers = _answers(entries, run, items, classes)
    found = [_entry(entries, name) for name in (*classes, *items)]
    drawings = [255 - decode_image(entry.read(), str(entry), size, channels) for entry in found]  # ink is 255
    images = torch.from_numpy(np.stack(drawings)).movedim(-1, -3).contiguous()
    return _OneShotRun(images, torch.tensor([classes.index(answers[item]) for item in items]))


def _answers(entries: Mapping[str, Entry], run: str, items: list[str], classes: list[str]) -> dict[str, str]:
    """Return the training drawing that each test drawing belongs to."""
    entry = _entry(entries, f"{run}/class_labels.txt")
    pairs = [line.split() for line in entry.read().decode("utf-8", "replace").splitlines() if line.strip()]
    answers = {pair[0]: pair[1] for pair in pairs if len(pair) == 2}
    if set(answers) != set(items) or set(answers.values()) != set(classes) or len(pairs) != _N_WAY:
        raise ValueError(
            f"`{entry}` must give each of {items[0]} to item{_N_WAY}.png one of {classes[0]} to "
            f"class{_N_WAY}.png, two names a line, found {len(pairs)} lines; {_AGAIN}"
        )
    return answers


def _entry(entries: Mapping[str, Entry], name: str) -> Entry:
    if name not in entries:
        raise FileNotFoundError(
            f"the one-shot runs lack {name}; {len(entries)} of their files were found, {_N_RUNS} runs of "
            f"{2 * _N_WAY} drawings and class_labels.txt make {_N_RUNS * (2 * _N_WAY + 1)}; {_AGAIN}"
        )
    return entries[name]


def evaluate_one_shot_runs(
    embed: Callable[[Tensor], Tensor], runs: Sequence[_OneShotRun], head: Head
) -> EpisodeScores:
    """Classify the test drawings of every run by their features; a run is an episode.

    `embed` maps images ``[n, C, H, W]`` uint8 to features ``[n, D]``, those of no drawing by the others'.
    ValueError if there are no runs, or features are as `evaluate_episodes` refuses them.
    """
    if not runs:
        raise ValueError("`runs` is empty; read them with `read_one_shot_runs(path)`.")
    answers = np.stack([run.answers.numpy() for run in runs])
    drawings = np.arange(2 * answers.size).reshape(len(runs), 2, -1)  # supports, then queries
    queries = np.take_along_axis(drawings[:, 1], answers.argsort(axis=1), axis=1)
    classes = np.arange(answers.size).reshape(answers.shape)
    episodes = EpisodeIndices(classes, drawings[:, 0, :, None], queries[..., None])
    stream = hashlib.blake2b(repr(answers.tolist()).encode(), digest_size=16).hexdigest()
    with torch.no_grad():
        features = torch.cat([embed(run.images) for run in runs])
    return evaluate_episodes(features, FrozenEpisodes(episodes, stream, 0), head, len(runs))


def report_one_shot_runs(scores: EpisodeScores) -> str:
    """Say the error of each run, 1 - accuracy as Lake et al. have it, and the mean with its t-interval."""
    lines = [f"run{i:02}  error {100 * (1 - a):5.1f} %" for i, a in enumerate(scores.accuracies, start=1)]
    half = scores.half_width / 1.96 * float(stats.t.ppf(0.975, max(1, scores.n - 1)))
    mean = f"mean   error {100 * (1 - scores.mean):5.1f} +- {100 * half:.1f} %"
    return "\n".join([*lines, f"{mean} ({scores.n} runs, 95% t-interval over runs)"])
