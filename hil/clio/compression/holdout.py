"""Training images that a search may look at, apart from those that train; never test images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hil.core.errors import DataError
from hil.nn.data.images import ImageSet


@dataclass(frozen=True)
class SearchData:
    """``train`` fits weights and statistics; ``judge`` gives rewards."""

    train: ImageSet
    judge: ImageSet


def hold_out(images: ImageSet, count: int, seed: int) -> SearchData:
    """About ``count`` images for judging, the same share of every class, chosen by ``seed``.

    Raises DataError if that leaves a class without images on either side.
    """
    if not 0 < count < len(images):
        raise DataError(f"{images.name}: cannot hold out {count} of {len(images)} images")
    rng = np.random.default_rng([seed, 0x4A])
    held = np.zeros(len(images), bool)
    for label in np.unique(images.y):
        of_class = np.flatnonzero(images.y == label)
        share = round(len(of_class) * count / len(images))
        if not 0 < share < len(of_class):
            raise DataError(
                f"{images.name}: class {label} has {len(of_class)} images; holding out {count} of "
                f"{len(images)} leaves none on one side"
            )
        held[rng.permutation(of_class)[:share]] = True
    return SearchData(
        ImageSet(f"{images.name}-fit", images.x[~held], images.y[~held]),
        ImageSet(f"{images.name}-judge", images.x[held], images.y[held]),
    )
