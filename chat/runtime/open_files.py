"""How many files and connections this process may have open at once: as many as the system lets it."""

import logging
import resource

logger = logging.getLogger(__name__)

#: Fewer, and the first pages fail.
_LEAST = 64
#: Each open page takes one, and a browser that loads one takes six for a moment.
_USUAL = 1_024
#: More are never used; some programs that are started from here look at each number that they could use.
_MOST = 65_536


class TooFewFiles(Exception):
    """The system lets this process open too few; the text is for people."""


def raise_limit() -> None:
    """Take what the system gives: by default that is a part of what it would give. Raises `TooFewFiles`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Nothing below zero: without end.
    most = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < _LEAST:
        raise TooFewFiles(f"This process may have only {most} files open at once, and needs {_LEAST}. Raise ulimit -n.")
    if most < _USUAL:
        logger.warning("This process may have only %s files and connections open at once; raise ulimit -n", most)
