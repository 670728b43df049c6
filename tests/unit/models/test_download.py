"""Files of weights: whole and verified or not at all, through servers that do everything wrong."""

import hashlib
import threading
from pathlib import Path
from typing import Any

import pytest
from obtransfer.errors import ObtransferError
from obtransfer.models import transfer, weights_lock
from obtransfer.models.download import Fetching, fetch
from obtransfer.models.weights_lock import lock_files, locked, record

CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT).hexdigest()
HALF = len(CONTENT) // 2


@pytest.fixture
def how(tmp_path: Path) -> Fetching:
    return Fetching(locks=(tmp_path / "locks" / "weights.lock.yaml",))


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "new" / "weights"


@pytest.fixture
def address(server: Any) -> str:
    server.files["/file"] = CONTENT
    return f"{server.address}/file"


def get(address: str, target: Path, how: Fetching, sha256: str = SHA256, **more: Any) -> Any:
    return fetch({address: address}, target, how, checksums={"": sha256}, **more)


def left_behind(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


def test_a_download_is_whole_told_and_leaves_nothing_else(
    address: str, target: Path, how: Fetching, capfd: pytest.CaptureFixture[str]
) -> None:
    found = get(address, target, how)
    assert target.read_bytes() == CONTENT
    assert (found.name, found.sha256, found.num_bytes) == (address, SHA256, len(CONTENT))
    assert left_behind(target) == ["weights"]
    shown = capfd.readouterr().err
    assert f"{address}: 1.0 MB" in shown  # the size
    assert "MB of file: 100%" in shown  # the bar


@pytest.mark.parametrize("etag", [True, False])
@pytest.mark.parametrize("ranges", [True, False])
def test_cuts_are_gone_on_with(
    server: Any, address: str, target: Path, how: Fetching, naps: list[float], ranges: bool, etag: bool
) -> None:
    server.ranges, server.etag, server.behaviour = ranges, etag, ["cut", "serve"]
    get(address, target, how)
    assert target.read_bytes() == CONTENT
    assert server.asked == [("/file", None), ("/file", f"bytes={HALF}-")]
    assert naps == [1]


def test_a_cut_that_a_killed_run_left_is_gone_on_with_later(
    server: Any, address: str, target: Path, how: Fetching, naps: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "ATTEMPTS", 1)
    server.behaviour = ["cut"]
    with pytest.raises(
        ObtransferError, match=f"ended after {HALF} of {len(CONTENT)} bytes.*run the same command"
    ):
        get(address, target, how, "")
    assert left_behind(target) == ["weights.part", "weights.part.from"]
    get(address, target, how, "")
    assert target.read_bytes() == CONTENT
    assert server.asked[-1] == ("/file", f"bytes={HALF}-")
    assert left_behind(target) == ["weights"]


def test_without_a_checksum_halves_of_two_files_are_never_joined(
    server: Any, address: str, target: Path, how: Fetching, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file changes between the cut and the second attempt: its ETag tells, and all of it comes anew."""
    newer = bytes(reversed(CONTENT))
    monkeypatch.setattr(transfer.time, "sleep", lambda _: server.files.update({"/file": newer}))
    server.behaviour = ["cut"]
    get(address, target, how, "")
    assert target.read_bytes() == newer
    assert server.asked[-1] == ("/file", f"bytes={HALF}-")


def test_without_checksum_and_etag_a_cut_file_starts_anew(
    server: Any, address: str, target: Path, how: Fetching, naps: list[float]
) -> None:
    server.etag, server.behaviour = False, ["cut"]
    get(address, target, how, "")
    assert target.read_bytes() == CONTENT
    assert [wanted for _, wanted in server.asked] == [None, None]


def test_a_partial_file_of_unknown_origin_is_not_believed(address: str, target: Path, how: Fetching) -> None:
    target.parent.mkdir()
    target.with_name("weights.part").write_bytes(b"something else")
    get(address, target, how, "")
    assert target.read_bytes() == CONTENT


def test_a_partial_file_with_other_content_is_dropped_by_the_checksum(
    server: Any, address: str, target: Path, how: Fetching
) -> None:
    target.parent.mkdir()
    target.with_name("weights.part").write_bytes(b"something else")
    get(address, target, how)
    assert target.read_bytes() == CONTENT
    assert [wanted for _, wanted in server.asked] == ["bytes=14-", None]


def test_a_partial_file_that_is_whole_is_taken(
    server: Any, address: str, target: Path, how: Fetching
) -> None:
    target.parent.mkdir()
    target.with_name("weights.part").write_bytes(CONTENT)
    get(address, target, how)
    assert target.read_bytes() == CONTENT
    assert len(server.asked) == 1


def test_a_partial_file_longer_than_the_remote_one_starts_anew(
    address: str, target: Path, how: Fetching, naps: list[float]
) -> None:
    target.parent.mkdir()
    target.with_name("weights.part").write_bytes(CONTENT + b"more")
    get(address, target, how)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again_after_growing_pauses(
    server: Any,
    address: str,
    target: Path,
    how: Fetching,
    naps: list[float],
    status: int,
    capfd: pytest.CaptureFixture[str],
) -> None:
    server.behaviour = [status, status, status, "serve"]
    get(address, target, how)
    assert target.read_bytes() == CONTENT
    assert naps == [1, 2, 4]
    assert f"the server answered {status}" in capfd.readouterr().err


def test_a_server_that_says_when_to_come_back_is_obeyed(
    server: Any, address: str, target: Path, how: Fetching, naps: list[float]
) -> None:
    server.headers, server.behaviour = {"Retry-After": "7"}, [503, "serve"]
    get(address, target, how)
    assert naps == [7]


def test_patience_ends_where_there_is_no_progress(
    server: Any, address: str, target: Path, how: Fetching, naps: list[float]
) -> None:
    server.behaviour = [503] * 50
    with pytest.raises(ObtransferError, match=r"answered 503 .*, in 6 attempts; 0 bytes are kept"):
        get(address, target, how)
    assert naps == [1, 2, 4, 8, 16]
    assert not target.exists()


def test_progress_renews_patience(
    server: Any, address: str, target: Path, how: Fetching, naps: list[float]
) -> None:
    server.behaviour = ["cut"] * 12
    get(address, target, how)
    assert target.read_bytes() == CONTENT
    assert naps == [1] * 12


def test_a_stalled_connection_counts_as_cut(
    server: Any, address: str, target: Path, how: Fetching, naps: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "STALL_S", 0.3)
    server.behaviour = ["stall", "serve"]
    get(address, target, how)
    assert target.read_bytes() == CONTENT
    assert server.asked[-1] == ("/file", f"bytes={HALF}-")


def test_a_dead_server_is_named(
    server: Any, address: str, target: Path, how: Fetching, naps: list[float]
) -> None:
    server.shutdown()
    server.server_close()
    with pytest.raises(ObtransferError, match=f"{address}.*in 6 attempts"):
        get(address, target, how)
    assert len(naps) == 5


@pytest.mark.parametrize(("status", "told"), [(404, "404"), (403, "is a login needed"), (410, "410")])
def test_what_is_not_there_is_not_asked_for_again(
    server: Any, address: str, target: Path, how: Fetching, naps: list[float], status: int, told: str
) -> None:
    server.behaviour = [status]
    with pytest.raises(ObtransferError, match=f"(?s)none of the files .*{told}"):
        get(address, target, how)
    assert naps == []
    assert left_behind(target) == []


def test_another_status_is_told(server: Any, address: str, target: Path, how: Fetching) -> None:
    server.behaviour = [405]
    with pytest.raises(ObtransferError, match="the server answered 405"):
        get(address, target, how)


def test_the_second_format_is_taken_where_the_first_is_not(
    server: Any, address: str, target: Path, how: Fetching
) -> None:
    found = fetch({"first": f"{server.address}/none", "second": address}, target, how)
    assert found.name == "second"
    assert target.read_bytes() == CONTENT


def test_wrong_bytes_are_refused_and_removed(server: Any, address: str, target: Path, how: Fetching) -> None:
    server.behaviour = ["wrong"]
    with pytest.raises(ObtransferError) as error:
        get(address, target, how)
    zeros = hashlib.sha256(bytes(len(CONTENT))).hexdigest()
    for part in (address, SHA256, zeros, "try again"):
        assert part in str(error.value)
    assert left_behind(target) == []
    get(address, target, how)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("name", "more"),
    [
        (f"net-{SHA256[:8]}.pth", {"digits_in_name": True}),
        (f"net-{SHA256[:9]}.pth.tar", {"digits_in_name": True}),
        ("net.pth.tar", {"checksums": {"net.pth.tar": f"md5:{MD5[:8]}"}}),
        ("net.pth.tar", {"checksums": {"net.pth.tar": SHA256[:8]}}),
    ],
)
def test_a_publishers_short_checksum_is_enforced(
    server: Any, target: Path, how: Fetching, name: str, more: dict[str, Any]
) -> None:
    server.files[f"/a/{name}"] = CONTENT
    address = f"{server.address}/a/{name}"
    server.behaviour = ["wrong"]
    with pytest.raises(ObtransferError, match="the checksum should begin with"):
        fetch({address: address}, target, how, **more)
    fetch({address: address}, target, how, **more)
    assert target.read_bytes() == CONTENT


def test_the_checksum_on_a_hubs_redirection_is_enforced(server: Any, target: Path, how: Fetching) -> None:
    server.files["/store"] = CONTENT
    server.redirections["/model"] = ("/store", {"X-Linked-Etag": f'"{SHA256}"'})
    address = f"{server.address}/model"
    fetch({address: address}, target, how)
    assert target.read_bytes() == CONTENT
    server.redirections["/model"] = ("/store", {"X-Linked-Etag": f'"{"0" * 64}"'})
    with pytest.raises(ObtransferError, match="needed the file that the server announced"):
        fetch({address: address}, target, how)
    server.redirections["/model"] = ("/store", {"X-Linked-Etag": '"a git blob, not a SHA-256"'})
    fetch({address: address}, target, how)


def test_the_lock_file_holds_later_downloads_to_the_first(
    server: Any, address: str, target: Path, how: Fetching
) -> None:
    (lock,) = how.locks
    assert locked(lock, address) == ""
    found = get(address, target, how, "")
    record(lock, found.name, found.sha256, found.num_bytes)
    assert locked(lock, address) == SHA256
    target.unlink()
    server.files["/file"] = CONTENT[::-1]
    with pytest.raises(ObtransferError) as error:
        get(address, target, how, "")
    assert "changed since its first download" in str(error.value)
    assert f"remove {address!r} from {lock}" in str(error.value)
    assert left_behind(target) == []


def test_a_finished_file_is_taken_only_if_it_is_right(address: str, target: Path, how: Fetching) -> None:
    target.parent.mkdir()
    target.write_bytes(CONTENT)
    get("http://127.0.0.1:9/never/asked", target, how)
    target.write_bytes(b"not that")
    get(address, target, how)
    assert target.read_bytes() == CONTENT


def test_the_lock_file_is_written_whole_by_many_at_once(tmp_path: Path) -> None:
    path = tmp_path / "new" / "weights.lock.yaml"
    names = [f"https://example.org/{number}" for number in range(24)]
    threads = [threading.Thread(target=record, args=(path, name, SHA256, 1)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(locked(path, name) == SHA256 for name in names)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    before = path.read_bytes()
    record(path, names[0], "0" * 64, 2)  # what is there stays
    assert path.read_bytes() == before
    assert before.startswith(b"#")


@pytest.mark.parametrize("text", ["{", "- a list", "name: text", "\xff"])
def test_a_lock_file_that_cannot_be_read_is_an_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "weights.lock.yaml"
    path.write_bytes(text.encode("latin-1"))
    for action in (lambda: locked(path, "name"), lambda: record(path, "name", SHA256, 1)):
        with pytest.raises(ObtransferError, match=r"lock file .* can't be read"):
            action()


def test_a_folder_as_mirror_is_looked_through_first(
    server: Any, address: str, target: Path, how: Fetching, tmp_path: Path
) -> None:
    host = server.address.removeprefix("http://")
    for place in (tmp_path / "by_name" / "file", tmp_path / "by_host" / host / "file"):
        place.parent.mkdir(parents=True)
        place.write_bytes(CONTENT)
        folder = tmp_path / place.relative_to(tmp_path).parts[0]
        found = get(address, target, Fetching(str(folder), True, how.locks))
        assert (
            found.name == address
        )  # the publisher's: what is recorded is the same with and without the mirror
        target.unlink()
    hub = tmp_path / "hub" / "timm" / "net.tag" / "model.safetensors"
    hub.parent.mkdir(parents=True)
    hub.write_bytes(CONTENT)
    wanted = {
        "hub:timm/net.tag/model.safetensors": f"{server.address}/timm/net.tag/resolve/main/model.safetensors"
    }
    fetch(wanted, target, Fetching(str(tmp_path / "hub"), True, how.locks))
    assert target.read_bytes() == CONTENT
    assert server.asked == []


def test_an_address_as_mirror_is_asked_first_and_then_the_publisher(
    server: Any, target: Path, how: Fetching, naps: list[float]
) -> None:
    server.files["/proxy/publisher.example/a/file"] = CONTENT
    mirrored = Fetching(f"{server.address}/proxy/", False, how.locks)
    get("https://publisher.example/a/file", target, mirrored)
    assert server.asked == [("/proxy/publisher.example/a/file", None)]
    target.unlink()
    server.files["/other"] = CONTENT
    for behaviour in ([404], [503] * 6):  # the mirror lacks it, the mirror is out of order
        server.asked.clear()
        server.behaviour = list(behaviour)
        get(f"{server.address}/other", target, mirrored)
        assert server.asked[-1] == ("/other", None)
        target.unlink()


def test_a_mirror_with_another_file_is_an_error(
    server: Any, address: str, target: Path, how: Fetching, tmp_path: Path
) -> None:
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "file").write_bytes(b"stale")
    with pytest.raises(ObtransferError, match=r"mirror/file: .*should begin with"):
        get(address, target, Fetching(str(tmp_path / "mirror"), False, how.locks))


@pytest.mark.parametrize("mirror", ["", "folder", "address"])
def test_offline_opens_no_connection_and_says_what_to_bring_where(
    server: Any, address: str, target: Path, how: Fetching, tmp_path: Path, mirror: str
) -> None:
    places = {"": "", "folder": str(tmp_path / "mirror"), "address": server.address}
    with pytest.raises(ObtransferError) as error:
        get(address, target, Fetching(places[mirror], True, how.locks))
    assert server.asked == []
    assert "weights.offline is true" in str(error.value)
    assert f"fetch {address}, and put it here as" in str(error.value)
    if mirror == "folder":
        assert str(tmp_path / "mirror" / "file") in str(error.value)


def test_offline_does_not_touch_what_lies_on_the_disk(target: Path, tmp_path: Path, how: Fetching) -> None:
    (tmp_path / "mine").write_bytes(CONTENT)
    for address in (f"file:{tmp_path}/mine", f"file://{tmp_path}/mine"):
        get(address, target, Fetching("", True, how.locks))
        assert target.read_bytes() == CONTENT
        target.unlink()


def test_a_file_address_is_relative_to_the_working_folder(
    target: Path, tmp_path: Path, how: Fetching, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "resources").mkdir()
    (tmp_path / "resources" / "weights").write_bytes(CONTENT)
    monkeypatch.chdir(tmp_path)
    get("file:resources/weights", target, how)
    assert target.read_bytes() == CONTENT
    with pytest.raises(ObtransferError, match=r"there is no file gone"):
        get("file:gone", target, how, "00" * 32)


def test_an_unknown_scheme_is_refused(target: Path, how: Fetching) -> None:
    with pytest.raises(ObtransferError, match="a URL begins with http:// or https://"):
        get("ftp://somewhere/file", target, how)


def test_a_full_disk_is_told_as_such(
    address: str, target: Path, how: Fetching, naps: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(transfer, "_append", full)
    with pytest.raises(ObtransferError, match="no space left on the disk"):
        get(address, target, how)
    assert naps == []


def test_a_percent_sign_in_a_path_is_one(target: Path, tmp_path: Path, how: Fetching) -> None:
    """An address with file: is a URL, in which %20 is a space."""
    for name in ("mine%20.pth", "mine .pth"):
        (tmp_path / name).write_text(name)
    for address, name in (
        (f"{tmp_path}/mine%20.pth", "mine%20.pth"),
        (f"file:{tmp_path}/mine%20.pth", "mine .pth"),
    ):
        get(address, target, how, "")
        assert target.read_text() == name
        target.unlink()


def test_every_lock_file_holds_a_download(address: str, target: Path, tmp_path: Path) -> None:
    locks = tmp_path / "shipped.yaml", tmp_path / "new.yaml"
    for lock in locks:
        record(lock, address, "0" * 64, 1)
        with pytest.raises(ObtransferError, match=f"remove .* from {lock}"):
            get(address, target, Fetching(locks=locks), "")
        lock.unlink()


def test_a_checkout_that_cannot_be_written_has_new_checksums_beside_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lock_files("mine.yaml", tmp_path) == (Path("mine.yaml"),)
    assert lock_files(None, tmp_path) == (weights_lock.SHIPPED,)
    monkeypatch.setattr(
        weights_lock.os, "access", lambda path, mode: False
    )  # as root, everything can be written
    assert lock_files(None, tmp_path) == (weights_lock.SHIPPED, tmp_path / "weights.lock.yaml")
