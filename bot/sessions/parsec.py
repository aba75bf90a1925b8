"""Logging in by MariaDB's parsec: a challenge signed with a key that is made of the password.

After `plugin/auth_parsec/server_parsec.cc` of MariaDB 11.8; tried on that server.
"""

from __future__ import annotations

import hashlib
import secrets

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_SCRAMBLE = 32  # bytes that each side adds to what is signed
_SALT = 18  # bytes
_MOST_ROUNDS = 3  # a server of this version asks for 1024 << 3 at most; beyond that it would only take our time


def answer(password: bytes, challenge: bytes, how: bytes) -> bytes:
    """Return our part of the challenge and the signature of both parts.

    ``how`` says how the key is made: ``P`` for PBKDF2, the rounds as a power of two above 1024, and the salt.
    Raises ``ValueError`` for anything else.
    """
    if len(challenge) < _SCRAMBLE or len(how) != 2 + _SALT or how[:1] != b"P" or how[1] > _MOST_ROUNDS:
        raise ValueError(how[:2])
    seed = hashlib.pbkdf2_hmac("sha512", password, how[2:], 1024 << how[1], _SCRAMBLE)
    ours = secrets.token_bytes(_SCRAMBLE)
    return ours + Ed25519PrivateKey.from_private_bytes(seed).sign(challenge[:_SCRAMBLE] + ours)
