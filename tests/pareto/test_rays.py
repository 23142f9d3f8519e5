import numpy as np
import pytest

from psst.pareto import RaySet, Trajectory, centered_log, rays_between

STEPS = 200


def anchor(
    offset: np.ndarray | list[float], weights: list[float], noise: float = 0.0, seed: int = 0
) -> Trajectory:
    """Falling losses whose log-ratios open up toward `offset`, with a smooth error of sd about `noise`."""
    time = np.linspace(0.0, 1.0, STEPS)[:, None]
    error = noise * np.random.default_rng(seed).standard_normal((STEPS, len(weights)))
    return Trajectory(
        -2.0 * time + np.minimum(2.0 * time, 1.0) * np.asarray(offset) + error, 600, np.array(weights)
    )


def two_tasks(places: list[float], noise: float = 0.0) -> list[Trajectory]:
    """Anchors at log-ratios ``2 place``; their auxiliary weights rise by threes from 0."""
    weights = [0.0, 0.1, 0.3, 1.0, 3.0][: len(places)]
    return [
        anchor([p, -p], [1.0, w], noise, seed)
        for seed, (p, w) in enumerate(zip(places, weights, strict=True))
    ]


def test_rays_are_midpoints_at_the_same_step_and_geometric_means_of_the_weights():
    anchors = two_tasks([-0.2, -0.1, 0.0, 0.1, 0.2])
    rays = rays_between(anchors)
    assert (len(rays), rays.n_tasks, rays.first_step, rays.n_steps) == (4, 2, 600, STEPS)
    for k in range(4):
        np.testing.assert_allclose(
            rays.points[k],
            (centered_log(anchors[k].log_losses) + centered_log(anchors[k + 1].log_losses)) / 2,
            atol=1e-12,
        )
    np.testing.assert_allclose(rays.priors.sum(axis=1), 1.0)
    odds = rays.priors[:, 1] / rays.priors[:, 0]
    expected = np.sqrt(
        [
            w1 / (1 + w1) * w2 / (1 + w2) / (1 / (1 + w1) / (1 + w2))
            for w1, w2 in ((0.1, 0.3), (0.3, 1.0), (1.0, 3.0))
        ]
    )
    np.testing.assert_allclose(odds[1:], expected)
    aux, main = np.sqrt((0.1 / 1.1) ** 2 / 3), np.sqrt(1 / 1.1)
    np.testing.assert_allclose(odds[0], aux / main)  # a weight of 0 counts as a third of its neighbor's


def test_points_move_with_the_step_and_are_held_beyond_the_ends():
    rays = rays_between(two_tasks([-0.2, 0.0, 0.2]))
    np.testing.assert_array_equal(rays.at(0), rays.at(600))
    np.testing.assert_array_equal(rays.at(600 + STEPS + 50), rays.at(600 + STEPS - 1))
    np.testing.assert_array_equal(rays.at(640), rays.points[:, 40])
    assert rays.distance(0, 600 + STEPS) == pytest.approx(0.2)


def test_rays_within_the_noise_are_merged():
    clean = rays_between(two_tasks([-0.2, -0.1, 0.0, 0.1, 0.2], noise=0.001))
    noisy = rays_between(two_tasks([-0.2, -0.1, 0.0, 0.1, 0.2], noise=0.05))
    assert len(clean) == 4
    assert 1 <= len(noisy) < 4
    np.testing.assert_allclose(
        noisy.sd, 0.05, rtol=0.3
    )  # differences of two centered errors: sd of one error
    for k in range(len(noisy)):
        assert noisy.distance(k, 600 + STEPS) >= 4.0 * noisy.sd


def test_equal_anchors_leave_one_ray():
    assert len(rays_between(two_tasks([0.1, 0.1, 0.1, 0.1]))) == 1


