"""Folder trees as ImageNet is kept in: one folder a class, image files in it.

    root/<class>/*.JPEG              one set
    root/train/<class>/*.JPEG        two sets; the second is named val or test
    root/val/<class>/*.JPEG

Classes are numbered in the order of their sorted names (synsets, say), files in theirs.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hil.core.errors import DataError
from hil.nn.data.decode import decode_images

SUFFIXES = (".jpeg", ".jpg", ".png")
_SPLIT_FOLDERS = {"train": ("train",), "test": ("val", "test")}


def read_tree(
    root: Path, split: str, size: int | None
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Images uint8 (N, H, W, 3), labels int64 (N,) and class names by label.

    Raises DataError for a folder without class folders, a class without images, and an image
    that does not decode or (without ``size``) is of another size than the first.
    """
    try:
        folder = _split_folder(root, split)
        files = {name: _image_files(path) for name, path in _subfolders(folder).items()}
    except OSError as error:
        raise DataError(f"{root}: cannot be listed ({error})") from error
    if not files:
        raise DataError(
            f"{folder}: neither class folders with {', '.join(SUFFIXES)} images in it nor "
            "CIFAR-10 batches"
        )
    for name, found in files.items():
        if not found:
            raise DataError(f"{folder / name}: no images ({', '.join(SUFFIXES)}) of this class")
    paths = [path for found in files.values() for path in found]
    named = ((f"{path.parent.name}/{path.name}", path) for path in paths)
    x = decode_images(str(folder), named, len(paths), size)
    y = np.repeat(np.arange(len(files)), [len(found) for found in files.values()])
    return x, y.astype(np.int64), tuple(files)


def _split_folder(root: Path, split: str) -> Path:
    """The folder of ``split``; ``root`` itself if it has no folders of splits at all."""
    folders = _subfolders(root)
    if not any(name in folders for names in _SPLIT_FOLDERS.values() for name in names):
        return root
    for name in _SPLIT_FOLDERS[split]:
        if name in folders:
            return folders[name]
    raise DataError(
        f"{root}: holds {', '.join(folders)} but no {' or '.join(_SPLIT_FOLDERS[split])} folder"
    )


def _subfolders(folder: Path) -> dict[str, Path]:
    found = sorted(path for path in folder.iterdir() if path.is_dir())
    return {path.name: path for path in found if not path.name.startswith(".")}


def _image_files(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )
