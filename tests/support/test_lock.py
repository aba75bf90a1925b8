"""The lock files hold what pyproject.toml asks for, each file with its hash, and nothing of a machine."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.lock import pinned
from tests.support.running_bot import ROOT

PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
WANTED = {
    "requirements.lock": PYPROJECT["project"]["dependencies"],
    "requirements-build.lock": PYPROJECT["build-system"]["requires"],
}
EACH_LOCK = pytest.mark.parametrize("name", WANTED)


@EACH_LOCK
def test_every_dependency_is_pinned_to_a_version_that_is_allowed(name: str) -> None:
    versions = pinned(name)
    for wanted in map(Requirement, WANTED[name]):
        version = versions.get(canonicalize_name(wanted.name))
        assert version is not None, f"{wanted.name} is not in {name}: make lock"
        assert wanted.specifier.contains(version), f"{name} has {version}, not {wanted}: make lock"


def test_what_the_drivers_extra_brings_is_pinned_as_well() -> None:
    assert any(one.startswith("PyMySQL[rsa]") for one in WANTED["requirements.lock"])
    assert "cryptography" in pinned("requirements.lock"), "MySQL 8 logins without TLS need it"


@EACH_LOCK
def test_every_pin_has_the_hashes_of_more_than_one_file(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    blocks = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    assert len(blocks) == len(pinned(name))
    for block in blocks:
        hashes = re.findall(r"--hash=sha256:[0-9a-f]{64}\b", block)
        assert len(hashes) >= 2, f"a wheel and the source at least:\n{block}"


@EACH_LOCK
def test_it_names_no_index_and_no_path(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not re.search(r"://|--(extra-)?index-url|--find-links|--trusted-host|(?<![\w.])/\w", text)
