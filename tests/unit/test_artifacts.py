import errno
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from obtransfer.artifacts import (
    atomic_path,
    check_finite,
    map_tensors,
    read_table,
    read_tensors,
    stored_digest,
    write_table,
    write_tensors,
)
from obtransfer.errors import ObtransferError
from safetensors.numpy import load_file

TENSORS = {
    "weights": np.arange(6, dtype=np.float32).reshape(2, 3),
    "half": np.array([1.5], dtype=np.float16),
    "scalar": np.array(3, dtype=np.int64),
    "none": np.zeros((0, 4)),
    "bits": np.array([True, False]),
    "sliced": np.arange(12.0).reshape(3, 4)[:, ::2],
}


@pytest.fixture
def tensors_file(tmp_path: Path) -> Path:
    path = tmp_path / "new" / "folder" / "a.safetensors"
    write_tensors(path, TENSORS, kind="mask", metadata={"sparsity": "0.5"})
    return path


@pytest.mark.parametrize("read", [read_tensors, map_tensors])
def test_tensors_come_back_as_written(tensors_file: Path, read) -> None:
    found = read(tensors_file, kind="mask")
    assert found.metadata == {"sparsity": "0.5"}
    assert found.digest == stored_digest(tensors_file)
    assert found.tensors.keys() == TENSORS.keys()
    for name, array in TENSORS.items():
        assert found.tensors[name].dtype == array.dtype and found.tensors[name].shape == array.shape
        np.testing.assert_array_equal(found.tensors[name], array)


def test_the_file_is_plain_safetensors(tensors_file: Path) -> None:
    np.testing.assert_array_equal(load_file(tensors_file)["sliced"], TENSORS["sliced"])


def test_mapped_tensors_are_read_only_and_read_ones_are_not(tensors_file: Path) -> None:
    with pytest.raises(ValueError, match="read-only"):
        map_tensors(tensors_file, kind="mask").tensors["weights"][0, 0] = 1
    read_tensors(tensors_file, kind="mask").tensors["weights"][0, 0] = 1


def test_read_tensors_lie_where_torch_would_put_them(tensors_file: Path) -> None:
    """Some kernels sum in another order for arrays that begin elsewhere."""
    found = read_tensors(tensors_file, kind="mask").tensors.values()
    assert {array.ctypes.data % 64 for array in found if array.size} == {0}


def test_equal_content_gives_equal_bytes(tensors_file: Path) -> None:
    again = tensors_file.with_name("b.safetensors")
    write_tensors(again, dict(reversed(TENSORS.items())), kind="mask", metadata={"sparsity": "0.5"})
    assert again.read_bytes() == tensors_file.read_bytes()


def test_every_altered_byte_is_noticed_and_the_remedy_named(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_tensors(path, {"a": np.arange(4.0)}, kind="mask", metadata={"x": 1})
    whole = path.read_bytes()
    for position in range(len(whole)):
        altered = bytearray(whole)
        altered[position] ^= 1
        path.write_bytes(altered)
        with pytest.raises(ObtransferError, match=r"a\.safetensors"):
            read_tensors(path, kind="mask")
    path.write_bytes(whole)
    read_tensors(path, kind="mask")


@pytest.mark.parametrize("length", [0, 5, 20, 100, -1])
def test_truncated_tensors_are_named_with_the_command_that_remakes_them(
    tensors_file: Path, length: int
) -> None:
    tensors_file.write_bytes(tensors_file.read_bytes()[:length])
    with pytest.raises(
        ObtransferError, match=r"a\.safetensors is damaged.*snakemake --cores 2 --force .*a\.safe"
    ):
        map_tensors(tensors_file, kind="mask")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{}",
        '{"__metadata__": []}',
        '{"__metadata__": {"obtransfer": "[]"}}',
        "[" * 10**5,
        "\xff",
    ],
)
@pytest.mark.parametrize("length", [0, 2**40, 2**63])
def test_a_header_that_is_none_is_told_by_every_reader(tmp_path: Path, text: str, length: int) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes((length or len(text)).to_bytes(8, "little") + text.encode("latin-1"))
    for read in (lambda: read_tensors(path, kind="mask"), lambda: stored_digest(path)):
        with pytest.raises(ObtransferError, match=r"a\.safetensors is damaged"):
            read()
    path.write_bytes(b"# " + text.encode("latin-1") + b"\na,b\n")
    for read in (lambda: read_table(path, kind="mask"), lambda: stored_digest(path)):
        with pytest.raises(ObtransferError, match=r"a\.safetensors is damaged"):
            read()


def test_missing_files_name_the_command_that_makes_them(tmp_path: Path) -> None:
    for read, name in ((read_tensors, "a.safetensors"), (read_table, "a.csv")):
        with pytest.raises(
            ObtransferError, match=rf"{name} \(mask\) does not exist.*snakemake --cores 2 .*{name}"
        ):
            read(tmp_path / name, kind="mask")


def test_another_kind_is_refused(tensors_file: Path) -> None:
    with pytest.raises(ObtransferError, match="holds a 'mask' artefact where a 'scores' was needed"):
        read_tensors(tensors_file, kind="scores")


def test_tables_come_back_as_written_and_pandas_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    write_table(path, [{"task": "a,b", "accuracy": 0.1}], kind="evaluation", metadata={"density": 0.3})
    found = read_table(path, kind="evaluation")
    assert found.rows == [{"task": "a,b", "accuracy": "0.1"}]
    assert found.metadata == {"density": 0.3} and found.digest == stored_digest(path)
    assert pd.read_csv(path, comment="#").accuracy.tolist() == [0.1]


@pytest.mark.parametrize("old, new", [(b"0.25", b"0.26"), (b"0.3", b"0.4"), (b"\n", b""), (b"digest", b"d")])
def test_an_altered_table_is_noticed(tmp_path: Path, old: bytes, new: bytes) -> None:
    path = tmp_path / "a.csv"
    write_table(path, [{"accuracy": 0.25}], kind="evaluation", metadata={"density": 0.3})
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    with pytest.raises(ObtransferError, match=r"a\.csv is damaged"):
        read_table(path, kind="evaluation")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(path) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_said_plainly(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with (
        pytest.raises(ObtransferError, match=r"no space left .* a\.txt|no space left"),
        atomic_path(path) as partial,
    ):
        partial.write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert list(tmp_path.iterdir()) == []


def test_what_killed_writers_left_is_removed_and_living_ones_are_not(tmp_path: Path) -> None:
    host = os.uname().nodename
    dead, alive, elsewhere = (
        tmp_path / f".a.txt.{name}.partial" for name in (f"{host}-4999999", f"{host}-1", "other-host-4999999")
    )
    for left in (dead, alive, elsewhere):
        left.write_text("half")
    with atomic_path(tmp_path / "a.txt") as partial:
        partial.write_text("whole")
    assert {path.name for path in tmp_path.iterdir()} == {"a.txt", alive.name, elsewhere.name}


def test_nan_and_infinity_are_counted_by_name() -> None:
    check_finite({"a": np.ones(3)}, "weights")
    bad = {"a": np.ones(3), "b": np.array([np.nan, np.inf, 1]), "c": np.array([-np.inf])}
    with pytest.raises(ObtransferError, match=r"weights must be finite.* b: 2 of 3; c: 1 of 1"):
        check_finite(bad, "weights")
