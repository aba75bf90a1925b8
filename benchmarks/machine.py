"""What the numbers were measured on."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.rivals import MYCLI

PACKAGES = ("slack-bolt", "slack-sdk", "PyMySQL", "SQLAlchemy", "pylibseekdb")
PROGRAMS = {"mariadbd": "--version", "mariadb": "--version", "pt-kill": "--version"}


def described() -> str:
    """The machine and the versions, as a list."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    programs = [_said([name, option]) for name, option in PROGRAMS.items()]
    programs += [_said([str(MYCLI), "--version"])]
    return "\n".join(
        [
            f"- {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, {memory:.0f} GiB of memory, "
            f"{_processor()}, Linux {platform.release().split('-')[0]}, Python {platform.python_version()}",
            f"- load average of the last 15 minutes: {os.getloadavg()[2]:.0f}, this benchmark's own part included",
            f"- {', '.join(f'{name} {version(name)}' for name in PACKAGES)}",
            f"- {'; '.join(filter(None, programs))}",
            "",
        ]
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _said(command: list[str]) -> str:
    found = shutil.which(command[0], path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        return ""
    said = subprocess.run([found, *command[1:]], capture_output=True, text=True, check=False)  # noqa: S603  # fixed
    return " ".join(said.stdout.split()).replace(str(Path(found)), command[0])
