"""TLS for a store without TLS: a relay with a certificate for 127.0.0.1."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

CHUNK = 1 << 16
SSL_REQUEST = bytes((0, 0, 0, 8, 4, 210, 22, 47))
"""A PostgreSQL client sends this to request TLS; the server answers S, then TLS starts."""


def make_certificate(folder: Path) -> Path:
    """Return a file with a key and a self-signed certificate for 127.0.0.1."""
    path = folder / "tls.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-keyout", str(folder / "key"), "-out", str(folder / "certificate")]
    subprocess.run(command, check=True, capture_output=True)
    path.write_text((folder / "key").read_text() + (folder / "certificate").read_text())
    return path


@contextlib.contextmanager
def relay(target: int, certificate: Path) -> Iterator[int]:
    """Yield the port of a TLS server that forwards to a port of this machine."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        arguments = (listener, context, target)
        threading.Thread(target=_accept, args=arguments, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, context: ssl.SSLContext, target: int) -> None:
    with contextlib.suppress(OSError):
        while True:
            arguments = (listener.accept()[0], context, target)
            threading.Thread(target=_serve, args=arguments, daemon=True).start()


def _serve(plain: socket.socket, context: ssl.SSLContext, target: int) -> None:
    with plain, contextlib.suppress(OSError):
        if plain.recv(len(SSL_REQUEST), socket.MSG_PEEK) == SSL_REQUEST:
            plain.recv(len(SSL_REQUEST))
            plain.sendall(b"S")
        client = context.wrap_socket(plain, server_side=True)
        with client, socket.create_connection(("127.0.0.1", target)) as server:
            _pass_on(client, server)


def _pass_on(client: ssl.SSLSocket, server: socket.socket) -> None:
    while True:
        ready = [client] if client.pending() else select.select([client, server], [], [])[0]
        for end in ready:
            data = end.recv(CHUNK)
            if not data:
                return
            (server if end is client else client).sendall(data)
