"""A secret that is generated once, and kept in a file of the data folder."""

import contextlib
import os
import secrets
from pathlib import Path


def kept_secret(file: Path) -> str:
    """Return the secret in a file, which only its owner can read; generate it if there is none.

    Two processes that start at once get the same one: the file appears complete, by a link that only one can make.
    """
    if not file.exists():
        draft = file.with_name(f"{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.write(secrets.token_urlsafe(64))
                stream.flush()
                os.fsync(descriptor)
            # If the other process was faster, its secret is used.
            with contextlib.suppress(FileExistsError):
                os.link(draft, file)
        finally:
            draft.unlink()
    secret = file.read_text("utf-8").strip()
    if not secret:
        raise ValueError("the file is empty; delete it to have a new one made")
    return secret
