"""Memory settings of the C library and the interpreter for long-running processes."""

import ctypes
import gc

#: New objects after which the garbage collector runs, and how often it goes through older ones: nearly everything is freed without it, and
#: under load its passes over live objects are wasted.
_COLLECT_AFTER = (5_000, 10, 10)
#: While a process starts: what it imports stays, and each pass over all of it takes longer than the one before.
_COLLECT_AFTER_AT_START = (200_000, 10, 10)
#: glibc's ``mallopt(3)``: the most heaps that threads may have between them.
_M_ARENA_MAX = -8


def limit_malloc_arenas() -> None:
    """Have all threads use one heap. Call it before there are any threads.

    By default glibc gives up to eight threads per core a heap each, and free memory of one cannot be used by threads of another:
    when texts are created on one thread, and stored and sent on others, the process grows for a long time although it uses no more memory.
    One heap costs little, because the interpreter runs one thread at a time. Other C libraries have one heap, and no such function.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)


def collect_rarely() -> None:
    """Have the garbage collector run rarely while a process starts; `freeze_gc` ends that."""
    gc.set_threshold(*_COLLECT_AFTER_AT_START)


def freeze_gc() -> None:
    """Exclude what exists now from garbage collection for good, and have it run more rarely."""
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)
