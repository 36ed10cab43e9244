"""Augmentation: reproducible, within the image, and as random as it says."""

import numpy as np
import pytest
import torch
from PIL import Image

from hil.core.errors import DataError
from hil.nn.data.augment import crop_and_flip, cutout, flip, random_resized_crop
from hil.nn.data.decode import resize_images


def pictures(count: int = 24, height: int = 20, width: int = 20) -> np.ndarray:
    return np.random.default_rng(7).integers(40, 216, (count, height, width, 3)).astype(np.uint8)


def ramps(count: int, height: int = 64, width: int = 64) -> np.ndarray:
    """Red is the column, green the row: a crop's pixels tell where they come from."""
    x = np.zeros((count, height, width, 3), np.uint8)
    x[..., 0] = np.arange(width)
    x[..., 1] = np.arange(height)[:, None]
    return x


CHANGES = {
    "flip": flip,
    "crop_and_flip": crop_and_flip,
    "random_resized_crop": lambda x, rng: random_resized_crop(x, rng, 12),
    "enlarged": lambda x, rng: random_resized_crop(x, rng, 30, (0.1, 0.3)),
    "cutout": lambda x, rng: cutout(x, rng, 5),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize(("height", "width"), [(20, 20), (24, 16)])
def test_a_seed_decides_and_the_batch_is_left_alone(change, height, width):
    x = pictures(24, height, width)
    before = x.copy()
    made = change(x, np.random.default_rng(3))
    assert made.dtype == np.uint8 and len(made) == len(x)
    np.testing.assert_array_equal(made, change(x, np.random.default_rng(3)))
    assert (made != change(x, np.random.default_rng(4))).any()
    np.testing.assert_array_equal(x, before)
    # Interpolation adds nothing beyond the darkest and brightest; 128 (cutout) lies between.
    assert made.min() >= x.min() and made.max() <= x.max()


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_images_of_a_batch_change_differently(change):
    same = np.repeat(pictures(1), 24, axis=0)
    made = change(same, np.random.default_rng(0))
    assert len(np.unique(made.reshape(24, -1), axis=0)) >= 2


def test_flip_mirrors_half_of_the_images():
    x = pictures(400, 3, 4)
    made = flip(x, np.random.default_rng(0))
    mirrored = (made == x[:, :, ::-1]).all((1, 2, 3))
    assert (mirrored ^ (made == x).all((1, 2, 3))).all()
    assert 160 < mirrored.sum() < 240  # four standard deviations


def test_crop_and_flip_shifts_by_up_to_an_eighth():
    x = ramps(400, 16, 16)
    made = crop_and_flip(x, np.random.default_rng(0)).astype(int)
    middle = made[:, 8, 8]
    # A middle pixel comes from at most two rows and columns away, or from its mirror image.
    assert set(middle[:, 1]) == {6, 7, 8, 9, 10}
    assert set(middle[:, 0]) == {5, 6, 7, 8, 9, 10}
    assert (np.abs(np.diff(made[:, 8, 2:-2, 0], axis=1)) == 1).all()


def test_the_whole_image_is_a_plain_resize():
    x = pictures(4)
    whole = random_resized_crop(x, np.random.default_rng(0), 12, (1, 1), (1, 1))
    np.testing.assert_array_equal(whole, resize_images(x, 12))
    same = random_resized_crop(x, np.random.default_rng(0), 20, (1, 1), (1, 1))
    np.testing.assert_array_equal(same, x)


@pytest.mark.parametrize("size", [12, 33])
def test_resizing_agrees_with_torch(size):
    """torch's antialiased bilinear filter is another implementation of the same."""
    x = pictures(4)
    image = torch.from_numpy(x).permute(0, 3, 1, 2).float()
    wanted = torch.nn.functional.interpolate(
        image, size=(size, size), mode="bilinear", antialias=True
    )
    difference = resize_images(x, size) - wanted.permute(0, 2, 3, 1).numpy()
    assert np.abs(difference).max() <= 1  # two roundings


def crop_sizes(made: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Left, top, width and height of crops of ``ramps``, read from columns inside them."""
    size = made.shape[1]
    a, b = size // 4, 3 * size // 4
    red, green = made[:, size // 2, :, 0].astype(float), made[:, :, size // 2, 1].astype(float)
    width, height = ((line[:, b] - line[:, a]) * size / (b - a) for line in (red, green))
    middle_x, middle_y = ((line[:, a] + line[:, b]) / 2 for line in (red, green))
    shift = 0.5 - ((a + b) / 2 + 0.5) / size  # of the two samples' middle from the crop's
    return (
        middle_x + 0.5 + (shift - 0.5) * width,
        middle_y + 0.5 + (shift - 0.5) * height,
        width,
        height,
    )


def test_crops_have_the_area_ratio_and_place_asked_for():
    n, side = 1000, 240
    made = random_resized_crop(ramps(n, side, side), np.random.default_rng(0), 24, (0.35, 0.9))
    left, top, width, height = crop_sizes(made)
    area = width * height / side**2
    assert 0.33 < area.min() < 0.37 and 0.88 < area.max() < 0.92
    assert np.quantile(area, [0.25, 0.5, 0.75]) == pytest.approx([0.4875, 0.625, 0.7625], abs=0.02)
    ratio = width / height
    assert 0.73 < ratio.min() < 0.8 and 1.26 < ratio.max() < 1.36
    assert np.exp(np.log(ratio).mean()) == pytest.approx(1, abs=0.02)
    for start, extent in ((left, width), (top, height)):
        assert start.min() > -2 and (start + extent).max() < side + 2
        roomy = extent < side - 20
        place = start[roomy] / (side - extent[roomy])
        assert place.mean() == pytest.approx(0.5, abs=0.03)
        assert place.std() == pytest.approx(12**-0.5, abs=0.03)


def test_crops_of_wide_images_stay_inside():
    made = random_resized_crop(ramps(200, 40, 160), np.random.default_rng(0), 16, (0.9, 1))
    left, top, width, height = crop_sizes(made)
    assert (width * height / 6400).min() > 0.8
    assert left.min() > -2 and (left + width).max() < 162
    assert top.min() > -2 and (top + height).max() < 42


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 0}, "size 0"),
        ({"scale": (0, 1)}, r"scale must be two numbers .* up to 1; not \(0, 1\)"),
        ({"scale": (0.5, 1.1)}, "scale"),
        ({"scale": (0.9, 0.5)}, "scale"),
        ({"ratio": (2, 1)}, "ratio"),
        ({"ratio": (float("nan"), 1)}, "ratio"),
    ],
)
def test_crops_that_cannot_be_are_refused(options, words):
    with pytest.raises(DataError, match=words):
        random_resized_crop(pictures(2), np.random.default_rng(0), **({"size": 8} | options))


def test_cutout_greys_one_square_and_nothing_else():
    x = np.full((300, 16, 16, 3), 7, np.uint8)
    made = cutout(x, np.random.default_rng(0), 6)
    assert set(np.unique(made)) == {7, 128}
    hidden = (made == 128).all(3)
    assert ((made == 128).any(3) == hidden).all()
    counts = hidden.sum((1, 2))
    rows, columns = hidden.any(2).sum(1), hidden.any(1).sum(1)
    np.testing.assert_array_equal(counts, rows * columns)
    assert rows.max() == columns.max() == 6 and rows.min() == columns.min() == 3
    with pytest.raises(DataError, match="size -1"):
        cutout(x, np.random.default_rng(0), -1)


def test_resize_keeps_the_middle_of_wide_and_tall_images():
    x = ramps(1, 40, 80)
    wide = resize_images(x, 40)
    np.testing.assert_array_equal(wide, x[:, :, 20:60])
    tall = x.transpose(0, 2, 1, 3)
    np.testing.assert_array_equal(resize_images(tall, 40), tall[:, 20:60])
    halved = resize_images(x, 20)[0]
    plain = Image.fromarray(x[0]).resize((40, 20), Image.Resampling.BILINEAR)
    inner = np.s_[1:-1, 1:-1]  # at its borders the crop has no neighbours
    assert np.abs(halved.astype(int) - np.asarray(plain)[:, 10:30])[inner].max() <= 1
