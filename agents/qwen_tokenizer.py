"""Defers reading Qwen's tokenizer until somebody counts tokens with it.

Qwen-Agent would read it when imported, which takes a third of a second and 68 MB in every process. This product does not count with it;
extensions built on Qwen-Agent may.
"""

import functools
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from types import ModuleType
from typing import Any

_NAME = "qwen_agent.utils.tokenization_qwen"


class _Tokenizer:
    """A placeholder for the tokenizer: any use of it reads the real one."""

    def __getattr__(self, name: str) -> Any:
        return getattr(_read().tokenizer, name)

    def __len__(self) -> int:
        return len(_read().tokenizer)


def defer_tokenizer() -> None:
    """Put a placeholder for the tokenizer's module into `sys.modules`. Call it before Qwen-Agent is imported."""
    if _NAME in sys.modules:
        return
    there: Any = ModuleType(_NAME)
    there.tokenizer = _Tokenizer()
    there.count_tokens = lambda text: _read().count_tokens(text)
    there.__getattr__ = _other
    sys.modules[_NAME] = there


def _other(name: str) -> Any:
    """Any other attribute of the module. The import system's look-ups of dunder names read nothing."""
    if name.startswith("__"):
        raise AttributeError(name)
    return getattr(_read(), name)


@functools.cache
def _read() -> Any:
    """The real module."""
    from qwen_agent import utils  # noqa: PLC0415 - takes its time

    spec = PathFinder.find_spec(_NAME, utils.__path__)
    if spec is None or spec.loader is None:
        raise ImportError(f"The installed Qwen-Agent has no {_NAME}. Install the version in requirements.lock.")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
