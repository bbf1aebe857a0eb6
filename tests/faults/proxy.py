"""A TCP proxy between the service and a store; it can cut, delay, hang, or lose one message."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from enum import Enum

CHUNK = 1 << 16


class Loss(Enum):
    """What is lost of an exchange, and whether the connection breaks or hangs."""

    REQUEST = "the server never gets the request"
    REPLY = "the server executes the request, and the connection breaks before the reply"
    SILENCE = "the server executes the request, and the connection hangs"


class Proxy:
    """Forwards everything to a port of this machine, except for the faults that a test sets.

    Attributes:
        keeps_server_open: the connection to the server stays open when the client has gone, as
            after a power cut of the client's machine.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.delay_seconds = 0.0
        self.is_cut = self.keeps_server_open = False
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._losses: list[tuple[bytes, Loss]] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Break every connection, and every new one immediately, until `mend`."""
        self.is_cut = True
        with self._lock:
            for end in list(self._open):
                self._drop(end)

    def mend(self) -> None:
        """Forward everything again."""
        self.is_cut, self.delay_seconds = False, 0.0
        with self._lock:
            self._losses.clear()

    def redirect(self, target: int) -> None:
        """Forward new connections to another port; the open ones stay."""
        self._target = target

    def lose(self, words: bytes, loss: Loss, times: int = 1) -> None:
        """Lose the next exchanges whose request contains these words."""
        with self._lock:
            self._losses += [(words, loss)] * times

    @property
    def has_lost(self) -> bool:
        """Return whether all planned losses have happened."""
        return not self._losses

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.socket() as server:
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                server.connect(("127.0.0.1", self._target))
            except OSError:
                return
            pair = {client, server}
            with self._lock:
                self._open |= pair
            if self.is_cut:
                self._drop(client)
            lost: list[Loss] = []
            back = threading.Thread(target=self._pump, args=(server, client, lost), daemon=True)
            back.start()
            self._pump(client, server, lost, is_request=True)
            back.join()
            with self._lock:
                self._open -= pair

    def _pump(
        self, source: socket.socket, sink: socket.socket, lost: list[Loss], is_request: bool = False
    ) -> None:
        """Forward one direction; an entry in `lost` says that the answer must not arrive."""
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK):
                if is_request and self._is_lost(data, lost):
                    break
                if self.delay_seconds:
                    time.sleep(self.delay_seconds)
                if lost and not is_request:
                    if lost[0] is Loss.REPLY:
                        break
                    continue
                sink.sendall(data)
        self._drop(source)
        if not (is_request and self.keeps_server_open):
            self._drop(sink)

    def _is_lost(self, data: bytes, lost: list[Loss]) -> bool:
        """Apply a planned loss to this request; return True if the request itself is lost."""
        with self._lock:
            planned = next((loss for loss in self._losses if loss[0] in data), None)
            if not planned:
                return False
            self._losses.remove(planned)
        if planned[1] is not Loss.REQUEST:
            lost.append(planned[1])
        return planned[1] is Loss.REQUEST

    @staticmethod
    def _drop(end: socket.socket) -> None:
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
