"""Encrypts secrets in the database with ``FIELD_KEY`` or, if there is none, ``SECRET_KEY``."""

import base64
from hashlib import sha256

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings


def encrypt_text(text: str) -> str:
    """A secret, encrypted for storage."""
    return _cipher().encrypt(text.encode()).decode()


def decrypt_text(stored: str) -> str | None:
    """The secret from a result of `encrypt_text`; None if it was encrypted with none of the present keys."""
    try:
        return _cipher().decrypt(stored.encode()).decode()
    except InvalidToken:
        return None


def _cipher() -> MultiFernet:
    """Encrypts with the present key, and decrypts with the earlier ones, too."""
    keys = [settings.FIELD_KEY, settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return MultiFernet(
        [Fernet(base64.urlsafe_b64encode(sha256(f"sealed {key}".encode()).digest())) for key in keys if key]
    )
