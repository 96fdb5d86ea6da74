"""Work for the pool's tests, well-behaved and not."""

import os
import re
import time

held: list[bytes] = []


def echo(value: object) -> object:
    return value


def who() -> int:
    return os.getpid()


def environment() -> list[str]:
    return sorted(os.environ)


def spin() -> None:
    while True:
        pass


def backtrack(text: str) -> None:
    """Blocks the interpreter within one call for a very long time."""
    re.match(r"(a+)+$", text)


def sleep() -> None:
    time.sleep(3600)


def fail() -> None:
    raise ValueError("no")


def crash() -> None:
    os.abort()


def use_memory() -> int:
    return len(b"x" * (8 << 30))


def hold(size: int) -> int:
    held.append(b"x" * size)
    return len(held)


def write() -> None:
    with open("/tmp/untrusted-was-here", "wb") as file:  # noqa: PTH123 - as plain as can be
        file.write(b"x")
        file.flush()
