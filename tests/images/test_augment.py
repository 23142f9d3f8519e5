import inspect

import pytest
import torch
from jsonargparse import ArgumentParser

from psst.components import describe, instantiate
from psst.images.augment import Augmentation

EVERYTHING = {
    "padding": 2,
    "flip": True,
    "resized_crop": (0.3, 1.0),
    "rotation": 20.0,
    "translation": 0.1,
    "scale": (0.8, 1.2),
    "shear": 10.0,
    "brightness": 0.4,
    "contrast": 0.4,
    "saturation": 0.4,
    "hue": 0.1,
    "grayscale": 0.3,
    "erasing": 0.5,
}
LATER = {name: value for name, value in EVERYTHING.items() if name not in ("padding", "flip")}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def images_of(n, channels=3, size=12, dtype=torch.uint8, seed=9):
    images = torch.rand(n, channels, size, size, generator=generator(seed))
    return (256 * images).floor().to(dtype) if dtype == torch.uint8 else images.to(dtype)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_same_generator_state_same_result(dtype):
    images = (255 * torch.rand(20, 3, 8, 8)).to(dtype)
    augment = Augmentation(padding=2, flip=True)
    first, again, other = (augment(images, generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == images.shape
    assert first.dtype == dtype


def test_each_image_draws_its_own_change_uniformly():
    marker = torch.zeros(4000, 1, 7, 8)
    marker[:, :, 3, 2] = 1
    places = Augmentation(padding=1, flip=True)(marker, generator()).flatten(1).argmax(1)
    counts = torch.bincount(places)
    expected = {row * 8 + column for row in (2, 3, 4) for column in (1, 2, 3, 4, 5, 6)}
    assert set(counts.nonzero().flatten().tolist()) == expected
    assert (counts[counts > 0] - 4000 / 18).abs().max() < 5 * (4000 / 18) ** 0.5


def test_without_settings_nothing_changes_and_nothing_is_drawn():
    images, rng = torch.rand(3, 1, 5, 5), generator()
    before = rng.get_state()
    assert Augmentation()(images, rng) is images
    assert torch.equal(rng.get_state(), before)


def test_crop_and_flip_are_those_of_the_first_release():
    """Its formula, word for word: a run of then can be repeated."""
    images, rng, again = images_of(30), generator(5), generator(5)
    result = Augmentation(padding=2, flip=True)(images, rng)
    moves = torch.randint(-2, 3, (2, 30), generator=again)
    flipped = torch.randint(2, (30,), generator=again) == 1
    padded = torch.nn.functional.pad(images, (2,) * 4)
    for i, image in enumerate(result):
        top, left = (2 - moves[:, i]).tolist()
        crop = padded[i, :, top : top + 12, left : left + 12]
        assert torch.equal(image, crop.flip(-1) if flipped[i] else crop)
    assert torch.equal(rng.get_state(), again.get_state())


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("channels", [1, 3])
def test_shape_dtype_and_bounds_are_kept(dtype, channels):
    images = images_of(40, channels, dtype=dtype)
    result = Augmentation(**EVERYTHING)(images, generator())
    assert (result.shape, result.dtype) == (images.shape, images.dtype)
    assert not torch.equal(result, images)
    assert result.min() >= 0
    assert result.max() <= (255 if dtype == torch.uint8 else 1)


@pytest.mark.parametrize("name", LATER)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_an_image_depends_on_its_own_draws_only(name, dtype):
    """Another batch around it, in another order of magnitude, changes no bit of an image."""
    images, strange = images_of(9, dtype=dtype), images_of(9, dtype=dtype, seed=4) // 4
    augment = Augmentation(**{name: EVERYTHING[name]})
    expected = augment(images, generator())
    for i in (0, 5, 8):
        batch = strange.clone()
        batch[i] = images[i]
        assert torch.equal(augment(batch, generator())[i], expected[i])


class Recording(Augmentation):
    """Keeps the draws of the last call."""

    def _recolored(self, images, draws, bound):
        self.drawn = {name: draws[name] for name in ("brightness", "hue", "rotation", "erased")}
        return super()._recolored(images, draws, bound)


@pytest.mark.parametrize("others", [{}, {"padding": 3}, {"flip": True}, LATER, EVERYTHING])
def test_a_decision_does_not_depend_on_which_others_are_on(others):
    alone, beside = Recording(hue=0.2), Recording(**{**others, "hue": 0.2})
    images, rng, other_rng = images_of(8), generator(3), generator(3)
    alone(images, rng)
    beside(images, other_rng)
    for name, values in alone.drawn.items():
        assert torch.equal(values, beside.drawn[name])
    assert torch.equal(rng.get_state(), other_rng.get_state())


@pytest.mark.parametrize("old", [{"padding": 2}, {"flip": True}, {"padding": 2, "flip": True}])
def test_crop_and_flip_stay_when_another_change_comes_in(old):
    images = images_of(20)
    plain = Augmentation(**old)(images, generator())
    identity = Augmentation(**old, scale=(1, 1))(images, generator())
    assert torch.equal(plain, identity)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_identity_parameters_change_no_bit(dtype):
    images = images_of(6, dtype=dtype)
    still = Augmentation(resized_crop=(1, 1), scale=(1, 1), erasing=1e-12, grayscale=1e-12)
    assert torch.equal(still(images, generator()), images)


def test_results_do_not_depend_on_threads():
    images, augment = images_of(2, size=192, dtype=torch.float32), Augmentation(**EVERYTHING)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            results.append((augment(images, generator()), augment(images[:1], generator())))
    finally:
        torch.set_num_threads(before)
    for whole, single in results:
        assert torch.equal(whole, results[0][0])
        assert torch.equal(single, results[0][1])


def test_jitter_stays_within_its_bounds_and_fills_them():
    middle = torch.full((3000, 1, 1, 1), 0.5)
    factors = Augmentation(brightness=0.4)(middle, generator()).flatten() / 0.5
    assert factors.min() >= 0.6
    assert factors.max() <= 1.4
    assert factors.sort().values.sub(torch.linspace(0.6, 1.4, 3000)).abs().max() < 0.03
    assert Augmentation(brightness=5)(middle, generator()).min() >= 0


def test_probabilities_are_those_asked_for():
    images = images_of(2000, size=4)
    changed = Augmentation(grayscale=0.3)(images, generator())
    share = (changed[:, 0] == changed[:, 1]).flatten(1).all(1).float().mean()
    assert abs(share - 0.3) < 5 * (0.21 / 2000) ** 0.5
    for probability, expected in ((0.4, 0.4), (1, 1)):
        erased = Augmentation(erasing=probability)(torch.ones(2000, 1, 8, 8), generator())
        share = (erased == 0).flatten(1).any(1).float().mean()
        assert abs(share - expected) <= 5 * (expected * (1 - expected) / 2000) ** 0.5


def test_uint8_is_rounded_once():
    """Several steps in floats and one rounding: less than a level from the same in floats."""
    images = images_of(10)
    settings = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "rotation": 30.0}
    levels = Augmentation(**settings)(images, generator())
    floats = 255 * Augmentation(**settings)(images.double() / 255, generator())
    assert (levels - floats).abs().max() <= 0.5 + 1e-3


@pytest.mark.parametrize("kind", ["uint8", "float32"])
def test_recipes_of_the_docstring(kind):
    dtype = getattr(torch, kind)
    jitter = {"flip": True, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4}
    for crop in ({"padding": 8}, {"resized_crop": [0.08, 1.0]}):
        augment = Augmentation(**crop, **jitter)
        assert augment(images_of(4, size=84, dtype=dtype), generator()).shape == (4, 3, 84, 84)


def test_it_is_described_and_rebuilt():
    augment = Augmentation(**EVERYTHING)
    again = instantiate(describe(augment), Augmentation)
    assert describe(again) == describe(augment)
    images = images_of(5)
    assert torch.equal(again(images, generator()), augment(images, generator()))
    assert list(inspect.signature(Augmentation).parameters)[:2] == ["padding", "flip"]


def test_it_is_written_in_a_yaml_with_lists_for_ranges():
    parser = ArgumentParser()
    parser.add_argument("--augmentation", type=Augmentation)
    text = "{class_path: psst.images.augment.Augmentation, init_args: {resized_crop: [0.08, 1], hue: 0.1}}"
    augment = parser.instantiate(parser.parse_args([f"--augmentation={text}"])).augmentation
    assert (augment.resized_crop, augment.hue) == ((0.08, 1.0), 0.1)


def test_no_images_no_trouble():
    empty = torch.zeros(0, 3, 8, 8, dtype=torch.uint8)
    assert Augmentation(**EVERYTHING)(empty, generator()).shape == (0, 3, 8, 8)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"padding": -1}, "`padding=-1` must be at least 0"),
        ({"brightness": -0.1}, "`brightness=-0.1` must be at least 0 and finite; 0 switches it off"),
        ({"contrast": float("inf")}, "`contrast=inf` must be at least 0 and finite"),
        ({"saturation": float("nan")}, "`saturation=nan` must be"),
        ({"hue": 0.6}, "`hue=0.6` must be between 0 and 0.5"),
        ({"grayscale": 1.5}, "`grayscale=1.5` must be between 0 and 1"),
        ({"erasing": -0.5}, "`erasing=-0.5` must be between 0 and 1"),
        ({"rotation": 200}, "`rotation=200` must be between 0 and 180"),
        ({"translation": 1.1}, "`translation=1.1` must be between 0 and 1"),
        ({"shear": 90}, "`shear=90` must be between 0 and 85"),
        ({"resized_crop": [0.5, 1.2]}, r"`resized_crop=\[0.5, 1.2\]` must be two numbers above 0, at most 1"),
        ({"resized_crop": [0, 1]}, r"`resized_crop=\[0, 1\]`"),
        ({"resized_crop": []}, r"`resized_crop=\[\]`"),
        ({"scale": [1.2, 0.8]}, r"`scale=\[1.2, 0.8\]` must be two numbers above 0, the smaller first"),
        ({"scale": [1, float("inf")]}, r"`scale=\[1, inf\]`"),
        ({"scale": [1, 2, 3]}, r"`scale=\[1, 2, 3\]`"),
    ],
)
def test_numbers_out_of_range_are_refused_in_the_words_of_the_yaml(settings, message):
    with pytest.raises(ValueError, match=message):
        Augmentation(**settings)


def test_images_that_cannot_be_augmented_are_named():
    with pytest.raises(
        ValueError, match=r"changes of color need images of 1 or 3 channels, found 4; leave out"
    ):
        Augmentation(saturation=0.4)(images_of(2, 4), generator())
    for settings in ({"rotation": 5.0}, {"brightness": 0.3}, {"erasing": 1.0}):
        assert Augmentation(**settings)(images_of(2), generator()).shape == (2, 3, 12, 12)
