"""Qwen-Agent's agents from extensions, by their names."""

import inspect
import re
from collections.abc import Iterator, Sequence
from typing import Any

from qwen_agent.agent import Agent
from qwen_agent.llm.schema import ASSISTANT, Message

from agents.errors import AgentError
from agents.sentence import Sentence
from agents.specs import AgentSpec, register_agent
from agents.tools.declared import declared_by, unset_in

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_classes: dict[str, type[Any]] = {}


def is_agent(each: type) -> bool:
    """Whether a class is such an agent."""
    return issubclass(each, Agent)


def register_class(each: type[Any], origin: str) -> None:
    """Register an agent of this class by its name.

    Its class may say ``agent_name``, ``title``, ``description`` and ``tools`` (names of tools that it is given); where it doesn't, the
    name is the class's own, and the description the first line of its docstring. Raises `ValueError` with what is wrong.
    """
    words = _WORDS.split(each.__name__)
    name = _declared(each, "agent_name") or "_".join(words).lower()
    if not _NAME.fullmatch(name):
        raise ValueError(f"has the name “{name[:80]}”; agents' names are small letters, digits and _, at most 40")
    tools = vars(each).get("tools")
    if not isinstance(tools, list | tuple) or not all(isinstance(tool, str) for tool in tools):
        tools = ()  # an agent may use that attribute for something else
    try:
        inspect.signature(each).bind(**_given(each, None, (), ""))
    except TypeError as error:
        raise ValueError(
            f"can't be made: its constructor needs arguments that agents are not given ({error})"
        ) from None
    summary = (each.__doc__ or "").strip().partition("\n")[0]
    description = _declared(each, "description") or summary
    register_agent(
        AgentSpec(
            name,
            _declared(each, "title") or " ".join(words),
            description,
            "",
            tuple(tools),
            mcp=(),
            agent_class=name,
        )
    )
    _classes[name] = each


def make_agent(spec: AgentSpec, model: Any, tools: Sequence[Any], mixin: type[Any]) -> Any:
    """An agent of the spec's class for one run, with ``mixin`` as its first base class, and our model and tools if it takes them.

    Raises `AgentError` if the class is not registered any more or lacks a setting.
    """
    each = _classes.get(spec.agent_class)
    if each is None:
        raise AgentError("internal", Sentence("The extension that brought this agent is not installed any more."))
    if unset := unset_in(declared_by(each)):
        message = Sentence("This agent needs %(settings)s, which is not set.", settings=", ".join(unset))
        raise AgentError("internal", message)
    driven = type(each.__name__, (mixin, each), {"__module__": each.__module__, "mem": _NoFiles()})
    return driven(**_given(each, model, tools, spec.instructions))


def _given(each: type[Any], model: Any, tools: Sequence[Any], instructions: str) -> dict[str, Any]:
    """The arguments that its constructor takes, of those that there are."""
    offered = {"llm": model}
    if tools:
        offered["function_list"] = list(tools)
    if instructions:
        offered["system_message"] = instructions  # else the agent's own stay
    parameters = inspect.signature(each).parameters
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    return {name: value for name, value in offered.items() if takes_all or name in parameters}


def _declared(each: type[Any], name: str) -> str:
    value = vars(each).get(name)
    return value if isinstance(value, str) else ""


class _NoFiles:
    """In place of Qwen-Agent's file store, which makes a folder and calls a model of its own."""

    system_files: Sequence[str] = ()

    def run(self, *_: Any, **__: Any) -> Iterator[list[Message]]:
        """Nothing is found."""
        yield [Message(ASSISTANT, "")]
