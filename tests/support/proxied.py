"""A client behind an OBProxy that numbers its clients, as a server sees it: the login that such a proxy makes for one.

What a proxy adds are attributes of the connection; a server takes it for a proxy's by them alone. Then it answers a
SELECT with one more packet, and takes a fixed salt where the proxy names none ([kernel]
`src/observer/mysql/obmp_connect.cpp`, [proxy] `proxy/mysqllib/ob_mysql_packet_rewriter.cpp`). So the kernel's own
lists, views and KILL are seen as they are for such clients; routing, and that a client has several servers, are not.
"""

from __future__ import annotations

from typing import Any

import pymysql

from sandbox.databases.embedded import EmbeddedServer

_CLIENT_IDS = 1 << 21  # OB_CAP_ENABLE_CLIENT_SESSION_ID_V2
_SALT = b"aaaaaaaabbbbbbbbbbbb"


class Proxied(pymysql.Connection):
    """A session of `user` whose id is `client`, a number below 2^31."""

    salt: bytes
    _connect_attrs: dict[str, str]
    _result: Any

    def __init__(self, server: EmbeddedServer, client: int, *, user: str = "root", password: str = "", **more: Any):
        super().__init__(
            host=server.host,
            port=server.port,
            user=f"{user}@sys",
            password=password or server.password,
            defer_connect=True,
            **more,
        )
        self._connect_attrs |= {
            "__mysql_client_type": "__ob_proxy",
            "__proxy_capability_flag": str(_CLIENT_IDS),
            "__proxy_version": "4.2.3.0",
            "__connection_id": str(client),
            "__client_session_id": str(client),
            "__proxy_connection_id": str(client + 2**33),
            "__client_ip": "127.0.0.1",  # which the kernel lets in
            "__client_addr_port": "40000",
        }
        self.connect()

    def _get_server_information(self) -> None:
        super()._get_server_information()  # type: ignore[misc]  # not in PyMySQL's types
        self.salt = _SALT

    def _read_query_result(self, unbuffered: bool = False) -> Any:
        read = super()._read_query_result(unbuffered)  # type: ignore[misc]  # not in PyMySQL's types
        if self._result.description:
            self._read_packet()  # type: ignore[no-untyped-call]  # same
        return read
