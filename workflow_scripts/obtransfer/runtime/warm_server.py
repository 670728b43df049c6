"""The warm process: imports torch, torchvision and timm once and forks a child for every step (`obtransfer.runtime.warm`)."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from obtransfer.runtime.stop import SIGNALS
from obtransfer.runtime.warm import IDLE_SECONDS, PACKAGES, Message, lock

_PR_SET_PDEATHSIG = 1


def serve(descriptor: int, address: Path) -> None:
    """Import once, then fork a child for every request until idle."""
    listener = socket.socket(fileno=descriptor)
    for package in PACKAGES:
        importlib.import_module(package)
    gc.collect()
    gc.freeze()
    Server(listener).run(address)


class Server:
    """Forks a child per request, reports its exit status, and kills it when its caller is gone.

    Attributes:
        steps: number of the child's process -> the descriptor that tells its end, and the connection to its caller.
        stopped: whether the server ends as soon as there are no steps.
    """

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.selector = selectors.DefaultSelector()
        self.selector.register(listener, selectors.EVENT_READ, self._accept)
        self.steps: dict[int, tuple[int, socket.socket]] = {}
        self.stopped = False
        signal.signal(signal.SIGTERM, self._stop)

    def run(self, address: Path) -> None:
        """Serve until nothing has run for `IDLE_SECONDS`."""
        while not self.stopped or self.steps:
            if self._handle(None if self.steps else IDLE_SECONDS):
                continue
            # Callers connect under the same lock: after it nobody can be waiting on a socket that closes.
            with lock(address):
                if not self._handle(0):
                    address.unlink(missing_ok=True)
                    return

    def _stop(self, *_: Any) -> None:
        """SLURM signals every process of a job: children may be saving, and die with this one."""
        self.stopped = True
        if not self.steps:
            sys.exit(128 + signal.SIGTERM)

    def _handle(self, timeout: float | None) -> bool:
        events = self.selector.select(timeout)
        for key, _ in events:
            if key.fd in self.selector.get_map():
                key.data()
        return bool(events)

    def _accept(self) -> None:
        connection, _ = self.listener.accept()
        descriptors: list[int] = []
        try:
            connection.settimeout(10)
            size, descriptors, _, _ = socket.recv_fds(connection, 8, 2)
            message = json.loads(_receive(connection, int.from_bytes(size, "big")))
            self._fork(message, descriptors, connection)
        except (OSError, ValueError):
            connection.close()
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _fork(self, message: Message, descriptors: Sequence[int], connection: socket.socket) -> None:
        server = os.getpid()
        signal.pthread_sigmask(
            signal.SIG_BLOCK, SIGNALS
        )  # none may reach the child in a handler of the server
        try:
            child = os.fork()
            if child == 0:
                connection.close()
                self._close()
                _become_step(message, descriptors, server)
            watched = os.pidfd_open(child)
            self.steps[child] = watched, connection
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        self.selector.register(watched, selectors.EVENT_READ, lambda: self._reap(child))
        self.selector.register(connection, selectors.EVENT_READ, lambda: self._hear(child))

    def _close(self) -> None:
        """In a child: a caller waits until every copy of its connection is closed, so close those of the other steps."""
        self.selector.close()
        self.listener.close()
        for watched, connection in self.steps.values():
            os.close(watched)
            connection.close()

    def _hear(self, child: int) -> None:
        """Signals for the child, or the end, when the caller dies. It is not reaped yet: the number is still the child's."""
        _, connection = self.steps[child]
        try:
            numbers = connection.recv(64)
        except OSError:
            numbers = b""
        if not numbers:
            self.selector.unregister(connection)
        for number in numbers or [signal.SIGKILL]:
            os.kill(child, number)

    def _reap(self, child: int) -> None:
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        watched, connection = self.steps.pop(child)
        self.selector.unregister(watched)
        os.close(watched)
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


def _become_step(message: Message, descriptors: Sequence[int], server: int) -> None:
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
            os.close(descriptor)
        os.environ.clear()
        os.environ.update(message["environment"], OBTRANSFER_WARM="0")
        os.chdir(message["folder"])
        sys.path[:] = message["path"]
        for name in [name for name in sys.modules if name.partition(".")[0] == "obtransfer"]:
            del sys.modules[name]
        from obtransfer.runtime.execute import execute

        status = execute(message["request"])
    except BaseException:  # noqa: BLE001  its last words; the server's own stack lies below
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]))
