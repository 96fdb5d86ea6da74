"""How the C library and the interpreter handle the memory of a process that lasts."""

import ctypes
import gc

#: New objects after which the collector looks for garbage, and how often it looks at older ones: nearly all that is dropped here is freed
#: without it, and under load its looks at what is alive are work for nothing.
_COLLECT_AFTER = (5_000, 10, 10)
#: While a process starts: what it imports stays, and each look at all of it takes longer than the one before.
_COLLECT_AFTER_AT_START = (200_000, 10, 10)
#: glibc's ``mallopt(3)``: the most heaps that threads may have between them.
_M_ARENA_MAX = -8


def limit_malloc_arenas() -> None:
    """Have all threads take memory from one heap; call before there are any.

    By default glibc gives up to eight threads a core a heap each, and what is free in one is of no use to a thread that has another: where
    texts are made on one thread and stored and sent on others, the process grows for long though it holds no more than in its first
    minute. Little is lost by it, for the interpreter lets one thread work at a time. Other C libraries have one heap, and no such call.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)


def collect_rarely() -> None:
    """Have the garbage collector look seldom, while a process starts; `freeze_gc` ends that."""
    gc.set_threshold(*_COLLECT_AFTER_AT_START)


def freeze_gc() -> None:
    """Have the garbage collector look no more at what is there now, and more rarely at what comes."""
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)
