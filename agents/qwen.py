"""Runs Qwen-Agent's own loop. The only module that knows Qwen-Agent's agent classes.

Importing this module imports Qwen-Agent, which takes seconds; see `agents.loading`.
"""

import functools
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from qwen_agent.agents import fncall_agent
from qwen_agent.llm import get_chat_model
from qwen_agent.llm.schema import ASSISTANT, FUNCTION, SYSTEM, USER, ContentItem, FunctionCall, Message
from qwen_agent.tools.base import BaseTool

from agents import tools
from agents.attachments import pictures_of, with_files
from agents.cancellation import CancelToken
from agents.errors import AgentError
from agents.extensions import driver, qwen_agents
from agents.history import WORD, ChatMessage, MessageToolCall, repair_tool_calls, word_message
from agents.holding import DecidedCall
from agents.json_types import JsonObject
from agents.models import base, openai_compatible
from agents.models.demo import model
from agents.models.reply_parts import Call
from agents.sentence import Sentence, join_sentences
from agents.specs import AgentSpec, ModelSettings, Parameters
from agents.steps import FileData
from agents.tools import Egress, Tool, Toolbox, ToolError
from agents.tools.keeping import KeepingTool, KeptText
from agents.tools.runner import Job, ToolOutcome, run_tool

# Qwen-Agent ends silently at a limit of its own, which is read once for all runs. The run enforces ours instead.
fncall_agent.MAX_LLM_CALL_PER_RUN = sys.maxsize


class ReplyHost(driver.Host, base.ReplyHost, Protocol):
    """The run that the loop works for: it has replies written and tools run. Its methods are called in the run's thread."""

    def begin_calls(self) -> Sequence[Call]:
        """Log the calls that the run begins with, and return them. Raises `Stopped` after a stop."""
        ...

    def decided_calls(self) -> Sequence[DecidedCall]:
        """The calls that people have decided, with which the run continues; they are in the log and in the conversation already."""
        ...

    def settle(self, call_id: str, outcome: ToolOutcome) -> None:
        """Log the outcome of a call that was not run."""
        ...

    def note(self, text: str) -> None:
        """Log a text for the run's readers that no model has written."""
        ...

    def read_words(self) -> Sequence[str]:
        """Log and return the steering words that came since the last model call. Raises `Stopped` after a stop."""
        ...

    @property
    def was_cut(self) -> bool:
        """Whether the last reply was ended early, for a steering word that is to be read at once."""
        ...


class _SharedMessages(list[Message]):
    """Messages that are passed on without a copy: nothing changes them, and a copy for each model call would be a waste."""

    def __deepcopy__(self, _memo: dict[int, Any]) -> "_SharedMessages":
        return _SharedMessages(self)


class _QwenTool(BaseTool):  # type: ignore[misc] # Qwen-Agent has no types
    """Wraps one of our tools as Qwen-Agent's."""

    def __init__(self, tool: Tool) -> None:
        # The parent's `__init__` is not called: it checks the schema against JSON Schema's own, a millisecond per tool and run.
        self.cfg: dict[str, Any] = {}
        self.name, self.description, self.parameters = tool.name, tool.description, tool.parameters
        self.tool = tool

    def call(self, params: str, **_: Any) -> str:
        return run_tool(self.tool, params, CancelToken()).content


