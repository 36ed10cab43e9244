"""Image files to arrays of one size, one image at a time: memory holds the result alone."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from hil.core.errors import DataError

# Bilinear with the filter as wide as the reduction asks, so that nothing aliases.
SMOOTH = Image.Resampling.BILINEAR
# What Pillow raises on damaged files: OSError for most, others from single formats.
_DECODE_ERRORS = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


def check_size(size: int | None) -> None:
    """Raises DataError unless ``size`` is None or a positive number of pixels."""
    if size is not None and size < 1:
        raise DataError(f"images cannot have size {size}: give a positive number of pixels")


def decode_images(
    place: str, files: Iterable[tuple[str, Path | IO[bytes]]], count: int, size: int | None
) -> np.ndarray:
    """``count`` image files as uint8 (count, H, W, 3), each resized if ``size`` is given.

    ``files`` yields (name for messages, path or open file). Raises DataError, naming ``place``
    and the image, for one that does not decode or has another size than the first.
    """
    images = np.empty((0, 0, 0, 3), np.uint8)
    for i, (name, file) in enumerate(files):
        image = _decode(place, name, file, size)
        if i == 0:
            images = np.empty((count, *image.shape), np.uint8)
        if image.shape != images.shape[1:]:
            (h, w), (first_h, first_w) = image.shape[:2], images.shape[1:3]
            raise DataError(
                f"{place}: {name} is {h}x{w} pixels, the first image {first_h}x{first_w}; "
                "give a size to resize all to"
            )
        images[i] = image
    return images


def resize_images(x: np.ndarray, size: int | None) -> np.ndarray:
    """uint8 (N, H, W, 3) to (N, size, size, 3); ``x`` itself if that is its size or size None."""
    if size is None or x.shape[1:3] == (size, size):
        return x
    images = np.empty((len(x), size, size, 3), np.uint8)
    for image, made in zip(x, images, strict=True):
        made[:] = np.asarray(_centre_square(Image.fromarray(image), size))
    return images


def _decode(place: str, name: str, file: Path | IO[bytes], size: int | None) -> np.ndarray:
    try:
        with Image.open(file) as opened:
            image = opened.convert("RGB")
    except _DECODE_ERRORS as error:
        raise DataError(f"{place}: {name} does not decode ({error})") from error
    return np.asarray(image if size is None else _centre_square(image, size))


def _centre_square(image: Image.Image, size: int) -> Image.Image:
    """The largest square in the middle, resized: shorter side to ``size``, then centre crop."""
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    return image.resize((size, size), SMOOTH, box=(left, top, left + side, top + side))
