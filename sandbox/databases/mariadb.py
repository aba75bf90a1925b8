"""A real MariaDB for one machine: runs Debian's `mariadbd` as an ordinary process."""

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

from sandbox.databases.embedded import DatabaseUnavailable, EmbeddedServer
from sandbox.processes import GuardedProcess, stop_leftover, tail

NO_SERVER = "There is no MariaDB on this machine; on Debian and Ubuntu apt-get install mariadb-server"
# With these a new server answers after 2 s and takes 91 MB of disk (10.11).
SMALL = (
    "--innodb-log-file-size=4M",
    "--innodb-buffer-pool-size=16M",
    "--innodb-data-file-path=ibdata1:5M:autoextend",
    "--innodb-flush-log-at-trx-commit=0",  # it is thrown away anyhow
    "--innodb-doublewrite=OFF",
    "--aria-log-file-size=8M",
)


def find_server() -> Path:
    """Return the installed mariadbd, or raise DatabaseUnavailable."""
    # Debian keeps servers in sbin, which is not on everybody's PATH.
    found = shutil.which("mariadbd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None or shutil.which("mariadb-install-db") is None:
        raise DatabaseUnavailable(NO_SERVER)
    return Path(found)


class EmbeddedMariaDB(EmbeddedServer):
    """A server of its own on a loopback port; without `server` the installed one.

    It reads none of the machine's option files, listens on 127.0.0.1 alone, and has nothing to do with a
    MariaDB that the machine may run as a service.
    """

    name = "MariaDB"
    own_log = "server.out"
    options: tuple[str, ...] = ()  # further ones on its command line

    def _installed(self) -> Path:
        return find_server()

    def _launch(self) -> None:
        self.base_dir.mkdir(parents=True, exist_ok=True)
        stop_leftover(self.base_dir / "server.pid", expected=str(self.base_dir))
        self.port = self._claim_port()
        data = self.base_dir / "data"
        self._temporary.mkdir(exist_ok=True)
        if not (data / "mysql").is_dir():
            self._create(data)
        command = [
            *self._program(),
            f"--datadir={data}",
            f"--tmpdir={self._temporary}",
            f"--port={self.port}",
            f"--bind-address={self.host}",
            f"--pid-file={self.base_dir / 'server.pid'}",
            # Relative to the data folder: the path of a socket holds 107 bytes at most.
            "--socket=server.sock",
            "--character-set-server=utf8mb4",
            "--collation-server=utf8mb4_general_ci",
            "--skip-log-bin",
            "--skip-name-resolve",
            "--max-connections=6000",
            *as_root(),
            *SMALL,
            *self.options,
        ]
        self._process = GuardedProcess(command, log=self.base_dir / self.own_log)

    @property
    def _temporary(self) -> Path:
        """A folder of its own: where two servers share one, who starts removes what is there, and the other crashes."""
        return self.base_dir / "tmp"

    def _program(self) -> list[str]:
        return [str(self.server), "--no-defaults"]

    def _create(self, data: Path) -> None:
        command = [
            "mariadb-install-db",
            "--no-defaults",
            f"--datadir={data}",
            f"--tmpdir={self._temporary}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--skip-name-resolve",
            *as_root(),
            *SMALL,
        ]
        log = self.base_dir / "install.out"
        with log.open("wb") as out:
            made = subprocess.run(command, stdout=out, stderr=out, check=False)  # noqa: S603 - no foreign text
        if made.returncode:
            raise DatabaseUnavailable(f"The folder of MariaDB could not be made. Its last words:\n{tail(log)}")

    def _secure(self) -> None:
        with contextlib.closing(self._wait_for_sql()) as connection, connection.cursor() as cursor:
            # There is one more root, of the machine's own name, whom skip-name-resolve keeps out.
            for host in ("localhost", self.host, "::1"):
                cursor.execute("ALTER USER root@%s IDENTIFIED BY %s", (host, self.password))


def as_root() -> list[str]:
    """Tell a server that is started by root, as in a container, that this is meant."""
    return ["--user=root"] if os.geteuid() == 0 else []
