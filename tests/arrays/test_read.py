import sys
import types
import zipfile

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

import jaxdw as jd
from jaxdw.arrays.read import read_array
from jaxdw.arrays.real import as_float32

BF16 = np.array([[1.5, -2.0, 0.25], [3.0, 1e30, -0.0]], ml_dtypes.bfloat16)


def saved(path, values) -> str:
    np.save(path, values)
    return str(path)


@pytest.mark.parametrize(
    "dtype", ["<f4", ">f4", "<f8", ">f8", "<f2", "<i4", ">i2", "u1", "?", "<u4"]
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_is_read_in_any_order_of_bytes_and_axes(tmp_path, dtype, order):
    want = np.arange(6).reshape(2, 3).astype(dtype)
    found = read_array(saved(tmp_path / "a.npy", np.asarray(want, order=order)))
    np.testing.assert_array_equal(found.values, want)
    assert found.values.dtype == want.dtype.newbyteorder("=")
    assert found.values.dtype.isnative
    assert found.values.flags.c_contiguous
    assert (found.note, found.used_dtype) == ("", False)


def test_empty_and_scalar_arrays_keep_their_shape(tmp_path):
    for shape in [(), (0, 3)]:
        found = read_array(saved(tmp_path / "a.npy", np.zeros(shape, np.float32)))
        assert found.values.shape == shape


def test_bf16_is_found_by_its_size_and_said(tmp_path):
    found = read_array(saved(tmp_path / "a.npy", BF16))
    assert found.values.dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(found.values, BF16)
    assert found.note == "values without a type taken as the bits of bfloat16"
    assert not found.used_dtype
    with pytest.raises(jd.ConfigError, match="values of 2 bytes without a type"):
        read_array(tmp_path / "a.npy", "float32")


def test_bits_of_bf16_in_uint16_are_taken_as_such_unless_told(tmp_path):
    path = saved(tmp_path / "a.npy", BF16.view(np.uint16))
    found = read_array(path)
    np.testing.assert_array_equal(found.values, BF16)
    assert found.note == "values of uint16 taken as the bits of bfloat16"
    assert read_array(path, "float32").note == found.note  # has another size
    told = read_array(path, "uint16")
    assert (told.values.dtype, told.note, told.used_dtype) == (np.uint16, "", True)
    np.testing.assert_array_equal(told.values, BF16.view(np.uint16))


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e4m3", "float8_e4m3fnuz"])
def test_float8_has_to_be_named(tmp_path, dtype):
    want = np.array([0.5, -1.0, 8.0]).astype(getattr(ml_dtypes, dtype))
    path = saved(tmp_path / "a.npy", want)
    with pytest.raises(jd.ConfigError, match=r"a\.npy.*values of 1 bytes without a ty"):
        read_array(path)
    with pytest.raises(jd.ConfigError, match="values of 1 bytes without a type"):
        read_array(path, "bfloat16")
    found = read_array(path, dtype)
    np.testing.assert_array_equal(found.values, want)
    assert found.used_dtype


def test_float8_that_numpy_cannot_read_is_refused_with_a_way_out(tmp_path):
    path = saved(tmp_path / "a.npy", np.zeros(3, ml_dtypes.float8_e5m2))
    with pytest.raises(jd.ConfigError, match=r"float8_e5m2.*save float32"):
        read_array(path)


def test_a_dtype_is_not_used_where_the_file_has_its_own(tmp_path):
    found = read_array(saved(tmp_path / "a.npy", np.ones(3, np.float32)), "bfloat16")
    assert (found.values.dtype, found.used_dtype) == (np.float32, False)


def test_arrays_of_an_npz_are_taken_by_name(tmp_path):
    one, two = np.arange(3), np.arange(4.0)
    np.savez(tmp_path / "one.npz", only=one)
    np.savez_compressed(tmp_path / "two.npz", x=one, y=two, b=BF16)
    np.testing.assert_array_equal(read_array(tmp_path / "one.npz").values, one)
    path = str(tmp_path / "two.npz")
    np.testing.assert_array_equal(read_array(f"{path}:y").values, two)
    np.testing.assert_array_equal(read_array(f"{path}:b").values, BF16)
    with pytest.raises(jd.ConfigError, match=r"two\.npz.*3 arrays, x, y, b; name one"):
        read_array(path)
    with pytest.raises(jd.ConfigError, match=r"no array 'z'; it has x, y, b"):
        read_array(f"{path}:z")


def test_tensors_of_safetensors_are_taken_by_name(tmp_path):
    path = str(tmp_path / "a.safetensors")
    save_file({"x": BF16, "y": np.arange(3, dtype=np.float32)}, path)
    found = read_array(f"{path}:x")
    assert (found.values.dtype, found.note) == (ml_dtypes.bfloat16, "")
    np.testing.assert_array_equal(found.values, BF16)
    np.testing.assert_array_equal(read_array(f"{path}:y").values, [0, 1, 2])
    with pytest.raises(jd.ConfigError, match="2 arrays, x, y; name one"):
        read_array(path)
    save_file({"x": BF16}, path)
    np.testing.assert_array_equal(read_array(path).values, BF16)


def test_raw_values_have_the_dtype_given(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(BF16.tobytes())
    found = read_array(path, "bfloat16")
    np.testing.assert_array_equal(found.values, BF16.ravel())
    assert found.used_dtype
    with pytest.raises(jd.ConfigError, match=r"12 bytes.*whole values of float64, 8"):
        read_array(path, "float64")
    with pytest.raises(jd.ConfigError, match=r"a\.bin.*does not say its dtype"):
        read_array(path)
    with pytest.raises(jd.ConfigError, match=r"bfloat8_b.*packed in tiles.*unpack"):
        read_array(path, "bfloat8_b")
    with pytest.raises(jd.ConfigError, match=r"'fp7'.*one of bfloat16"):
        read_array(path, "fp7")


class Tensor:
    """What is used of torch's tensor."""

    is_sparse = False

    def __init__(self, values, dtype):
        self.values, self.dtype = np.asarray(values), dtype

    def detach(self):
        return self

    def is_floating_point(self):
        return self.dtype != "int64"

    def float(self):
        return Tensor(self.values.astype(np.float32), "float32")

    def numpy(self):
        assert self.dtype != "bfloat16", "NumPy has no such type"
        return self.values


def with_torch(monkeypatch, loaded):
    """Puts a torch in place whose `load` gives that back."""
    asked = {}

    def load(file, **kwargs):
        asked.update(kwargs)
        if isinstance(loaded, Exception):
            raise loaded
        return loaded

    torch = types.SimpleNamespace(
        load=load, Tensor=Tensor, bfloat16="bfloat16", float64="float64"
    )
    monkeypatch.setitem(sys.modules, "torch", torch)
    return asked


def test_a_tensor_of_torch_is_read_weights_only(tmp_path, monkeypatch):
    path = tmp_path / "a.pt"
    path.write_bytes(b"PK\x03\x04")
    asked = with_torch(monkeypatch, Tensor(BF16, "bfloat16"))
    found = read_array(path)
    assert (found.values.dtype, found.note) == (ml_dtypes.bfloat16, "")
    np.testing.assert_array_equal(found.values, BF16)
    assert asked == {"map_location": "cpu", "weights_only": True}
    with pytest.raises(jd.ConfigError, match=r"one tensor and no names.*'x'"):
        read_array(f"{path}:x")
    tensors = {"x": Tensor([1.5], "float32"), "n": Tensor([2**40], "int64"), "o": "a"}
    with_torch(monkeypatch, tensors)
    np.testing.assert_array_equal(read_array(f"{path}:n").values, [2**40])
    with pytest.raises(jd.ConfigError, match="3 arrays, x, n, o"):
        read_array(path)
    with pytest.raises(jd.ConfigError, match="must hold a tensor, not str"):
        read_array(f"{path}:o")
    with_torch(monkeypatch, RuntimeError("Weights only load failed. And\nmore"))
    with pytest.raises(jd.ConfigError, match="Weights only load failed; save the ten"):
        read_array(path)


def test_without_torch_one_line_says_how_to_convert(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "a.pt").write_bytes(b"PK\x03\x04")
    match = r"needs torch.*numpy\.save\('.*a\.npy', torch\.load\('.*a\.pt'.*weights_onl"
    with pytest.raises(jd.ConfigError, match=match):
        read_array(tmp_path / "a.pt")
    with pytest.raises(jd.ConfigError, match=r"\['w'\]\.float"):
        read_array(f"{tmp_path / 'a.pt'}:w")


def test_without_safetensors_its_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    (tmp_path / "a.safetensors").write_bytes(b"12345678")
    with pytest.raises(jd.ConfigError, match=r"a\.safetensors.*\[files\]"):
        read_array(tmp_path / "a.safetensors")


def npy_header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


HUGE = "{'descr': '<f8', 'fortran_order': False, 'shape': (4000000000000, 300), }\n"
LONG = "{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }" + " " * 20000 + "\n"


@pytest.mark.parametrize(
    ("file", "content", "match"),
    [
        ("a.npy", None, r"must be a file that exists"),
        ("a.npy", b"", "the file is empty"),
        ("a.bin", b"", "the file is empty"),
        ("a.npy", b"text", r"must be a \.npy array, but is another kind of file"),
        ("a.npy", b"PK\x03\x04rest", r"must be a \.npy array, but is a zip archive"),
        ("a.npy", b"\x80\x04rest", r"must be a \.npy array, but is a pickle"),
        ("a.npy", npy_header(HUGE) + b"12345678", "cut short"),
        ("a.npy", npy_header(LONG) + b"12345678", "header too long to be trusted"),
        ("a.npy", npy_header(HUGE)[:40], "must be a whole file of numbers"),
        ("a.npy", npy_header("{'a': 1}\n"), "must be a whole file of numbers"),
        ("a.npz", b"\x93NUMPY\x01\x00", r"must be a whole archive.*is a \.npy array"),
        ("a.npz", b"PK\x03\x04rest", "must be a whole archive of numpy.savez"),
        ("a.pt", b"\x93NUMPY\x01\x00", r"a file of torch.save, but is a \.npy array"),
        ("a.npz:x", None, r"a\.npz:x.*must be a file that exists"),
        ("a.safetensors", b"text", "must be a whole file of numbers.*header"),
        ("a.csv", b"1,2", r"must end in \.npy.*numpy\.save"),
        ("a.npy.gz", b"\x1f\x8b12", r"must end in \.npy.*is a gzip archive"),
        ("a.png", b"", r"must end in \.npy"),
    ],
)
def test_what_is_no_array_is_refused_in_one_sentence(tmp_path, file, content, match):
    if content is not None:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(jd.ConfigError, match=match) as refused:
        read_array(tmp_path / file, "float32", name="--x")
    text = str(refused.value)
    assert text.startswith("`--x` (=")
    assert "\n" not in text


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".bin", ".safetensors", ".pt"])
def test_a_folder_is_refused(tmp_path, suffix):
    (tmp_path / f"a{suffix}").mkdir()
    with pytest.raises(jd.ConfigError, match="must be a file, not a folder"):
        read_array(tmp_path / f"a{suffix}", "float32")


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors"])
def test_a_file_cut_short_anywhere_is_refused(tmp_path, suffix):
    whole, cut = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    values = np.arange(300, dtype=np.float32)
    if suffix == ".npy":
        np.save(whole, values)
    elif suffix == ".npz":
        np.savez(whole, x=values)
    else:
        save_file({"x": values}, whole)
    content = whole.read_bytes()
    np.testing.assert_array_equal(read_array(whole).values, values)
    for length in range(1, len(content), 97):
        cut.write_bytes(content[:length])
        with pytest.raises(jd.ConfigError, match=f"cut\\{suffix}"):
            read_array(cut)


