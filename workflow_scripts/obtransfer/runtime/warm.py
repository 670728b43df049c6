"""Start steps warm: fork them from one process that has already imported torch, torchvision and timm.

Importing the three costs about eleven CPU-seconds, forking a process that has done so a few hundredths. The first
step that needs them starts a server (one per environment and working folder, on a private socket); every step
connects, hands over its request, output and environment, and waits for the exit status of the child forked for it.
The server imports third-party packages only and never computes, so a child sees today's first-party code and may
use threads and GPUs as usual. It ends after `IDLE_SECONDS` without work.

A step that is killed takes its child with it, and so does the server. Set ``OBTRANSFER_WARM=0`` to do without. Inside
a SLURM job, where one process mostly serves one step, steps import for themselves unless ``OBTRANSFER_WARM=1`` asks for
a server of that job (for groups of steps); so they do where the system lacks what this needs.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import gc
import hashlib
import importlib
import importlib.util
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

IDLE_SECONDS = 60.0
PACKAGES = ("torch", "torchvision", "timm")
SIGNALS = (signal.SIGUSR2, signal.SIGUSR1, signal.SIGTERM)  # they ask a step to end soon
_PR_SET_PDEATHSIG = 1


def possible() -> bool:
    """Whether a warm process can and should serve this one."""
    default = "0" if "SLURM_JOB_ID" in os.environ else "1"
    allowed = os.environ.get("OBTRANSFER_WARM", default) != "0"
    return allowed and hasattr(os, "pidfd_open") and len(_libraries()) == len(PACKAGES)


def run(request: dict[str, Any], preload: Sequence[str]) -> int:
    """Have `request` executed by a child of the warm process; its output is this process's.

    Args:
        request: what `obtransfer.runtime.step.execute` takes.
        preload: packages the step needs, all among `PACKAGES`.

    Returns:
        The exit status; a step killed by a signal gives 128 + its number.
    """
    unknown = set(preload) - set(PACKAGES)
    if unknown:
        raise ValueError(f"not preloaded by the warm process: {sorted(unknown)}; it has {PACKAGES}")
    message: dict[str, Any] = {
        "request": request,
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "path": sys.path,
    }
    message["ignored"] = [number for number in SIGNALS if signal.getsignal(number) is signal.SIG_IGN]
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
    with _lock(address.with_suffix(".lock")):
        try:
            connection.connect(str(address))
        except OSError:
            _start(address)
            connection.connect(str(address))
    return connection


def _address() -> Path:
    """A socket only this user (and SLURM job) reaches, for this environment in its present state and this folder."""
    # Not the folder they lie in: it changes when Python first writes its __pycache__.
    libraries = [(path, os.stat(path).st_mtime_ns, os.stat(path).st_ino) for path in _libraries()]
    job = os.environ.get("SLURM_JOB_ID", "")  # the server ends with its job, so no other job may count on it
    key = f"{libraries} {os.getcwd()} {sys.executable} {job}"
    folder = Path(tempfile.gettempdir()) / f"obtransfer-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to another user")
    return folder / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.socket"


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    with open(path, "w", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _start(address: Path) -> None:
    """Start the server on a socket that already listens, so that callers queue while it imports."""
    address.unlink(missing_ok=True)
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(address))
        listener.listen(1024)
        descriptor = listener.fileno()
        log = stack.enter_context(open(address.with_suffix(".log"), "w", encoding="utf-8"))
        subprocess.Popen(
            [sys.executable, "-m", __name__, str(descriptor), str(address)],
            pass_fds=[descriptor],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            cwd="/",
            env=os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        )


def serve(descriptor: int, address: Path) -> None:
    """Import once, then fork a child for every request until idle."""
    listener = socket.socket(fileno=descriptor)
    for package in PACKAGES:
        importlib.import_module(package)
    gc.collect()
    gc.freeze()
    Server(listener).run(address)


class Server:
    """Forks a child per request, reports its exit status, and kills it when its caller is gone."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.selector = selectors.DefaultSelector()
        self.selector.register(listener, selectors.EVENT_READ, self._accept)
        self.children = 0
        self.stopped = False
        signal.signal(signal.SIGTERM, self._stop)

    def _stop(self, *_: Any) -> None:
        """SLURM tells every process of a job: children may be saving, and die with this one."""
        self.stopped = True
        if not self.children:
            sys.exit(128 + signal.SIGTERM)

    def run(self, address: Path) -> None:
        """Serve until nothing has run for `IDLE_SECONDS`."""
        while not self.stopped or self.children:
            if self._handle(None if self.children else IDLE_SECONDS):
                continue
            # Callers connect under the same lock: after it nobody can be waiting on a socket that closes.
            with _lock(address.with_suffix(".lock")):
                if not self._handle(0):
                    address.unlink(missing_ok=True)
                    return

    def _handle(self, timeout: float | None) -> bool:
        events = self.selector.select(timeout)
        for key, _ in events:
            if key.fd in self.selector.get_map():
                key.data()
        return bool(events)

    def _accept(self) -> None:
        connection, _ = self.listener.accept()
        try:
            connection.settimeout(10)
            size, descriptors, _, _ = socket.recv_fds(connection, 8, 2)
            message = json.loads(_receive(connection, int.from_bytes(size, "big")))
        except (OSError, ValueError):
            connection.close()
            return
        self.children += 1
        server = os.getpid()
        signal.pthread_sigmask(
            signal.SIG_BLOCK, SIGNALS
        )  # the child must not lose one to a handler of the server's
        child = os.fork()
        if child == 0:
            _become_step(message, descriptors, server)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        for descriptor in descriptors:
            os.close(descriptor)
        watched = os.pidfd_open(child)
        self.selector.register(watched, selectors.EVENT_READ, lambda: self._reap(child, watched, connection))
        self.selector.register(connection, selectors.EVENT_READ, lambda: self._hear(child, connection))

    def _hear(self, child: int, connection: socket.socket) -> None:
        """Signals for the child, or the end, when the caller dies. It is not reaped yet: the number is still the child's."""
        try:
            numbers = connection.recv(64)
        except OSError:
            numbers = b""
        if not numbers:
            self.selector.unregister(connection)
        for number in numbers or [signal.SIGKILL]:
            os.kill(child, number)

    def _reap(self, child: int, watched: int, connection: socket.socket) -> None:
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        self.selector.unregister(watched)
        os.close(watched)
        self.children -= 1
        with contextlib.suppress(KeyError):
            self.selector.unregister(connection)
        with contextlib.suppress(OSError), connection:
            connection.sendall(str(code if code >= 0 else 128 - code).encode())


def _receive(connection: socket.socket, size: int) -> bytes:
    """Exactly so many bytes, unless the other side ends before: what follows them is the signals."""
    found = b""
    while len(found) < size and (part := connection.recv(size - len(found))):
        found += part
    return found


def _become_step(message: dict[str, Any], descriptors: Sequence[int], server: int) -> None:
    """In the child: take over the caller's signals, output, environment and folder, run the step and leave."""
    status = 1
    try:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN if number in message["ignored"] else signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != server:
            return  # it died before this process could ask to die with it
        for target, descriptor in zip((1, 2), descriptors, strict=True):
            os.dup2(descriptor, target)
        os.environ.clear()
        os.environ.update(message["environment"], OBTRANSFER_WARM="0")
        os.chdir(message["folder"])
        sys.path[:] = message["path"]
        for name in [name for name in sys.modules if name.partition(".")[0] == "obtransfer"]:
            del sys.modules[name]
        status = importlib.import_module("obtransfer.runtime.step").execute(message["request"])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]))
