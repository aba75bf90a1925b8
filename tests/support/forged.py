"""A server that only claims to be the database, and asks a client for its password in every way that there is."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

SALT = bytes(range(1, 21))
# Long passwords, 4.1's protocol, logins by plugin, answers of any length.
_CAPABILITIES = 0x1 | 0x8 | 0x200 | 0x8000 | 0x80000 | 0x200000
_TLS = 0x800
_EOF = b"\xfe\x00\x00\x02\x00"
_OK = b"\x00\x00\x00\x02\x00\x00\x00"
_REFUSED = b"\xff" + struct.pack("<H", 1064) + b"#42000It knows no data to forge"
_SWITCH, _MORE = b"\xfe", b"\x01"


class Listener(ABC):
    """Takes connections on a loopback port for as long as the `with` block; ``told`` is all that clients have sent."""

    host = "127.0.0.1"

    def __init__(self) -> None:
        self._listener = socket.create_server((self.host, 0))
        self.port = int(self._listener.getsockname()[1])
        self.told = b""
        self._threads = [threading.Thread(target=self._listen, daemon=True)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()

    def _listen(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._serve(client)

    @abstractmethod
    def _serve(self, client: socket.socket) -> None: ...


class Forged(Listener):
    """A server of its own.

    ``greets`` is the login plugin that its greeting names, ``asks`` the one that it then asks for, None for none.
    With ``tls`` it offers TLS, within which it reads what it is ``told``, too. ``rows`` has for a statement the cells
    of the one row that answers it; any other SELECT is an error.
    """

    def __init__(
        self,
        greets: str = "mysql_native_password",
        asks: str | None = None,
        tls: ssl.SSLContext | None = None,
        version: str = "8.4.9",
        rows: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        super().__init__()
        self._greets = greets
        self._asks = asks
        self._tls = tls
        self._version = version
        self._rows = rows or {}
        self._key = rsa.generate_private_key(65537, 2048)
        self.logged_in = 0
        self._decrypted: list[bytes] = []

    def knows(self, password: str) -> bool:
        """Whether it can read the password in what it was sent; in a scramble it cannot."""
        return password.encode() in self.told or password.encode() in self._decrypted

    def _serve(self, client: socket.socket) -> None:
        client.settimeout(10)
        login = _Login(self, client)
        with contextlib.suppress(OSError, EOFError):  # a client that has had enough
            login.run()
        login.client.close()


class _Login:
    """One connection: packets of a header of three bytes for the length and one for the number, then a body."""

    def __init__(self, server: Forged, client: socket.socket) -> None:
        self._server = server
        self.client = client
        self._number = 0

    def run(self) -> None:
        """Play it to its end."""
        server = self._server
        offered = _CAPABILITIES | (_TLS if server._tls else 0)
        self._send(
            b"\x0a"
            + server._version.encode()
            + b"\0"
            + struct.pack("<I", 7)
            + SALT[:8]
            + b"\0"
            + struct.pack("<HBHHB", offered & 0xFFFF, 45, 2, offered >> 16, len(SALT) + 1)
            + bytes(10)
            + SALT[8:]
            + b"\0"
            + server._greets.encode()
            + b"\0"
        )
        answer = self._receive()
        if server._tls and struct.unpack("<I", answer[:4])[0] & _TLS:
            self.client = server._tls.wrap_socket(self.client, server_side=True)
            self._receive()
        asked = server._greets
        if server._asks is not None:
            asked = server._asks
            prompt = b"\x04Password: " if asked == "dialog" else SALT + b"\0"
            self._send(_SWITCH + asked.encode() + b"\0" + prompt)
            answer = self._receive()
        if asked == "caching_sha2_password":
            self._send(_MORE + b"\x04")  # not known to me by this, give me all of it
            answer = self._receive()
        if answer in (b"\x01", b"\x02"):  # asks for a key to encrypt it with
            key = server._key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            self._send(_MORE + key)
            self._decrypt(self._receive())
        self._send(_OK)
        server.logged_in += 1
        while True:
            self._number = 0
            command = self._receive()
            if command[:1] == b"\x01":  # COM_QUIT
                return
            row = server._rows.get(command[1:].decode("utf-8", "replace"))
            if row is not None:
                self._send_row(row)
            else:
                self._send(_REFUSED if command[1:].startswith(b"SELECT") else _OK)

    def _send_row(self, cells: Sequence[str]) -> None:
        self._send(bytes([len(cells)]))
        for _ in cells:
            names = b"".join(bytes([len(name)]) + name for name in (b"def", b"", b"", b"", b"cell", b"cell"))
            self._send(names + b"\x0c" + struct.pack("<HIBHB", 45, 1024, 253, 0, 0) + bytes(2))
        self._send(_EOF)
        self._send(b"".join(bytes([len(cell)]) + cell for cell in (one.encode() for one in cells)))
        self._send(_EOF)

    def _decrypt(self, sent: bytes) -> None:
        oaep = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)
        plain = self._server._key.decrypt(sent, oaep)
        self._server._decrypted.append(bytes(byte ^ SALT[at % 20] for at, byte in enumerate(plain)).rstrip(b"\0"))

    def _send(self, body: bytes) -> None:
        self.client.sendall(struct.pack("<I", len(body))[:3] + bytes([self._number]) + body)
        self._number = (self._number + 1) % 256

    def _receive(self) -> bytes:
        header = self._exactly(4)
        body = self._exactly(int.from_bytes(header[:3], "little"))
        self._number = (header[3] + 1) % 256
        return body

    def _exactly(self, count: int) -> bytes:
        read = b""
        while len(read) < count:
            piece = self.client.recv(count - len(read))
            if not piece:
                raise EOFError
            read += piece
        self._server.told += read
        return read


class Between(Listener):
    """Somebody in between, who hands everything on; where he ``strips``, he takes TLS out of the server's greeting.

    ``encrypted`` is for each client whether it asked for TLS before it logged in.
    """

    def __init__(self, host: str, port: int, *, strips: bool = False) -> None:
        super().__init__()
        self._server = (host, port)
        self._strips = strips
        self.encrypted: list[bool] = []

    def _serve(self, client: socket.socket) -> None:
        server = socket.create_connection(self._server, 10)
        greeting = bytearray(server.recv(1024))
        if self._strips:
            flags = greeting.index(0, 5) + 1 + 4 + 8 + 1  # behind version, session id and the salt's first part
            lower = int.from_bytes(greeting[flags : flags + 2], "little")
            greeting[flags : flags + 2] = (lower & ~_TLS).to_bytes(2, "little")
        client.sendall(greeting)
        self._threads += [
            threading.Thread(target=self._from_client, args=(client, server), daemon=True),
            threading.Thread(target=self._hand_on, args=(server, client), daemon=True),
        ]
        for thread in self._threads[-2:]:
            thread.start()

    def _from_client(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            first = client.recv(65536)
            if first:
                # The request for TLS is the beginning of a login, 32 bytes, and no more.
                self.encrypted.append(first[:3] == b"\x20\x00\x00")
                self._send_on(first, server)
        self._hand_on(client, server, self._send_on)

    def _hand_on(
        self,
        one: socket.socket,
        other: socket.socket,
        send: Callable[[bytes, socket.socket], None] = lambda piece, to: to.sendall(piece),
    ) -> None:
        with contextlib.suppress(OSError):
            while piece := one.recv(65536):
                send(piece, other)
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        one.close()

    def _send_on(self, piece: bytes, server: socket.socket) -> None:
        self.told += piece
        server.sendall(piece)
