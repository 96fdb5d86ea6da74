"""The ``.env`` file, in all forms in which people write it; each mistake is reported in a line, with the name that was meant."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from difflib import get_close_matches
from io import StringIO
from pathlib import Path

from dotenv.parser import parse_stream

#: Prefixes of this product's variables: an unknown variable of the environment with one of them is most likely a mistake.
_OUR_PREFIXES = (
    "LLM_",
    "MAX_",
    "MCP_",
    "DJANGO_SUPERUSER_",
    "CSRF_TRUSTED_",
    "ALLOWED_",
    "AUTO_",
    "RUN_LEASE",
    "SHUTDOWN_",
)
_NAME = re.compile(r"[\w.-]+")
#: How similar two names must be for a suggestion (difflib's ratio; 1 is equal).
_ALIKE, _VERY_ALIKE = 0.75, 0.85


class UnreadableFile(ValueError):
    """The file exists and cannot be read; the text is for people."""


def read_file(file: Path) -> dict[str, str]:
    """Return the settings of a ``.env`` file; empty if there is none. Raises `UnreadableFile`."""
    try:
        written = file.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UnreadableFile(f"{file.name} cannot be read ({error.strerror}).") from None
    if written.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in written:
        raise UnreadableFile(f"{file.name} must be UTF-8 text, and looks like UTF-16. Save it as UTF-8.")
    try:
        text = written.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = written.count(b"\n", 0, error.start) + 1
        raise UnreadableFile(f"{file.name} must be UTF-8 text; line {line} is not. Save it as UTF-8.") from None
    values = {}
    for each in parse_stream(StringIO(text)):
        if each.error or (each.key is not None and not _NAME.fullmatch(each.key)):
            # Ignored as by a shell, the setting would silently have no effect.
            raise UnreadableFile(f"{file.name} must be lines of NAME=value; line {each.original.line} is none.")
        if each.key is not None and each.value is not None:
            values[each.key] = each.value
    return values


def misspelt_names(written: Iterable[str], environ: Iterable[str], known: Collection[str]) -> Iterator[str]:
    """Report unknown names that are similar to a known one, in the file and, more cautiously, in the environment."""
    for names, cutoff, prefixes in ((written, _ALIKE, ("",)), (environ, _VERY_ALIKE, _OUR_PREFIXES)):
        for name in names:
            if name in known or not name.startswith(prefixes):
                continue
            meant = get_close_matches(name.upper(), known, n=1, cutoff=cutoff)
            if meant:
                yield f"{name} is no setting. Is {meant[0]} meant?"


def quoted_values(values: Mapping[str, str], known: Collection[str]) -> Iterator[str]:
    """Report values in quotes: ``docker run --env-file`` would pass the quotes as a part of them."""
    for name in sorted(values.keys() & set(known)):
        value = values[name].strip()
        if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
            yield f"{name} stands in quotes, which are no part of it. Write it without."


def joined_lines(written: Mapping[str, str], known: Collection[str]) -> Iterator[str]:
    """Report values that contain a further setting, as if two were written on one line."""
    for name, value in written.items():
        for further in re.findall(r"\s([A-Z][A-Z0-9_]+)=", value):
            if name in known and further in known:
                yield f"{name} has {further}= in its value. Write each setting on a line of its own."
