"""Secrets of people and of their provider, encrypted in the database: with ``FIELD_KEY``, or, where there is none, ``SECRET_KEY``."""

import base64
from hashlib import sha256

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings


def encrypt_text(text: str) -> str:
    """A secret as it may be stored."""
    return _cipher().encrypt(text.encode()).decode()


def decrypt_text(stored: str) -> str | None:
    """The secret of what `encrypt_text` made; None where none of the keys of now is the one that it was made with."""
    try:
        return _cipher().decrypt(stored.encode()).decode()
    except InvalidToken:
        return None


def _cipher() -> MultiFernet:
    """Whatever key is in use; those before it read what they have sealed."""
    keys = [settings.FIELD_KEY, settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return MultiFernet(
        [Fernet(base64.urlsafe_b64encode(sha256(f"sealed {key}".encode()).digest())) for key in keys if key]
    )
