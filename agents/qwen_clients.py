"""The clients of model servers that Qwen-Agent uses are imported when somebody asks for one.

Qwen-Agent imports them with itself, which takes a third of a start's time and 30 MB in every process. Nothing of ours asks a model
through them; what others have built on Qwen-Agent may.
"""

import sys
import threading
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any

#: The packages; and what Qwen-Agent asks one for as it is imported itself, by the modules that have it.
_PACKAGES: Mapping[str, Mapping[str, str]] = {
    "dashscope": {},
    "openai": {"__version__": "openai._version", "OpenAIError": "openai._exceptions"},
    "openai.types": {},
}
#: One thread imports one of them at a time; who asks for it meanwhile waits.
_importing = threading.RLock()


class _Later(ModuleType):
    """A package that is imported as soon as it is asked for anything that is not in its table."""

    def __getattribute__(self, name: str) -> Any:
        # The machinery of imports, and whoever looks through all modules, asks for names of its own.
        if not name.startswith("__") or name in ("__version__", "__all__"):
            with _importing:
                own = ModuleType.__getattribute__(self, "__dict__")
                # Where it is being imported, by this thread, it is asked by its own modules for what it has by now.
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
    """Put what stands for these packages in their places; call before Qwen-Agent is imported."""
    for name in _PACKAGES:
        if name in sys.modules:
            continue
        spec = find_spec(name)
        if spec is None:
            raise ImportError(f"Qwen-Agent has no {name} any more.")
        there = module_from_spec(spec)
        there.__class__ = _Later
        sys.modules[name] = there
        package, _, part = name.rpartition(".")
        if package:
            setattr(sys.modules[package], part, there)
