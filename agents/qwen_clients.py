"""Defers the import of the model clients that Qwen-Agent uses until somebody needs one.

Qwen-Agent would import them at once, which takes a third of a start's time and 30 MB in every process. This product does not use
them; extensions built on Qwen-Agent may.
"""

import sys
import threading
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any

#: The packages; for each, the names that Qwen-Agent needs when it is itself imported, and the modules that have them.
_PACKAGES: Mapping[str, Mapping[str, str]] = {
    "dashscope": {},
    "openai": {"__version__": "openai._version", "OpenAIError": "openai._exceptions"},
    "openai.types": {},
}
#: Only one thread imports one of them at a time; others that need it wait.
_importing = threading.RLock()


class _Later(ModuleType):
    """A package that is imported when a name that is not in its table is first needed."""

    def __getattribute__(self, name: str) -> Any:
        # The import system, and code that looks through all modules, reads dunder names.
        if not name.startswith("__") or name in ("__version__", "__all__"):
            with _importing:
                own = ModuleType.__getattribute__(self, "__dict__")
                # While this thread is importing it, its own modules get what it has by then.
                if type(self) is _Later and not own.get("_is_importing"):
                    own["_is_importing"] = True
                    try:
                        place = _PACKAGES[own["__name__"]].get(name)
                        if place is not None:
                            return getattr(import_module(place), name)
                        own["__spec__"].loader.exec_module(self)
                        self.__class__ = ModuleType  # type: ignore[assignment]
                    finally:
                        del own["_is_importing"]
        return ModuleType.__getattribute__(self, name)


def defer_clients() -> None:
    """Put placeholders for these packages into `sys.modules`. Call it before Qwen-Agent is imported."""
    for name in _PACKAGES:
        if name in sys.modules:
            continue
        spec = find_spec(name)
        if spec is None:
            raise ImportError(f"The installed Qwen-Agent has no {name}. Install the version in requirements.lock.")
        there = module_from_spec(spec)
        there.__class__ = _Later
        sys.modules[name] = there
        package, _, part = name.rpartition(".")
        if package:
            setattr(sys.modules[package], part, there)