class _Agent(fncall_agent.FnCallAgent):  # type: ignore[misc] # Qwen-Agent has no types
    """Qwen-Agent's function-calling agent. All calls of a turn have run before it asks for their results one by one."""

    def __init__(
        self,
        llm: Any,
        toolset: Mapping[str, Tool],
        host: ReplyHost,
        pictures_for: Callable[[Sequence[FileData]], list[str]],
        on_words: Callable[[Sequence[str]], None],
    ) -> None:
        self.mem = None  # else the parent makes a file store, with a folder and a model of its own
        super().__init__(llm=llm, system_message="")
        self.function_map = {name: _QwenTool(tool) for name, tool in toolset.items()}
        self._host = host
        self._pictures_for = pictures_for
        self._on_words = on_words
        self._results: deque[ToolOutcome] = deque()

    def _run(self, messages: list[Message], lang: str = "en", **kwargs: Any) -> Iterator[list[Message]]:
        yield from super()._run(_SharedMessages(messages), lang, **kwargs)

    def _call_llm(self, messages: list[Message], *args: Any, **kwargs: Any) -> Iterator[list[Message]]:
        while True:
            if words := self._host.read_words():
                self._on_words(words)
                messages += _to_qwen([word_message("\n\n".join(words))])
            output: list[Message] = []
            for output in super()._call_llm(messages, *args, **kwargs):
                yield output
            if not self._host.was_cut:
                self._run_calls(output)
                return
            # What it has written so far stays, and the model is asked again.
            messages += [message for message in output if message.content]

    def _run_calls(self, output: list[Message]) -> None:
        jobs = []
        for message in output:
            if call := message.function_call:
                adapter = self.function_map.get(call.name)
                jobs.append(Job(message.extra["function_id"], call.name, call.arguments, adapter and adapter.tool))
        if jobs:
            outcomes = self._host.run_tools(jobs)
            self._results.extend(outcomes[job.id] for job in jobs)

    def _call_tool(self, *_: Any, **__: Any) -> str | list[ContentItem]:
        outcome = self._results.popleft()
        return _content(outcome.content, self._pictures_for(outcome.files) if outcome.files else ())


def run_conversation(
    spec: AgentSpec,
    settings: ModelSettings,
    toolbox: Toolbox,
    history: Sequence[Mapping[str, Any]],
    host: ReplyHost,
) -> None:
    """Let the agent work on the conversation to its end. Blocks; raises what the host raises."""
    try:
        # Addresses in a message that another agent wrote do not count as written by a person.
        written = history if toolbox.is_asked_by_person else [each for each in history if each["role"] != USER]
        egress = Egress(written, toolbox.privacy, toolbox.hosts)
        missing: list[str] = []
        built = tools.build_tools(spec.tools, toolbox, egress, missing.append, spec.mcp)
        toolset = {name: egress.guard(tool) for name, tool in built.items()}
        if (files := toolbox.files) is not None:
            toolset = {name: KeepingTool(tool, files) for name, tool in toolset.items()}
        with_pictures = with_files(history, settings.sees_images, files.content if files else None)
        if any("images" in message for message in with_pictures):
            egress.mark()
    except ToolError as error:
        raise AgentError("tool_failed", str(error)) from error
    instructions = spec.instructions
    if missing:
        note = join_sentences([Sentence("Some tools are not available in this run."), *missing])
        host.note(note)
        instructions += f"\n\n{note}"
    pictures_for = (
        functools.partial(pictures_of, content_of=files.content) if files and settings.sees_images else _no_pictures
    )
    with_pictures = [*with_pictures, *_first_calls(toolset, host), *_decided_calls(toolset, host, pictures_for)]
    conversation = list(_to_qwen(repair_tool_calls(with_pictures)))
    if spec.agent_class:
        _run_driven(spec, settings, toolset, egress, conversation, host)
        return
    agent = _Agent(_model(settings, spec.parameters, host), toolset, host, pictures_for, egress.add_words)
    messages = _SharedMessages([Message(SYSTEM, instructions), *conversation])
    for _ in agent.run(messages, lang="en"):  # steps are passed on by the host; Qwen-Agent's own list has nothing more
        pass


def _first_calls(toolset: Mapping[str, Tool], host: ReplyHost) -> list[ChatMessage]:
    """The messages of the calls that the run begins with, once they have ended."""
    calls = host.begin_calls()
    if not calls:
        return []
    outcomes = host.run_tools([Job(call.id, call.name, call.arguments, toolset.get(call.name)) for call in calls])
    asking: list[MessageToolCall] = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in calls
    ]
    return [
        {"role": ASSISTANT, "content": "", "tool_calls": asking},
        *(
            {"role": "tool", "tool_call_id": call.id, "name": call.name, "content": outcomes[call.id].content}
            for call in calls
        ),
    ]