def test_a_damaged_archive_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=np.arange(300))
    content = bytearray(path.read_bytes())
    content[60:70] = b"\xff" * 10
    path.write_bytes(content)
    with pytest.raises(jd.ConfigError, match=r"a\.npz.*must be a whole file"):
        read_array(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.pkl", b"\x80\x04")
    with pytest.raises(jd.ConfigError, match=r"a\.npz.*holds other files"):
        read_array(path)


@pytest.mark.parametrize(
    ("values", "match"),
    [
        (np.array([{"a": 1}], object), "pickled objects"),
        (np.zeros(3, [("a", "f4"), ("b", "i4")]), "not records"),
        (np.array(["a", "b"]), "must hold numbers, not <U1"),
        (np.array([b"ab"]), r"must hold numbers, not \|S2"),
        (np.array(["2020-01-01"], "M8[D]"), "must hold numbers, not datetime64"),
    ],
)
def test_what_is_no_number_is_refused(tmp_path, values, match):
    for suffix, save in ((".npy", np.save), (".npz", np.savez)):
        save(tmp_path / f"a{suffix}", values)
        with pytest.raises(jd.ConfigError, match=match):
            read_array(tmp_path / f"a{suffix}")


def test_a_file_whose_name_has_a_colon_is_read(tmp_path):
    path = tmp_path / "a.npz:x.npy"
    np.save(path, np.arange(3))
    np.testing.assert_array_equal(read_array(path).values, [0, 1, 2])


@pytest.mark.parametrize(
    ("values", "match"),
    [
        (np.array([1j]), r"`x` \(=complex128\).*real part"),
        (np.array([1, 2**24 + 1]), r"`x` \(=16777217, int64\).*up to 16777216"),
        (np.array([-(2**40)]), r"`x` \(=-1099511627776, int64\)"),
        (np.array([0.0, 1e300]), r"`x` \(=1e\+300, float64\).*3\.4028235e\+38"),
        (np.array(["a"]), r"`x` \(=<U1\)"),
        (np.array([None]), r"`x` \(=object\)"),
        (np.zeros(2, "V2"), r"`x` \(=\|V2\)"),
        ([[1.0], [1.0, 2.0]], "`x` must be one array of numbers"),
    ],
)
def test_values_that_float32_does_not_hold_are_refused(values, match):
    with pytest.raises(jd.ConfigError, match=match):
        as_float32(values, "x")


def test_values_become_float32():
    for values in (BF16, BF16.tolist(), BF16.astype(">f8"), BF16.astype(np.float64).T):
        found = as_float32(values, "x")
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, np.asarray(values, np.float32))
    odd = as_float32([np.inf, np.nan, -(2.0**24)], "x")
    np.testing.assert_array_equal(odd, [np.inf, np.nan, -(2.0**24)])
    assert as_float32([2**24], "x")[0] == 2**24
    masked = np.ma.masked_array([1.0, 2.0], mask=[False, True])
    np.testing.assert_array_equal(as_float32(masked, "x"), [1.0, np.nan])
    np.testing.assert_array_equal(as_float32(np.ma.masked_array([1, 2]), "x"), [1, 2])


def test_an_archive_whose_header_asks_for_too_much_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", npy_header(HUGE) + b"12345678")
    with pytest.raises(jd.ConfigError, match=r"a\.npz.*must fit in memory"):
        read_array(path)
