"""How a connection to a database is encrypted, and whether the server's certificate is looked at."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Literal

TlsMode = Literal["off", "preferred", "required", "verified"]


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
        """Make what encrypts one connection: a file of CAs that was exchanged counts from the next one on.

        Raises ``OSError`` (``ssl.SSLError`` is one) or ``ValueError`` where ``ca`` is no file with a certificate.
        """
        if self.mode != "verified":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            return context
        context = ssl.create_default_context(cafile=self.ca)
        # From Python 3.13 on it would ask for extensions that the CAs made by MySQL's own tools do not have.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return context


PREFERRED = Tls()
