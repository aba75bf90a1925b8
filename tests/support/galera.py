"""A Galera cluster of two real nodes on one machine, both of which take writes."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from sandbox.databases.embedded import DatabaseUnavailable
from sandbox.databases.mariadb import EmbeddedMariaDB
from tests.support.patience import PATIENCE

# Debian's package galera-4, which its mariadb-server depends on.
PROVIDER = Path("/usr/lib/galera/libgalera_smm.so")
_SMALL = "gcache.size=1M;gcache.page_size=1M"
# How a node gets the files of another one is asked of a program of that name. These have them from the start, so that
# one which joins wants nothing but what the others have done since, and that they tell it by themselves.
_METHOD = "nofiles"
_GIVES_NO_FILES = """#!/bin/sh
while [ $# -gt 0 ]; do
  case "$1" in
    --role) role=$2 ;;
    --gtid) state=$2 ;;
    --datadir) saved=$2/grastate.dat ;;
  esac
  shift
done
if [ "$role" = joiner ]; then
  echo "ready 127.0.0.1"
  echo "$(sed -n 's/^uuid: *//p' "$saved"):$(sed -n 's/^seqno: *//p' "$saved")"
else
  echo continue
  echo "done $state"
fi
"""


class Node(EmbeddedMariaDB):
    """One node of a cluster; ``others`` is the address of one that is there, '' for the first."""

    name = "MariaDB with Galera"

    def __init__(self, password: str, address: str, others: str = "") -> None:
        super().__init__(password=password)
        self.options = (
            "--binlog-format=ROW",
            "--default-storage-engine=InnoDB",
            "--innodb-autoinc-lock-mode=2",
            "--wsrep-on=ON",
            f"--wsrep-provider={PROVIDER}",
            "--wsrep-cluster-name=store",
            f"--wsrep-cluster-address=gcomm://{others}",
            f"--wsrep-node-address={address}",
            f"--wsrep-provider-options=gmcast.listen_addr=tcp://{address};ist.recv_addr={_free()};{_SMALL}",
            f"--wsrep-sst-method={_METHOD}",
        )

    def _program(self) -> list[str]:
        return ["env", f"PATH={self.base_dir}:{os.environ.get('PATH', '')}", *super()._program()]

    def _create(self, data: Path) -> None:
        super()._create(data)
        method = self.base_dir / f"wsrep_sst_{_METHOD}"
        method.write_text(_GIVES_NO_FILES, encoding="utf-8")
        method.chmod(0o700)

    def begins_as(self, other: Node) -> None:
        """Take all files of a node that was halted."""
        shutil.copytree(other.base_dir, self.base_dir, dirs_exist_ok=True, ignore=shutil.ignore_patterns("tmp"))

    def _secure(self) -> None:
        with contextlib.closing(self._wait_for_sql()) as connection, connection.cursor() as cursor:
            deadline = time.monotonic() + PATIENCE
            while not cursor.execute("SHOW STATUS WHERE Variable_name = 'wsrep_ready' AND Value = 'ON'"):
                if time.monotonic() > deadline:
                    raise DatabaseUnavailable("The node does not become one of its cluster.")
                time.sleep(0.05)
        super()._secure()


@contextlib.contextmanager
def cluster() -> Iterator[tuple[Node, Node]]:
    """Run two nodes; raises ``DatabaseUnavailable`` where there is no Galera."""
    if not PROVIDER.is_file():
        raise DatabaseUnavailable("there is no Galera on this machine")
    password, addresses = secrets.token_urlsafe(16), (_free(), _free())
    with Node(password, addresses[0]) as one:
        one.halt()
        other = Node(password, addresses[1], addresses[0])
        other.begins_as(one)
        one.start()
        with other:
            yield one, other


def _free() -> str:
    """Return an address that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return f"127.0.0.1:{probe.getsockname()[1]}"
