"""Secrets that staff enter: stored as the name of a variable, or encrypted with ``FIELD_KEY``, but never in plain text.

A variable's name begins with ``AGENT_``: those of this program itself, as its own key, can't be asked for.
"""

import base64
import os
import re
from hashlib import sha256

from cryptography.fernet import Fernet, InvalidToken
from django.conf import settings

from agents.sentence import Sentence

_VARIABLE = re.compile(r"env:(AGENT_[A-Z0-9_]{1,80})")
#: The prefix of an encrypted value.
SEALED = "fernet:"


class BadSecret(Exception):
    """A secret can't be stored, or can't be decrypted any more; ``message`` is a sentence for people."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


def seal_secret(text: str) -> str:
    """A secret as it may be stored. Raises `BadSecret`."""
    if not text or _VARIABLE.fullmatch(text):
        return text
    if text.startswith("env:"):
        raise BadSecret(Sentence("A variable's name must begin with AGENT_, as in env:AGENT_KEY."))
    if not settings.FIELD_KEY:
        raise BadSecret(
            Sentence("Without FIELD_KEY no key can be kept here: name a variable that holds it, as in env:AGENT_KEY.")
        )
    return SEALED + _cipher().encrypt(text.encode()).decode()


def unseal_secret(stored: str) -> str:
    """The secret of what `seal_secret` made. Raises `BadSecret`."""
    if not stored:
        return ""
    if variable := _VARIABLE.fullmatch(stored):
        found = os.environ.get(variable[1], "")
        if not found:
            raise BadSecret(Sentence("The variable %(name)s is not set.", name=variable[1]))
        return found
    try:
        return _cipher().decrypt(stored.removeprefix(SEALED).encode()).decode()
    except (InvalidToken, ValueError):
        raise BadSecret(Sentence("The key was encrypted with another FIELD_KEY. Enter it again.")) from None


def can_unseal(stored: str) -> bool:
    """Whether it can be read with the current settings."""
    try:
        unseal_secret(stored)
    except BadSecret:
        return False
    return True


def describe_secret(stored: str) -> str:
    """What may be shown of it: the variable's name; for an encrypted one only that it is there."""
    return "••••••" if stored.startswith(SEALED) else stored


def _cipher() -> Fernet:
    return Fernet(base64.urlsafe_b64encode(sha256(settings.FIELD_KEY.encode()).digest()))
