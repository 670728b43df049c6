"""Start steps warm: fork them from one process that has already imported torch, torchvision and timm.

Importing the three costs about eleven CPU-seconds, forking a process that has done so a few hundredths. The first
step that needs them starts a server (one per environment and working folder, on a private socket). Every step
connects, sends its request, output and environment, and waits for the exit status of the child forked for it; what it
sends after that are numbers of signals for the child. The server (`obtransfer.runtime.warm_server`) imports third-party
packages only and never computes, so a child sees today's first-party code and may use threads and GPUs as usual. It
ends after `IDLE_SECONDS` without work.

A step that is killed takes its child with it, and so does the server. Set ``OBTRANSFER_WARM=0`` to do without. Inside
a SLURM job, where one process mostly serves one step, steps import for themselves unless ``OBTRANSFER_WARM=1`` asks for
a server of that job (for groups of steps). Steps also import for themselves where the system lacks what this needs, or
where the folder of temporary files has no room for a private folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from obtransfer.runtime.stop import SIGNALS

if TYPE_CHECKING:
    from obtransfer.runtime.execute import StepRequest

IDLE_SECONDS = 60.0
PACKAGES = ("torch", "torchvision", "timm")


class Message(TypedDict):
    """What a caller sends, as JSON behind its length in 8 bytes.

    Attributes:
        request: of the step.
        environment: the caller's variables.
        folder: where it runs.
        path: its `sys.path`.
        ignored: numbers of the `SIGNALS` that it ignores.
    """

    request: StepRequest
    environment: dict[str, str]
    folder: str
    path: list[str]
    ignored: list[int]


def possible() -> bool:
    """Whether a warm process can and should serve this one."""
    default = "0" if "SLURM_JOB_ID" in os.environ else "1"
    if os.environ.get("OBTRANSFER_WARM", default) == "0":
        return False
    if not hasattr(os, "pidfd_open") or len(_libraries()) < len(PACKAGES):
        return False
    try:
        _folder()
    except OSError:
        return False
    return True


def run(request: StepRequest, preload: Sequence[str]) -> int:
    """Have `request` executed by a child of the warm process; its output is this process's.

    Args:
        request: what `obtransfer.runtime.execute.execute` takes.
        preload: packages the step needs, all among `PACKAGES`.

    Returns:
        The exit status; a step killed by a signal gives 128 + its number.
    """
    unknown = set(preload) - set(PACKAGES)
    if unknown:
        raise ValueError(f"not preloaded by the warm process: {sorted(unknown)}; it has {PACKAGES}")
    message: Message = {
        "request": request,
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "path": sys.path,
        "ignored": [number for number in SIGNALS if signal.getsignal(number) is signal.SIG_IGN],
    }
    with _pass_on() as hand_over, _connect() as connection:
        text = json.dumps(message).encode()
        socket.send_fds(connection, [len(text).to_bytes(8, "big")], [1, 2])
        connection.sendall(text)
        hand_over(connection)
        status = connection.makefile("rb").read()
    if not status:
        log = _address().with_suffix(".log")
        print(
            f"the warm process ended before the step did (see {log}); OBTRANSFER_WARM=0 does without",
            file=sys.stderr,
        )
        return 1
    return int(status)


@contextlib.contextmanager
def lock(address: Path) -> Iterator[None]:
    """Be the only one that connects to the server, starts it or ends it."""
    with open(address.with_suffix(".lock"), "w", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        try:
            yield
        finally:  # closing would not do: a child that was forked meanwhile has the file open, too
            fcntl.flock(stream, fcntl.LOCK_UN)


@contextlib.contextmanager
def _pass_on() -> Iterator[Callable[[socket.socket], None]]:
    """Send signals to the child instead of dying of them; those that come before there is a connection go with it."""
    early: list[int] = []
    known: list[socket.socket] = []

    def handle(number: int, _: Any) -> None:
        if not known:
            early.append(number)
            return
        with contextlib.suppress(OSError):
            known[0].send(bytes([number]))

    def hand_over(connection: socket.socket) -> None:
        known.append(connection)
        connection.sendall(bytes(early))

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield hand_over
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _libraries() -> list[str]:
    """The files that importing the packages would begin with; a package that is not installed has none."""
    specs = [importlib.util.find_spec(package) for package in PACKAGES]
    return [spec.origin for spec in specs if spec and spec.origin]


def _connect() -> socket.socket:
    address = _address()
    connection = socket.socket(socket.AF_UNIX)
    with lock(address), _short(address) as short:
        try:
            connection.connect(short)
        except OSError:
            _start(address, short)
            connection.connect(short)
    return connection


def _address() -> Path:
    """A socket only this user (and SLURM job) reaches, for this environment in its present state and this folder."""
    # Not the folder they lie in: it changes when Python first writes its __pycache__.
    libraries = [(path, os.stat(path).st_mtime_ns, os.stat(path).st_ino) for path in _libraries()]
    job = os.environ.get("SLURM_JOB_ID", "")  # the server ends with its job, so no other job may count on it
    key = f"{libraries} {os.getcwd()} {sys.executable} {job}"
    return _folder() / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.socket"


def _folder() -> Path:
    """A folder for temporary files that only this user can open.

    Raises:
        OSError: it cannot be made, or belongs to another user.
    """
    folder = Path(tempfile.gettempdir()) / f"obtransfer-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to another user")
    return folder


@contextlib.contextmanager
def _short(address: Path) -> Iterator[str]:
    """The same file by a path that fits into a socket's address, which takes 107 bytes."""
    folder = os.open(address.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{address.name}"
    finally:
        os.close(folder)


def _start(address: Path, short: str) -> None:
    """Start the server on a socket that already listens, so that callers queue while it imports."""
    address.unlink(missing_ok=True)
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(short)
        listener.listen(1024)
        descriptor = listener.fileno()
        log = stack.enter_context(open(address.with_suffix(".log"), "w", encoding="utf-8"))
        subprocess.Popen(
            [sys.executable, "-m", "obtransfer.runtime.warm_server", str(descriptor), str(address)],
            pass_fds=[descriptor],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            cwd="/",
            env=os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        )