def _decided_calls(
    toolset: Mapping[str, Tool], host: ReplyHost, pictures_for: Callable[[Sequence[FileData]], list[str]]
) -> list[ChatMessage]:
    """The messages of the calls that people have decided, once those that were allowed have run."""
    calls = host.decided_calls()
    jobs, outcomes = [], {}
    for call in calls:
        if call.outcome is not None:
            outcomes[call.id] = call.outcome
            host.settle(call.id, call.outcome)
            continue
        tool = toolset.get(call.name)
        jobs.append(job := Job(call.id, call.name, call.arguments, tool and _NotedTool(tool, call.note)))
        job.stop.is_decided = True
    outcomes |= host.run_tools(jobs) if jobs else {}
    return [
        {
            "role": "tool",
            "tool_call_id": call.id,
            "name": call.name,
            "content": outcomes[call.id].content,
            "images": pictures_for(outcomes[call.id].files),
        }
        for call in calls
    ]


class _NotedTool:
    """A tool whose result is put after a note: a person has changed the arguments, and the model has to know."""

    def __init__(self, tool: Tool, note: str) -> None:
        self.name, self.description, self.parameters = tool.name, tool.description, tool.parameters
        self.timeout_s, self.output_limit = tool.timeout_s, tool.output_limit
        self._tool, self._note = tool, note

    def call(self, arguments: JsonObject, stop: CancelToken) -> str:
        """Call the tool. Raises `ToolError`, with the note before its text, too."""
        try:
            result = self._tool.call(arguments, stop)
        except ToolError as error:
            raise ToolError(f"{self._note}{error}") from error
        text = f"{self._note}{result}"
        return KeptText(text, result.files) if isinstance(result, KeptText) else text


def _run_driven(
    spec: AgentSpec,
    settings: ModelSettings,
    toolset: Mapping[str, Tool],
    egress: Egress,
    conversation: Sequence[Message],
    host: ReplyHost,
) -> None:
    """Let an extension's agent work on the conversation instead of ours."""
    work = driver.Work(host, egress)
    model = work.model(lambda asking: _model(settings, spec.parameters, asking))
    mixin = type("Driven", (driver.Driven,), {"work": work})
    agent = qwen_agents.make_agent(spec, model, [_QwenTool(tool) for tool in toolset.values()], mixin)
    work.run_agent(agent, conversation)


def _model(settings: ModelSettings, parameters: Parameters, host: base.ReplyHost) -> Any:
    if not settings.server:
        demo = {"model_type": model.MODEL_TYPE, "model": model.MODEL_TYPE, "host": host}
        return get_chat_model({**demo, "max_input_tokens": settings.max_input_tokens})
    return get_chat_model(
        {
            "model_type": openai_compatible.MODEL_TYPE,
            "model": settings.model,
            "model_server": settings.server,
            "api_key": settings.api_key,
            "timeout_s": settings.timeout_s,
            "tool_format": settings.tool_format,
            "max_input_tokens": settings.max_input_tokens,
            "public_only": settings.public_only,
            "parameters": parameters,
            "host": host,
        }
    )


def _no_pictures(_: Sequence[FileData]) -> list[str]:
    return []


def _content(text: str, pictures: Sequence[str]) -> str | list[ContentItem]:
    """A message's content in Qwen-Agent's format, with or without pictures."""
    return [ContentItem(text=text), *(ContentItem(image=address) for address in pictures)] if pictures else text


def _to_qwen(history: Sequence[Mapping[str, Any]]) -> Iterator[Message]:
    """OpenAI's messages as Qwen-Agent's, where each tool call is a message of its own."""
    for message in history:
        if message["role"] == "tool":
            content = _content(message["content"], message.get("images", ()))
            yield Message(FUNCTION, content, name=message["name"], extra={"function_id": message["tool_call_id"]})
        elif message["role"] != ASSISTANT:
            content = _content(message["content"], message.get("images", ()))
            marks = {WORD: True} if WORD in message else None
            yield Message(message["role"] if message["role"] == SYSTEM else USER, content, extra=marks)
        else:
            calls = message.get("tool_calls") or ()
            origin = message.get("origin")
            if message["content"] or origin or not calls:
                yield Message(ASSISTANT, message["content"], extra={"origin": origin})
            for call in calls:
                function = FunctionCall(call["function"]["name"], call["function"]["arguments"])
                extra = {"function_id": call["id"], "origin": call.get("origin")}
                yield Message(ASSISTANT, "", function_call=function, extra=extra)
