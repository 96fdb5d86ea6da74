"""Raises the limit of files and connections that this process may have open at once."""

import logging
import resource

logger = logging.getLogger(__name__)

#: With fewer, the first pages would fail.
_LEAST = 64
#: Each open page needs one; a browser that loads a page needs six for a moment.
_USUAL = 1_024
#: More are never used; and some programs that are started from here try each number up to the limit.
_MOST = 65_536


class TooFewFiles(Exception):
    """The system allows this process too few open files; the message is for people."""


def raise_limit() -> None:
    """Raise the limit as far as the system allows; its default is lower. Raises `TooFewFiles`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # A hard limit of infinity is a negative number.
    most = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < _LEAST:
        raise TooFewFiles(f"This process may have only {most} files open at once, and needs {_LEAST}. Raise ulimit -n.")
    if most < _USUAL:
        logger.warning("This process may have only %s files and connections open at once; raise ulimit -n", most)