def test_three_tasks_have_rays_between_neighbors():
    anchors = [
        anchor([0.0, 0.1, 0.1], [1.0, 0.0, 0.0]),
        anchor([0.1, -0.2, 0.1], [1.0, 1.0, 0.0]),
        anchor([0.1, 0.1, -0.2], [1.0, 0.0, 1.0]),
        anchor([0.2, -0.2, -0.2], [1.0, 1.0, 1.0]),
    ]
    rays = rays_between(anchors)
    assert rays.n_tasks == 3
    assert len(rays) == 3
    np.testing.assert_allclose(rays.points.sum(axis=2), 0.0, atol=1e-12)
    np.testing.assert_allclose(rays.priors[0, 2], 0.0)  # a task that neither neighbor trains
    assert (rays.priors[1:] > 0).all()


def test_lasting_rays_are_the_same_and_know_the_run():
    still, moving = RaySet.constant(np.eye(2), noise=0.1), rays_between(two_tasks([-0.2, 0.0, 0.2]))
    for rays in (still, moving):
        longer = rays.lasting(5000)
        assert longer.n_steps == 5000
        for step in (0, 650, 900, 7000):
            np.testing.assert_allclose(longer.at(step), rays.at(step), atol=1e-15)
        assert (longer.sd, longer.first_step) == (rays.sd, rays.first_step)
    with pytest.raises(ValueError, match="`n_steps=10` must be 200 at least"):
        moving.lasting(10)


def test_files_bring_back_the_same_rays(tmp_path):
    rays, trajectory = rays_between(two_tasks([-0.2, 0.0, 0.2], noise=0.001)), anchor([0.1, -0.1], [1.0, 0.3])
    rays.save(tmp_path / "rays.npz")
    trajectory.save(tmp_path / "trajectory.npz")
    again, run = RaySet.load(tmp_path / "rays.npz"), Trajectory.load(tmp_path / "trajectory.npz")
    for step in (0, 700, 5000):
        np.testing.assert_array_equal(again.at(step), rays.at(step))
    np.testing.assert_array_equal(again.priors, rays.priors)
    np.testing.assert_array_equal(again.noise, rays.noise)
    np.testing.assert_array_equal(run.log_losses, trajectory.log_losses)
    assert run.first_step == 600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rays.npz", "trajectory.npz"]


def test_files_that_are_not_rays_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"`rays=.*no\.npz` is not there"):
        RaySet.load(tmp_path / "no.npz")
    (tmp_path / "text.npz").write_text("rays")
    with pytest.raises(ValueError, match=r"`rays=.*is damaged, or something else"):
        RaySet.load(tmp_path / "text.npz")
    whole = tmp_path / "rays.npz"
    RaySet.constant(np.eye(2)).save(whole)
    (tmp_path / "half.npz").write_bytes(whole.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"`rays=.*is damaged, or something else"):
        RaySet.load(tmp_path / "half.npz")
    anchor([0.1, -0.1], [1.0, 0.3]).save(tmp_path / "other.npz")
    with pytest.raises(ValueError, match=r"something else.*points"):
        RaySet.load(tmp_path / "other.npz")
    with np.load(whole) as file:
        np.savez(tmp_path / "newer.npz", **{**file, "format": 99})
    with pytest.raises(ValueError, match="format 99"):
        RaySet.load(tmp_path / "newer.npz")


def test_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "rays.npz"
    RaySet.constant(np.eye(2)).save(path)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OSError, match="No space"):
        RaySet.constant(np.eye(3)).save(path)
    assert RaySet.load(path).n_tasks == 2
    assert list(tmp_path.iterdir()) == [path]


def test_wrong_shapes_are_errors():
    with pytest.raises(ValueError, match=r"got \[2, 1, 2\] and \[2, 3\]"):
        RaySet.constant(np.eye(2), np.ones((2, 3)))
    with pytest.raises(ValueError, match="not negative"):
        RaySet.constant(np.eye(2), -np.eye(2))
    with pytest.raises(ValueError, match=r"`log_losses` must be \[steps, m\]"):
        Trajectory(np.zeros((5, 2)), 0, np.ones(3))
    with pytest.raises(ValueError, match="two anchors at least, got 1"):
        rays_between([anchor([0.0, 0.0], [1.0, 1.0])])
    with pytest.raises(ValueError, match=r"got \(first step, m\) \[\(0, 2\), \(600, 2\)\]"):
        rays_between([anchor([0.0, 0.0], [1.0, 1.0]), Trajectory(np.zeros((5, 2)), 0, np.ones(2))])
