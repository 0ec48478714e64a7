"""Arrays on disk that are written and read one after the other."""

import zipfile

import numpy as np
import pytest

from ncs4cvr.models.learning import npz

ARRAYS = {"b": np.arange(6).reshape(2, 3), "a_1": np.array(2.5), "a_0": np.zeros((0, 3), bool)}


@pytest.fixture(params=[False, True], ids=["stored", "compressed"])
def path(request, tmp_path):
    npz.write(f"{tmp_path}/x.npz", iter(ARRAYS.items()), compressed=request.param)
    return f"{tmp_path}/x.npz"


def test_numpy_reads_what_is_written(path):
    with np.load(path, allow_pickle=False) as arrays:
        assert set(arrays.files) == set(ARRAYS)
        for name, array in ARRAYS.items():
            np.testing.assert_array_equal(arrays[name], array)
            assert arrays[name].dtype == array.dtype


def test_what_numpy_writes_is_read(tmp_path):
    np.savez(f"{tmp_path}/y.npz", **ARRAYS)
    assert npz.Stored(f"{tmp_path}/y.npz").names == ["a_0", "a_1", "b"]
    np.testing.assert_array_equal(npz.Stored(f"{tmp_path}/y.npz").array("b"), ARRAYS["b"])


def test_arrays_stand_in_the_order_of_their_names(path):
    stored = npz.Stored(path, "a_")
    assert [array.shape for array in stored] == [(0, 3), ()]
    assert dict(stored.items())["a_1"] == 2.5
    assert stored[1] == 2.5


def test_a_changed_byte_is_found(path):
    npz.Stored(path).check()
    with zipfile.ZipFile(path) as packed:
        at = packed.getinfo("b.npy").header_offset + 60
    with open(path, "r+b") as stream:
        stream.seek(at)
        byte = stream.read(1)
        stream.seek(at)
        stream.write(bytes([byte[0] ^ 255]))
    with pytest.raises(Exception, match=r"damaged|Error|invalid"):
        npz.Stored(path).check()
