"""Data sets: packs, folder trees and the two official CIFAR-10 archives, whole and damaged."""

import io
import pickle
import struct
import tarfile

import numpy as np
import pytest
from PIL import Image

from hil.core.errors import DataError
from hil.nn.data.images import ImageSet, check_same_classes, concatenate, load_images, split

BATCHES = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]


def some_images(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 256, (count, 32, 32, 3)).astype(np.uint8)
    return x, rng.integers(0, 10, count)


def planes(x: np.ndarray) -> np.ndarray:
    """Rows as CIFAR-10 stores them: all red, all green, all blue."""
    return x.transpose(0, 3, 1, 2).reshape(len(x), 3072)


def python2_pickle(rows: np.ndarray, labels: list[int]) -> bytes:
    """Protocol 2 as Python 2 and NumPy 1 wrote the official files: byte strings throughout."""

    def short(text: bytes) -> bytes:
        return b"U" + bytes([len(text)]) + text

    def number(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)

    dtype = (
        b"cnumpy\ndtype\n(" + short(b"u1") + b"K\x00K\x01tR"
        b"(K\x03" + short(b"|") + b"NNN" + number(-1) + number(-1) + b"K\x00tb"
    )
    data = rows.tobytes()
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + short(b"b") + b"tR"
        b"(K\x01(" + number(rows.shape[0]) + number(rows.shape[1]) + b"t" + dtype + b"\x89"
        b"T" + struct.pack("<i", len(data)) + data + b"tb"
    )
    items = b"(" + b"".join(b"K" + bytes([label]) for label in labels)
    return b"\x80\x02}(" + short(b"data") + array + short(b"labels") + b"]" + items + b"e" + b"u."


