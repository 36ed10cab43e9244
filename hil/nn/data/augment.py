"""Random changes of training images: uint8 batches (N, H, W, 3) to new uint8 batches.

All chance comes from the generator that is passed, so that the same seed gives the same
images. The batch that comes in is never changed.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from hil.core.errors import DataError
from hil.nn.data.decode import SMOOTH, check_size
from hil.nn.zoo import INPUT_OFFSET


def flip(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Half of the images mirrored, left to right."""
    mirrored = rng.random(len(x)) < 0.5
    flipped = x.copy()
    flipped[mirrored] = x[mirrored, :, ::-1]
    return flipped


def crop_and_flip(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random crop of the image padded by an eighth (reflected), random mirror; same size."""
    n, h, w, _ = x.shape
    pad = h // 8
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="reflect")
    top, left = rng.integers(0, 2 * pad + 1, (2, n))
    rows = top[:, None, None] + np.arange(h)[None, :, None]
    columns = left[:, None] + np.arange(w)[None, :]
    mirrored = rng.random(n) < 0.5
    columns[mirrored] = columns[mirrored, ::-1]
    return padded[np.arange(n)[:, None, None], rows, columns[:, None, :]]


def random_resized_crop(
    x: np.ndarray,
    rng: np.random.Generator,
    size: int,
    scale: tuple[float, float] = (0.35, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> np.ndarray:
    """A random part of each image, resized to (N, size, size, 3) (Szegedy et al., CVPR 2015).

    Its share of the image's area is uniform in ``scale``; its width over height is uniform in
    the logarithm over those of ``ratio`` with which it fits the image (the nearest if none).
    Crops are placed between pixels too, and resized as ``load_images`` does it, by Pillow:
    faster than gathering pixels in NumPy, and large crops do not alias. No mirror; see ``flip``.
    Raises DataError for a size, scale or ratio that cannot be.
    """
    check_size(size)
    _check_range("scale", scale, 1.0)
    _check_range("ratio", ratio, np.inf)
    made = np.empty((len(x), size, size, 3), np.uint8)
    boxes = _crop_boxes(x.shape[:3], rng, scale, ratio)
    for image, box, out in zip(x, boxes, made, strict=True):
        part = Image.fromarray(image).resize((size, size), SMOOTH, box=tuple(box))
        out[:] = np.asarray(part)
    return made


def cutout(x: np.ndarray, rng: np.random.Generator, side: int) -> np.ndarray:
    """A grey square of ``side`` pixels around a random pixel (DeVries and Taylor, 2017).

    Grey is what the networks see as zero. The square is cut off at the image's edges.
    """
    check_size(side)
    n, h, w, _ = x.shape
    centres = rng.integers(0, (h, w), (n, 2))
    rows, columns = _within(centres[:, 0], h, side), _within(centres[:, 1], w, side)
    hidden = rows[:, :, None] & columns[:, None, :]
    return np.where(hidden[..., None], np.uint8(INPUT_OFFSET), x)


def _within(centre: np.ndarray, length: int, side: int) -> np.ndarray:
    """Bool (N, length): the ``side`` pixels around each centre (if even, one more before it)."""
    start = (centre - side // 2)[:, None]
    pixels = np.arange(length)
    return (start <= pixels) & (pixels < start + side)


def _crop_boxes(
    shape: tuple[int, ...],
    rng: np.random.Generator,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> np.ndarray:
    """(left, top, right, bottom) of each crop in pixels, float (N, 4)."""
    n, h, w = shape
    share = rng.uniform(*scale, n)
    # A crop fits if share * h * w * ratio <= w * w and share * h * w / ratio <= h * h.
    widest, narrowest = w / (share * h), share * w / h
    low = np.clip(ratio[0], narrowest, widest)
    high = np.clip(ratio[1], narrowest, widest)
    aspect = np.exp(rng.uniform(np.log(low), np.log(high)))
    width = np.minimum(np.sqrt(share * h * w * aspect), w)
    height = np.minimum(np.sqrt(share * h * w / aspect), h)
    left, top = rng.random(n) * (w - width), rng.random(n) * (h - height)
    # Rounding must not put an edge outside by the last bit.
    right, bottom = np.minimum(left + width, w), np.minimum(top + height, h)
    return np.stack([left, top, right, bottom], axis=1)


def _check_range(name: str, bounds: tuple[float, float], limit: float) -> None:
    if not 0 < bounds[0] <= bounds[1] <= limit:
        raise DataError(
            f"random crop: {name} must be two numbers above 0 in order, up to {limit:g}; "
            f"not {bounds}"
        )
