"""Imports extensions and registers what they provide, once, as a process starts; a faulty one is described in a line."""

import importlib
import inspect
import os
import socket
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any

from agents.loading import prepare_import, silence_log
from agents.specs import forget_agents
from agents.tools import RESERVED
from agents.tools.declared import declared_by, unset_in
from agents.tools.registry import BadTool, forget_tools, info_of, register_tool
from agents.tools.tool import Tool

#: The entry point group of installed packages.
ENTRY_POINTS = "thinkaloud.extensions"


class ExtensionsRefused(Exception):
    """With these extensions nothing can start; `problems` are sentences for people, one for each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class _Problem(Exception):
    """An extension cannot be used. The message continues after its name."""


def load_extensions(modules: Sequence[str], *, installed: bool = True) -> None:
    """Take the tools and agents of these modules, and of those that installed packages announce. Raises `ExtensionsRefused`.

    Extensions that were loaded before are unloaded first.
    """
    forget_tools()
    forget_agents()
    wanted: dict[str, str | EntryPoint] = {name: name for name in modules}
    if installed:
        wanted |= {point.value: point for point in entry_points(group=ENTRY_POINTS) if point.value not in wanted}
    problems: list[str] = []
    for name, source in wanted.items():
        try:
            _load_module(name, source)
        except _Problem as problem:
            where = "EXTENSIONS" if isinstance(source, str) else f"the installed extension “{source.name}”"
            problems.append(f"{where}: {name} {problem}.")
    if problems:
        raise ExtensionsRefused(problems)


def _load_module(name: str, source: str | EntryPoint) -> None:
    loaded = _imported(name, source)
    classes = [loaded] if isinstance(loaded, type) else list(_classes_of(loaded))
    registered = 0
    for each in classes:
        try:
            registered += _register_class(each, name)
        except (BadTool, ValueError) as error:
            raise _Problem(f"can't be used: {each.__name__} {error}") from None
    if not registered:
        raise _Problem("contains no tool and no agent")


def _imported(name: str, source: str | EntryPoint) -> Any:
    prepare_import()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name) if isinstance(source, str) else source.load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - a module may do anything while it is imported
        raise _Problem(_why_not(name, error)) from None
    finally:
        silence_log()
        _restore_resolution()


def _restore_resolution() -> None:
    """Undo what an unused tool of Qwen-Agent does when an extension imports it: addresses of names were IPv4 alone."""
    if (search := sys.modules.get("qwen_agent.tools.image_search")) is not None:
        socket.getaddrinfo = search._orig_getaddrinfo  # noqa: SLF001


def _why_not(name: str, error: BaseException) -> str:
    """Why a module cannot be imported, in one line that says where the error is."""
    if (
        isinstance(error, ModuleNotFoundError)
        and error.name
        and (name == error.name or name.startswith(f"{error.name}."))
    ):
        return "can't be imported: there is no such module"
    reason = " ".join(str(error).split())[:300]
    cause = f"{type(error).__name__}: {reason}" if reason else type(error).__name__
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
    own = [frame for frame in frames if frame.filename != __file__]
    where = f", {os.path.basename(own[-1].filename)} line {own[-1].lineno}" if own else ""  # noqa: PTH119
    return f"can't be imported ({cause}{where})"


def _classes_of(module: ModuleType) -> Iterator[type]:
    """The classes that a module offers: those it names in ``__all__``, else those that it or a module below it has defined."""
    named = getattr(module, "__all__", None)
    found: dict[type, None] = {}
    for name, value in vars(module).items():
        if isinstance(value, type) and (name in named if named is not None else _is_from(module, value)):
            found[value] = None
    # A module may be imported for nothing but that it registers its tools.
    for value in getattr(sys.modules.get("qwen_agent.tools.base"), "TOOL_REGISTRY", {}).values():
        if _is_from(module, value):
            found[value] = None
    yield from found


def _is_from(module: ModuleType, value: type) -> bool:
    return value.__module__ == module.__name__ or value.__module__.startswith(f"{module.__name__}.")


def _register_class(each: type, origin: str) -> bool:
    """Register a class if it is of one of the three kinds; returns whether it was. Raises `ValueError` with what is wrong with it."""
    if inspect.isabstract(each):
        return False
    if Tool in each.__mro__:
        _register_tool(each, origin)
        return True
    if "qwen_agent" not in sys.modules:
        return False
    # Imported here because it imports Qwen-Agent, which this extension has done already.
    from agents.extensions import qwen_agents, qwen_tools  # noqa: PLC0415

    if qwen_tools.is_tool(each):
        _register_tool(each, origin, qwen_tools.QwenTool)
        return True
    if qwen_agents.is_agent(each):
        qwen_agents.register_class(each, origin)
        return True
    return False


def _register_tool(each: type, origin: str, adapter: Callable[[Any], Tool] = lambda tool: tool) -> None:
    settings = declared_by(each)
    try:
        # A setting that has to be set and is not may be what it is made with: what it says of itself is read without.
        tool = adapter(object.__new__(each) if unset_in(settings) else each())
        info = info_of(tool, origin, settings)
    except Exception as error:  # noqa: BLE001 - whatever it does when it is made
        reason = " ".join(str(error).split())[:200]
        raise BadTool(f"can't be made without arguments ({type(error).__name__}: {reason})") from None
    if info.name in RESERVED:
        raise BadTool(f"has the name “{info.name}”, which a built-in tool has already")
    register_tool(info, lambda: adapter(each()))
