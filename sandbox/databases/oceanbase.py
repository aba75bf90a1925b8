"""A real OceanBase kernel for one machine: starts, stops, restarts and suspends the server of pylibseekdb."""

import contextlib
import importlib.util
import os
from pathlib import Path

from sandbox.databases.embedded import DatabaseUnavailable, EmbeddedServer
from sandbox.processes import GuardedProcess, stop_leftover

LOOPBACK = "127.0.0.0/8"
NO_SERVER = (
    "There is no embedded OceanBase for this platform"
    " (linux x86_64/aarch64 with glibc 2.28+, macOS arm64 15+)."
    " Point the demo at a database of your own: DEMO_DATABASE=mysql://user:password@host:port make demo"
)
# With log_disk_size=1G the server ends by itself. It takes about 600 MB of memory (330 MB on seekdb 1.4)
# whatever memory_limit says, 1G works as well, and 385 MB of disk. At INFO it logs several MB a second.
OPTIONS = (
    "--log-level=WARN",
    "--parameter=memory_limit=2G",
    "--parameter=datafile_size=256M",
    "--parameter=log_disk_size=2G",
)
# seekdb reports its host to its makers unless told not to: https://www.oceanbase.ai/docs/telemetry
ENVIRONMENT = {"TELEMETRY_ENABLED": "false"}


def find_server() -> Path:
    """Return the server binary of the installed pylibseekdb, or raise DatabaseUnavailable.

    The package is found, not imported: importing it loads a second kernel into this process.
    """
    found = importlib.util.find_spec("pylibseekdb")
    for folder in (found.submodule_search_locations if found else None) or ():
        server = Path(folder) / "seekdb"
        if server.is_file():
            return server
    raise DatabaseUnavailable(NO_SERVER)


class EmbeddedOceanBase(EmbeddedServer):
    """A server of its own on a loopback port; without `server` the one of the installed pylibseekdb.

    A server that an earlier, killed process left in `base_dir` is ended first.

    The server listens on all interfaces and cannot be told otherwise (measured on 1.3 and 1.4: `local_ip`,
    `devname` and `bind_address` change nothing), and a new one has an empty root password. So the first
    thing done on it is to refuse every login that does not come from 127.0.0.0/8 (`ob_tcp_invited_nodes`)
    and to set the password. Between its first answer and that, some milliseconds, whoever reaches the port
    can log in.
    """

    name = "embedded OceanBase"
    own_log = "log/seekdb.log"

    def _installed(self) -> Path:
        return find_server()

    def _launch(self) -> None:
        self.base_dir.mkdir(parents=True, exist_ok=True)
        stop_leftover(self.base_dir / "run" / "seekdb.pid", expected=str(self.base_dir))
        self.port = self._claim_port()
        command = [str(self.server), "--nodaemon", "--base-dir", str(self.base_dir), "--port", str(self.port)]
        self._process = GuardedProcess(
            [*command, *OPTIONS], log=self.base_dir / "server.out", environment=os.environ | ENVIRONMENT
        )

    def _secure(self) -> None:
        """Shut out other machines and the empty password, unless that was done before, and wait for the packages.

        Both survive a restart. A seekdb 1.4 that was ended in the midst of a change makes no others (docs/oceanbase.md
        10). Whoever calls a package before it is there waits, and the bot tags its sessions by one.
        """
        with contextlib.closing(self._wait_for_sql()) as connection, connection.cursor() as cursor:
            if not self._took_password:
                cursor.execute("SET GLOBAL ob_tcp_invited_nodes = %s", (LOOPBACK,))
                cursor.execute("ALTER USER root IDENTIFIED BY %s", (self.password,))
            cursor.execute("SET SESSION ob_query_timeout = %s", (int(self._start_within * 1_000_000),))
            cursor.execute("CALL dbms_application_info.set_module('', '')")
