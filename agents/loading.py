"""Imports Qwen-Agent, which takes seconds, and keeps it quiet."""

import functools
import logging
import os
import tempfile
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

from agents.qwen_clients import defer_clients
from agents.qwen_tokenizer import defer_tokenizer

_loading = threading.Lock()


def load_driver() -> Callable[..., None]:
    """The driver of Qwen-Agent's loop. The first call imports Qwen-Agent, which takes seconds."""
    with _loading:  # silencing warnings is for one thread at a time
        return _import_driver()


@functools.cache
def _import_driver() -> Callable[..., None]:
    prepare_import()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings of its many dependencies
        import agents.tools.schemas  # noqa: F401, PLC0415 - every call waits for it
        from agents.qwen import run_conversation  # noqa: PLC0415 - seconds that `import agents` must not take
    silence_log()
    return run_conversation


def prepare_import() -> None:
    """Before Qwen-Agent is imported: defer its slow imports, and keep its folder out of the working directory."""
    defer_clients()
    defer_tokenizer()
    os.environ.setdefault("QWEN_AGENT_DEFAULT_WORKSPACE", str(Path(tempfile.gettempdir()) / "qwen-agent"))


def silence_log() -> None:
    """Have Qwen-Agent, which has been imported, write to this process's log: it writes every call to stderr by a handler of its own."""
    noisy = logging.getLogger("qwen_agent_logger")
    noisy.handlers.clear()
    noisy.setLevel(logging.WARNING)
