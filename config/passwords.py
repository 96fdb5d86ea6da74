"""How passwords are hashed: expensive to guess, with bounded cost for this machine."""

import threading

from django.contrib.auth import hashers

#: How many hashes this process computes at a time. Each uses memory meanwhile; further ones wait.
HASHES_AT_ONCE = 2
_slots = threading.BoundedSemaphore(HASHES_AT_ONCE)


class Argon2PasswordHasher(hashers.Argon2PasswordHasher):
    """Argon2id as OWASP recommends: 19 MiB, two passes, one lane. A hash with other parameters is valid, and replaced at the next login."""

    time_cost = 2
    memory_cost = 19 * 1024
    parallelism = 1

    def encode(self, password: str, salt: str) -> str:
        """Hash a password, when its turn has come."""
        with _slots:
            return super().encode(password, salt)

    def verify(self, password: str, encoded: str) -> bool:
        """Whether a hash belongs to a password, when its turn has come."""
        with _slots:
            return super().verify(password, encoded)
