"""A command run as on a machine without a MariaDB and a browser: python -m tests.support.bare COMMAND ...

It gets a PATH of one folder, with links to all commands of this machine but those. What looks for a server or a
browser finds none by the way it always goes, and needs to know nothing of this. The servers that `.ci/servers` has
unpacked are looked for where there are none.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from fnmatch import fnmatch
from pathlib import Path

HIDDEN = ("mariadb*", "mysql*", "chromium*")


def path_without(folder: Path, hidden: tuple[str, ...] = HIDDEN) -> str:
    """Fill a folder with links to the commands of PATH whose names fit none of the patterns, and return it."""
    for place in map(Path, os.get_exec_path()):
        for command in place.iterdir() if place.is_dir() else ():
            here = folder / command.name
            if os.path.lexists(here) or any(fnmatch(command.name, pattern) for pattern in hidden):
                continue
            if command.name.startswith("python"):
                # A virtual environment that is made by way of a link points to the link, and dies with it.
                here.write_text(f'#!/bin/sh\nexec {shlex.quote(str(command.absolute()))} "$@"\n', encoding="utf-8")
                here.chmod(0o755)
            else:
                here.symlink_to(command.absolute())
    return str(folder)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="bare-") as links:
        bare = {**os.environ, "PATH": path_without(Path(links)), "TESTS_SERVERS": f"{links}/none"}
        sys.exit(subprocess.run(sys.argv[1:], env=bare, check=False).returncode)