def archive(path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(f"cifar-10-batches/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


@pytest.fixture
def python_members() -> dict[str, bytes]:
    members = {}
    for i, name in enumerate(BATCHES):
        x, y = some_images(3, i)
        members[name] = python2_pickle(planes(x), y.tolist())
    return members


@pytest.fixture
def binary_members() -> dict[str, bytes]:
    members = {}
    for i, name in enumerate(BATCHES):
        x, y = some_images(3, i)
        rows = np.concatenate([y[:, None].astype(np.uint8), planes(x)], axis=1)
        members[f"{name}.bin"] = rows.tobytes()
    return members


@pytest.mark.parametrize("kind", ["python_members", "binary_members"])
def test_archives_give_images_in_order(kind, tmp_path, request):
    path = tmp_path / "cifar-10.tar.gz"
    archive(path, request.getfixturevalue(kind))
    train, test = load_images(path, "train"), load_images(path, "test")
    assert len(train) == 15 and len(test) == 3
    x, y = some_images(3, 1)  # data_batch_2
    np.testing.assert_array_equal(train.x[3:6], x)
    np.testing.assert_array_equal(train.y[3:6], y)
    np.testing.assert_array_equal(test.x, some_images(3, 5)[0])


def test_an_unpacked_folder_reads_like_its_archive(binary_members, tmp_path):
    folder = tmp_path / "cifar" / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for name, data in binary_members.items():
        (folder / name).write_bytes(data)
    archive(tmp_path / "c.tar.gz", binary_members)
    assert load_images(folder.parent).digest == load_images(tmp_path / "c.tar.gz").digest


def test_pickles_of_today_read_too(tmp_path):
    x, y = some_images(4)
    batch = {b"data": planes(x), b"labels": y.tolist()}
    (tmp_path / "test_batch").write_bytes(pickle.dumps(batch, protocol=4))
    np.testing.assert_array_equal(load_images(tmp_path, "test").x, x)


class Evil:
    def __reduce__(self):
        return (print, ("code ran",))


def test_a_pickle_with_code_is_refused(tmp_path, capsys):
    (tmp_path / "test_batch").write_bytes(pickle.dumps({b"data": Evil(), b"labels": []}))
    with pytest.raises(DataError, match="has no place in a CIFAR-10 batch"):
        load_images(tmp_path, "test")
    assert "code ran" not in capsys.readouterr().out


def test_a_truncated_archive_is_refused(python_members, tmp_path):
    path = tmp_path / "cifar.tar.gz"
    archive(path, python_members)
    path.write_bytes(path.read_bytes()[:-20000])
    with pytest.raises(DataError, match=r"cifar\.tar\.gz"):
        load_images(path)
    path.write_bytes(b"<html>404</html>")
    with pytest.raises(DataError, match="not a readable CIFAR-10 archive"):
        load_images(path)


@pytest.mark.parametrize("kind", ["python_members", "binary_members"])
@pytest.mark.parametrize("keep", [0.0, 0.5, 0.999])
def test_a_truncated_batch_is_named(kind, keep, tmp_path, request):
    members = dict(request.getfixturevalue(kind))
    name = next(iter(members))
    members[name] = members[name][: int(len(members[name]) * keep)]
    archive(tmp_path / "c.tar.gz", members)
    with pytest.raises(DataError, match="data_batch_1"):
        load_images(tmp_path / "c.tar.gz")


def test_a_missing_batch_is_named(binary_members, tmp_path):
    del binary_members["data_batch_4.bin"]
    archive(tmp_path / "c.tar.gz", binary_members)
    with pytest.raises(DataError, match="batch data_batch_4 is missing"):
        load_images(tmp_path / "c.tar.gz")
    with pytest.raises(DataError, match="no such file"):
        load_images(tmp_path / "absent")


def jpeg(height: int, width: int, colour: tuple[int, int, int], kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(buffer, kind, quality=95)
    return buffer.getvalue()


def jpeg_pack(path, files: list[bytes], labels) -> None:
    blob = np.frombuffer(b"".join(files), np.uint8)
    np.savez(path, blob=blob, offsets=np.cumsum([0, *map(len, files)]), labels=labels)


def test_packs_of_arrays_and_of_jpegs(tmp_path):
    x, y = some_images(2)
    np.savez(tmp_path / "arrays.npz", x=x, y=y)
    loaded = load_images(tmp_path / "arrays.npz")
    np.testing.assert_array_equal(loaded.x, x)
    assert loaded.name == "arrays"
    files = [jpeg(32, 32, (200, 50, 10))] * 2
    jpeg_pack(tmp_path / "jpegs.npz", files, y)
    decoded = load_images(tmp_path / "jpegs.npz")
    assert np.abs(decoded.x.astype(int) - (200, 50, 10)).max() < 6
    files[1] = files[1][:100]
    jpeg_pack(tmp_path / "bad.npz", files, y)
    with pytest.raises(DataError, match="image 1 does not decode"):
        load_images(tmp_path / "bad.npz")
    blob, offsets = np.frombuffer(b"".join(files), np.uint8), np.array([0, len(files[0]), 10_000])
    cases = [
        ({"blob": blob[:100]}, "image 0 does not decode"),
        ({"blob": blob[:0]}, "image 0 does not decode"),
        ({"offsets": offsets[::-1]}, "image 0 does not decode"),
        ({"blob": blob / 2}, "blob must be uint8"),
        ({"offsets": offsets / 2}, "offsets integers"),
        ({"offsets": offsets[:, None]}, "offsets integers"),
        ({"offsets": offsets[:1]}, "0 images with 2 labels"),
    ]
    for damage, words in cases:
        np.savez(tmp_path / "bad.npz", **({"blob": blob, "offsets": offsets, "labels": y} | damage))
        with pytest.raises(DataError, match=words):
            load_images(tmp_path / "bad.npz")


def test_packs_are_resized_on_the_way_in(tmp_path):
    colours = [(200, 50, 10), (0, 0, 255)]
    files = [jpeg(20, 30, colours[0]), jpeg(64, 64, colours[1])]
    jpeg_pack(tmp_path / "p.npz", files, [1, 0])
    loaded = load_images(tmp_path / "p.npz", size=16)
    assert loaded.x.shape == (2, 16, 16, 3) and loaded.y.tolist() == [1, 0]
    assert loaded.y.dtype == np.int64
    for image, colour in zip(loaded.x, colours, strict=True):
        assert np.abs(image.astype(int) - colour).max() < 6
    assert load_images(tmp_path / "p.npz", size=16).digest == loaded.digest
    with pytest.raises(DataError, match=r"image 1 is 64x64 pixels, the first image 20x30; give a"):
        load_images(tmp_path / "p.npz")
    x, y = some_images(3)
    np.savez(tmp_path / "arrays.npz", x=x, y=y)
    assert load_images(tmp_path / "arrays.npz", size=24).x.shape == (3, 24, 24, 3)
    np.testing.assert_array_equal(load_images(tmp_path / "arrays.npz", size=32).x, x)


@pytest.mark.parametrize("size", [0, -3])
def test_sizes_must_be_positive(tmp_path, size):
    x, y = some_images(2)
    np.savez(tmp_path / "p.npz", x=x, y=y)
    with pytest.raises(DataError, match=f"size {size}: give a positive number"):
        load_images(tmp_path / "p.npz", size=size)
    with pytest.raises(DataError, match="'train' or 'test', not 'val'"):
        load_images(tmp_path / "p.npz", "val")


def test_resizing_a_cifar10_archive(binary_members, tmp_path):
    archive(tmp_path / "c.tar.gz", binary_members)
    assert load_images(tmp_path / "c.tar.gz", size=48).x.shape == (15, 48, 48, 3)


def tree(root, classes: dict[str, list[tuple[str, bytes]]]):
    for name, files in classes.items():
        (root / name).mkdir(parents=True)
        for file, data in files:
            (root / name / file).write_bytes(data)
    return root


RED, GREEN, BLUE = (250, 0, 0), (0, 250, 0), (0, 0, 250)


def imagenet(root):
    train = {
        "n02": [("b.JPEG", jpeg(40, 60, GREEN)), ("a.jpg", jpeg(30, 30, RED))],
        "n01": [("x.png", jpeg(50, 25, BLUE, "PNG")), ("notes.txt", b"no image"), (".jpg", b"")],
    }
    tree(root / "train", train)
    tree(
        root / "val",
        {"n01": [("v.jpeg", jpeg(32, 32, RED))], "n02": [("w.JPG", train["n02"][0][1])]},
    )
    (root / "train" / ".cache").mkdir()
    return root


def test_trees_are_read_in_sorted_order(tmp_path):
    root = imagenet(tmp_path / "data")
    train, test = load_images(root, "train", 16), load_images(root, "test", 16)
    assert train.classes == test.classes == ("n01", "n02")
    assert train.y.tolist() == [0, 1, 1] and test.y.tolist() == [0, 1]
    assert train.x.shape == (3, 16, 16, 3) and train.name == "data-train"
    for image, colour in zip(train.x, (BLUE, RED, GREEN), strict=True):
        assert np.abs(image.astype(int) - colour).max() < 8
    check_same_classes(train, test)
    alone = load_images(root / "train", "test", 16)  # a folder without splits is one set
    assert alone.digest == train.digest
    with pytest.raises(DataError, match=r"n02/a\.jpg is 30x30 pixels, the first image 50x25"):
        load_images(root)


def test_a_tree_without_the_split_is_refused(tmp_path):
    tree(tmp_path / "train", {"cat": [("a.jpg", jpeg(8, 8, RED))]})
    with pytest.raises(DataError, match="holds train but no val or test folder"):
        load_images(tmp_path, "test")
    (tmp_path / "test").mkdir()
    with pytest.raises(DataError, match="test: neither class folders"):
        load_images(tmp_path, "test")


def test_damaged_and_empty_trees_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"neither class folders with .* nor CIFAR-10 batches"):
        load_images(tmp_path)
    (tmp_path / "a.jpg").write_bytes(jpeg(8, 8, RED))  # an image, but of no class
    with pytest.raises(DataError, match="neither class folders"):
        load_images(tmp_path)
    tree(tmp_path, {"cat": [("a.jpg", jpeg(8, 8, RED))], "dog": [("readme", b"")]})
    with pytest.raises(DataError, match=r"dog: no images \(\.jpeg, \.jpg, \.png\) of this class"):
        load_images(tmp_path)
    noise = Image.fromarray(some_images(1)[0][0])
    for kind in ("JPEG", "PNG"):
        buffer = io.BytesIO()
        noise.save(buffer, kind)
        whole = buffer.getvalue()
        for keep in (0, 1, 20, len(whole) // 2):
            (tmp_path / "dog" / "b.png").write_bytes(whole[:keep])
            with pytest.raises(DataError, match=r"dog/b\.png does not decode"):
                load_images(tmp_path, size=8)


def test_damaged_and_foreign_packs_are_refused(tmp_path):
    x, y = some_images(40)
    path = tmp_path / "p.npz"
    np.savez_compressed(path, x=x, y=y)
    sound = path.read_bytes()
    for data in (sound[:-500], sound[:100], b"", sound[:5000] + b"\0\0\0" + sound[5003:]):
        path.write_bytes(data)
        with pytest.raises(DataError, match=r"p\.npz: not a readable npz"):
            load_images(path)
    np.savez(path, pictures=x)
    with pytest.raises(DataError, match="expected x, y or blob"):
        load_images(path)


def test_image_sets_check_themselves():
    x, y = some_images(3)
    with pytest.raises(DataError, match="uint8"):
        ImageSet("s", x.astype(np.float32), y)
    with pytest.raises(DataError, match=r"uint8 \(3, 0, 32, 3\)"):
        ImageSet("s", x[:, :0], y)
    with pytest.raises(DataError, match="3 images with 2 labels"):
        ImageSet("s", x, y[:2])
    with pytest.raises(DataError, match=r"not uint8 \(\)"):
        ImageSet("s", np.array(3, np.uint8), y)
    for labels in (y / 2, y[:, None], y[0]):
        with pytest.raises(DataError, match=r"labels must be integers \(N,\)"):
            ImageSet("s", x, labels)
    with pytest.raises(DataError, match=r"labels from -1 to 2; they must count from 0$"):
        ImageSet("s", x, np.array([0, -1, 2]))
    with pytest.raises(DataError, match=r"labels from 0 to 2; they must count from 0 to 1$"):
        ImageSet("s", x, np.array([0, 1, 2]), ("cat", "dog"))
    both = concatenate([ImageSet("a", x, y), ImageSet("b", x, y)])
    assert len(both) == 6 and both.name == "a+b"
    assert both.take(3).digest == ImageSet("other name", x, y).digest
    assert both.spread(3).y.tolist() == [y[0], y[2], y[2]] and len(both.spread(9)) == 6
    with pytest.raises(DataError, match=r"\(32, 32\), b of \(16, 16\) pixels"):
        concatenate([ImageSet("a", x, y), ImageSet("b", x[:, ::2, ::2], y)])
    with pytest.raises(DataError, match="a and b do not name the same classes"):
        concatenate([ImageSet("a", x, y), ImageSet("b", x, y, tuple("0123456789"))])


def test_labels_of_a_damaged_cifar10_batch_are_refused(binary_members, tmp_path):
    sound = bytearray(binary_members["test_batch.bin"])
    sound[0] = 10
    (tmp_path / "test_batch.bin").write_bytes(sound)
    with pytest.raises(DataError, match=r"batch test_batch has labels from . to 10, not 0 to 9"):
        load_images(tmp_path, "test")


def test_a_class_in_one_set_only_is_named():
    x, _ = some_images(3)
    train = ImageSet("train", x, np.array([0, 1, 2]), ("cat", "dog", "owl"))
    with pytest.raises(DataError, match=r"train and test .*: only one has owl"):
        check_same_classes(train, ImageSet("test", x, np.array([0, 1, 1]), ("cat", "dog")))
    with pytest.raises(DataError, match="number them differently"):
        check_same_classes(train, ImageSet("test", x, np.arange(3), ("cat", "owl", "dog")))
    with pytest.raises(DataError, match=r"only one has labels \[1, 3\]"):
        check_same_classes(train, ImageSet("test", x, np.array([0, 2, 3])))
    check_same_classes(train, ImageSet("test", x, np.array([2, 1, 0])))


def numbered(sizes: list[int]) -> ImageSet:
    """Each image's first pixel is its place in the set."""
    y = np.random.default_rng(1).permutation(np.repeat(np.arange(len(sizes)), sizes))
    x = np.zeros((len(y), 2, 2, 3), np.uint8)
    x[:, 0, 0, 0] = np.arange(len(y))
    return ImageSet("numbered", x, y, tuple("abcdefghij"[: len(sizes)]))


@pytest.mark.parametrize(
    ("held_out", "counts"),
    [(0.1, [4, 10, 6]), (20, [4, 10, 6]), (21, [4, 11, 6]), (0.5, [20, 50, 30])],
)
def test_split_takes_the_same_share_of_every_class(held_out, counts):
    images = numbered([40, 100, 60])
    rest, held = split(images, held_out, seed=5)
    assert np.bincount(held.y).tolist() == counts
    first, second = rest.x[:, 0, 0, 0], held.x[:, 0, 0, 0]
    assert sorted([*first, *second]) == list(range(200))
    assert (np.diff(first.astype(int)) > 0).all() and (np.diff(second.astype(int)) > 0).all()
    np.testing.assert_array_equal(images.y[second], held.y)
    assert rest.classes == held.classes == images.classes
    assert split(images, held_out, seed=5)[1].digest == held.digest
    assert split(images, held_out, seed=6)[1].digest != held.digest


@pytest.mark.parametrize("held_out", [0, 1, -5, 10, 9, 0.0, 0.04, 1.0, 5.0, float("nan")])
def test_splits_that_leave_a_class_out_are_refused(held_out):
    with pytest.raises(DataError, match=f"cannot hold out {held_out} of 10 images in 2 classes"):
        split(numbered([2, 8]), held_out, seed=0)
