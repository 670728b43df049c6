"""Downloads: whole and verified or not at all; resumed after a cut connection."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from obtransfer.errors import ObtransferError
from obtransfer.models.download import fetch

CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class _Server(ThreadingHTTPServer):
    """Serves CONTENT at /file; cuts the first `cuts` answers in the middle; may know ranges."""

    ranges: bool
    cuts: int
    asked: list[str | None]


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append(wanted)
        if self.path != "/file":
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.server.ranges else 0
        if start >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        body = CONTENT[start:]
        if self.server.cuts > 0:
            self.server.cuts -= 1
            body = body[: len(body) // 2]
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[_Server]:
    """A local server that knows ranges and cuts nothing, unless the test says otherwise."""
    made = _Server(("127.0.0.1", 0), _Handler)
    made.ranges, made.cuts, made.asked = True, 0, []
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()


def _address(server: _Server, path: str = "file") -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/{path}"


def test_download_is_whole_and_leaves_no_partial_file(server: _Server, tmp_path: Path) -> None:
    fetch(_address(server), SHA256, tmp_path / "new" / "weights")
    assert (tmp_path / "new" / "weights").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["weights"]


@pytest.mark.parametrize("ranges", [True, False])
def test_cut_connection_is_gone_on_with(server: _Server, tmp_path: Path, ranges: bool) -> None:
    server.ranges, server.cuts = ranges, 1
    destination = tmp_path / "weights"
    with pytest.raises(ObtransferError, match="run the same command again"):
        fetch(_address(server), SHA256, destination)
    kept = len(CONTENT) // 2
    assert not destination.exists()
    assert (tmp_path / "weights.part").stat().st_size == kept
    fetch(_address(server), SHA256, destination)
    assert destination.read_bytes() == CONTENT
    assert server.asked == [None, f"bytes={kept}-"]


def test_partial_file_that_is_already_whole_is_taken(server: _Server, tmp_path: Path) -> None:
    (tmp_path / "weights.part").write_bytes(CONTENT)
    fetch(_address(server), SHA256, tmp_path / "weights")
    assert (tmp_path / "weights").read_bytes() == CONTENT


def test_partial_file_longer_than_the_remote_one_starts_anew(server: _Server, tmp_path: Path) -> None:
    (tmp_path / "weights.part").write_bytes(CONTENT + b"more")
    fetch(_address(server), None, tmp_path / "weights")
    assert (tmp_path / "weights").read_bytes() == CONTENT


def test_wrong_checksum_names_both_and_removes_the_partial_file(server: _Server, tmp_path: Path) -> None:
    with pytest.raises(ObtransferError) as error:
        fetch(_address(server), "ab" * 32, tmp_path / "weights")
    for part in (_address(server), SHA256, "ab" * 32, "try again"):
        assert part in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_missing_page_and_dead_server_are_named(server: _Server, tmp_path: Path) -> None:
    with pytest.raises(ObtransferError, match=r"/nothing: the server answered 404"):
        fetch(_address(server, "nothing"), None, tmp_path / "weights")
    server.shutdown()
    server.server_close()
    with pytest.raises(ObtransferError, match=_address(server)):
        fetch(_address(server), None, tmp_path / "weights")


def test_file_address_is_relative_to_the_root_and_resumed(tmp_path: Path) -> None:
    (tmp_path / "resources").mkdir()
    (tmp_path / "resources" / "weights").write_bytes(CONTENT)
    destination = tmp_path / "copy"
    destination.with_name("copy.part").write_bytes(CONTENT[:1000])
    fetch("file:resources/weights", SHA256, destination, root=tmp_path)
    assert destination.read_bytes() == CONTENT
    fetch(f"file://{tmp_path}/resources/weights", SHA256, tmp_path / "second", root=Path("elsewhere"))
    assert (tmp_path / "second").read_bytes() == CONTENT


def test_finished_file_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(CONTENT)
    fetch("file:gone", SHA256, tmp_path / "weights", root=tmp_path)
    with pytest.raises(ObtransferError, match=r"there is no file .*gone"):
        fetch("file:gone", "00" * 32, tmp_path / "weights", root=tmp_path)


def test_unknown_scheme_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ObtransferError, match="must start with"):
        fetch("ftp://somewhere/file", None, tmp_path / "weights")
