"""How a connection to a database is encrypted, and whether the server's certificate is looked at."""

from __future__ import annotations

import functools
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

TlsMode = Literal["off", "preferred", "required", "verified"]

# What tells a file from the one that was there before, and for each place where CAs are, None where nothing is.
_Stamp = tuple[tuple[int, ...] | None, ...]


@dataclass(frozen=True, slots=True)
class Tls:
    """What is wanted of a connection before the login is sent.

    ``off``: no TLS; ``preferred``: TLS where the server offers it; ``required``: TLS, of whoever answers;
    ``verified``: TLS, and a certificate for that very host from a CA of the file ``ca``, else of this machine.
    """

    mode: TlsMode = "preferred"
    ca: str | None = None

    @property
    def must(self) -> bool:
        """Whether there is no login without TLS."""
        return self.mode in ("required", "verified")

    def context(self) -> ssl.SSLContext:
        """Return what encrypts connections, the same for all that want the same: nobody may change it.

        Reading the CAs of a machine takes 17 ms of CPU and 0.8 MiB. A file of CAs that was exchanged counts from the
        next connection on. Raises ``OSError`` (``ssl.SSLError`` is one) or ``ValueError`` where ``ca`` is no file
        with a certificate.
        """
        if self.mode != "verified":
            return _trusting_anybody()
        if self.ca is not None:
            return _trusting(self.ca, (_stamp(self.ca),))
        usual = ssl.get_default_verify_paths()
        return _trusting(None, tuple(map(_stamp, (usual.cafile, usual.capath))))


PREFERRED = Tls()


@functools.cache
def _trusting_anybody() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@functools.lru_cache(maxsize=16)  # of each file the newest, and some that were exchanged
def _trusting(ca: str | None, _stamp: _Stamp) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca)
    # From Python 3.13 on it would ask for extensions that the CAs made by MySQL's own tools do not have.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def _stamp(path: str | None) -> tuple[int, ...] | None:
    if path is None:
        return None
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
