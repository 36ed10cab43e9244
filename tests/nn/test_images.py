"""Data sets: packs and the two official CIFAR-10 archives, whole and damaged."""

import io
import pickle
import struct
import tarfile

import numpy as np
import pytest
from PIL import Image

from hil.core.errors import DataError
from hil.nn.data.images import ImageSet, concatenate, load_images

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


def test_packs_of_arrays_and_of_jpegs(tmp_path):
    x, y = some_images(2)
    np.savez(tmp_path / "arrays.npz", x=x, y=y)
    loaded = load_images(tmp_path / "arrays.npz")
    np.testing.assert_array_equal(loaded.x, x)
    assert loaded.name == "arrays"
    files = []
    for _ in range(2):
        buffer = io.BytesIO()
        Image.new("RGB", (32, 32), (200, 50, 10)).save(buffer, "JPEG", quality=90)
        files.append(buffer.getvalue())
    blob = np.frombuffer(b"".join(files), np.uint8)
    offsets = np.cumsum([0, *map(len, files)])
    np.savez(tmp_path / "jpegs.npz", blob=blob, offsets=offsets, labels=y)
    decoded = load_images(tmp_path / "jpegs.npz")
    assert np.abs(decoded.x.astype(int) - (200, 50, 10)).max() < 6
    np.savez(tmp_path / "bad.npz", blob=blob[:100], offsets=offsets, labels=y)
    with pytest.raises(DataError, match="image 0 does not decode"):
        load_images(tmp_path / "bad.npz")


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
    with pytest.raises(DataError, match="3 images with 2 labels"):
        ImageSet("s", x, y[:2])
    both = concatenate([ImageSet("a", x, y), ImageSet("b", x, y)])
    assert len(both) == 6 and both.name == "a+b"
    assert both.take(3).digest == ImageSet("other name", x, y).digest
