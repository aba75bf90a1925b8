"""A place for answers that does nothing: takes each POST whole, prints when that was, says ok."""

from __future__ import annotations

import socket
import time

_OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


def main() -> None:
    """Serve one connection after the other until this process is ended."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            connection, _ = listener.accept()
            with connection:
                if _read(connection):
                    print(time.time(), flush=True)
                    connection.sendall(_OK)


def _read(connection: socket.socket) -> bool:
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            return False
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    left = int(lengths[0]) - len(body)
    while left > 0:
        left -= len(connection.recv(65536))
    return True


if __name__ == "__main__":
    main()
