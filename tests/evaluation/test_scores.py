import dataclasses

import numpy as np
import pytest

from psst.evaluation import EpisodeScores, load_scores, save_scores


def scores_of(n=20, seed=0, stream="a1"):
    rng = np.random.default_rng(seed)
    values = rng.random((2, n), dtype=np.float32)
    return EpisodeScores(values[0], values[1], stream=stream, seed=seed, n_way=5, n_shot=1, n_query=15)


def equal(a, b):
    return all(np.array_equal(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))


def test_what_is_saved_is_loaded_group_by_group(tmp_path):
    groups = {
        "Sanskrit": scores_of(),
        "Mkhedruli_(Georgian)": scores_of(7, 3, "b2"),
        "ქართული/x": scores_of(2, 5),
    }
    save_scores(tmp_path / "new" / "test_scores.npz", groups)
    loaded = load_scores(tmp_path / "new" / "test_scores.npz")
    assert list(loaded) == list(groups)
    assert all(equal(loaded[name], groups[name]) for name in groups)
    assert str(loaded["Sanskrit"]) == str(groups["Sanskrit"])


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "test_scores.npz"
    save_scores(path, {"all": scores_of()})

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OSError, match="No space left"):
        save_scores(path, {"all": scores_of(5)})
    assert list(tmp_path.iterdir()) == [path]
    assert load_scores(path)["all"].n == 20


def test_files_that_are_no_scores_are_refused_by_name(tmp_path):
    path = tmp_path / "x.npz"
    with pytest.raises(FileNotFoundError, match=r"x\.npz` is not there"):
        load_scores(path)
    path.write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(ValueError, match=r"x\.npz` (is|are) damaged, or something else"):
        load_scores(path)
    np.savez(path, other=np.zeros(3))
    with pytest.raises(ValueError, match=r"x\.npz` (is|are) damaged, or something else"):
        load_scores(path)
    np.savez(path, format=np.array(1), groups=np.array([print], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        load_scores(path)
    np.savez(path, format=np.array(99), groups=np.array(["all"]))
    with pytest.raises(ValueError, match="format 99, this psst reads format 1"):
        load_scores(path)


@pytest.mark.parametrize("accuracy", [np.nan, 7.0, -0.1])
def test_accuracies_that_are_none_are_refused(tmp_path, accuracy):
    scores = scores_of()
    scores.accuracies[3] = accuracy
    save_scores(tmp_path / "x.npz", {"all": scores})
    with pytest.raises(ValueError, match=r"x\.npz` are damaged, .*accuracies between"):
        load_scores(tmp_path / "x.npz")


def test_one_episode_has_no_interval():
    assert scores_of(1).half_width == float("inf")
