"""Tool calls that models write into their text, in the forms that they were trained on, if the server has not parsed them.

A form begins at its opener only if the beginning of a call follows: prose mentions such tags, too.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agents.arguments import Balance
from agents.models.call_readers import (
    DEEPSEEK_BEGIN,
    DEEPSEEK_END,
    DEEPSEEK_SEPARATOR,
    KIMI_ARGUMENTS,
    LONGEST,
    NAME,
    RawCall,
    Schemas,
    calls_by_name,
    calls_in_lines,
    deepseek_calls,
    gemma_calls,
    grouped_calls,
    invoke_reader,
    json_or_python,
    kimi_calls,
    listed_calls,
    mistral_calls,
    one_deepseek_call,
    one_function,
    one_invoke,
    one_kimi_call,
    plugin_calls,
    python_calls,
    solar_calls,
    tool_calls,
)


@dataclass(frozen=True, slots=True)
class Form:
    """One way of writing calls."""

    opener: str
    closer: str
    """Empty if a call extends to the end of the reply."""
    starts: tuple[str, ...]
    """What must follow the opener, apart from white space …"""
    after_name: tuple[str, ...]
    """… or must follow a known tool's name there."""
    read: Callable[[str, Schemas], Sequence[RawCall]]
    """Parses the calls; raises `ValueError` or `TypeError` if there are none that can be parsed."""

    def begins(self, after: str, schemas: Schemas, *, is_all: bool) -> bool | None:
        """Whether a call begins, by the text after the opener; ``None`` while that is undecided; ``is_all``: no more text comes."""
        rest = after.lstrip()
        if len(after) - len(rest) > LONGEST:
            return False
        found = _starts(rest, self.starts)
        if not found and self.after_name:
            named = self._begins_with_name(rest, schemas)
            found = named if found is False or named else None
        return False if found is None and is_all else found

    def _begins_with_name(self, rest: str, schemas: Schemas) -> bool | None:
        name = NAME.match(rest)
        if name is None or name.end() > LONGEST:
            return None if not rest else False
        if name.end() == len(rest):
            return None
        if schemas and name[0] not in schemas:
            return False
        after = rest[name.end() :].lstrip()
        return _starts(after, self.after_name) if len(rest) - len(after) < 2 * LONGEST else False


def _starts(text: str, starts: Sequence[str]) -> bool | None:
    if text.startswith(tuple(starts)):
        return True
    return None if any(start.startswith(text) for start in starts) else False


#: All forms; anything that none of them matches remains text.
FORMS = {
    form.opener: form
    for form in (
        Form(
            "<tool_call>",
            "</tool_call>",
            ("{", "[{", "<function=", "<function name=", "<function = ", "```"),
            ("<arg_key>", "<tool_sep>", "</tool_call>", "{", "("),
            tool_calls,
        ),
        Form("<function=", "</function>", (), (">",), one_function),
        Form("<minimax:tool_call>", "</minimax:tool_call>", ("<invoke", "{"), (), invoke_reader("")),
        Form("<function_calls>", "</function_calls>", ("<invoke",), ("(",), calls_in_lines),
        Form('<invoke name="', "</invoke>", (), ('">',), one_invoke),
        Form("[TOOL_REQUEST]", "[END_TOOL_REQUEST]", ("{",), (), tool_calls),
        Form("<TOOLCALL>", "</TOOLCALL>", ("[", "{"), (), tool_calls),
        Form("<|action_start|>", "<|action_end|>", ("<|plugin|>",), (), plugin_calls),
        Form("<|python_start|>", "<|python_end|>", ("[", "{"), (), json_or_python),
        Form("<|tools_prefix|>", "<|tools_suffix|>", ("[",), (), calls_by_name),
        Form("<longcat_tool_call>", "</longcat_tool_call>", ("{",), (), tool_calls),
        Form("<seed:tool_call>", "</seed:tool_call>", ("<function=",), (), tool_calls),
        Form("<tool_calls>", "</tool_calls>", ("{", "[{", "<tool_call>"), (), grouped_calls),
        Form("<|START_ACTION|>", "<|END_ACTION|>", ("[", "{"), (), listed_calls),
        Form("<|tool_call_start|>", "<|tool_call_end|>", ("[",), (), python_calls),
        Form("<|tool_call>", "<tool_call|>", ("call:",), (), gemma_calls),
        Form("<start_function_call>", "<end_function_call>", ("call:",), (), gemma_calls),
        Form("<|tool_calls|>", "", ("<|tool_call:begin|>",), (), solar_calls),
        Form("<｜DSML｜tool_calls>", "</｜DSML｜tool_calls>", ("<｜DSML｜invoke",), (), invoke_reader("｜DSML｜")),
        Form(
            "<｜DSML｜function_calls>", "</｜DSML｜function_calls>", ("<｜DSML｜invoke",), (), invoke_reader("｜DSML｜")
        ),
        Form("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", (DEEPSEEK_BEGIN,), (), deepseek_calls),
        Form(
            DEEPSEEK_BEGIN, DEEPSEEK_END, ("function" + DEEPSEEK_SEPARATOR,), (DEEPSEEK_SEPARATOR,), one_deepseek_call
        ),
        Form("<｜tool_calls_begin｜>", "<｜tool_calls_end｜>", ("<｜tool_call_begin｜>",), (), deepseek_calls),
        Form("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>", ("<|tool_call_begin|>",), (), kimi_calls),
        Form("<|tool_call_section_begin|>", "<|tool_call_section_end|>", ("<|tool_call_begin|>",), (), kimi_calls),
        Form("<|tool_call_begin|>", "<|tool_call_end|>", ("functions.",), (KIMI_ARGUMENTS,), one_kimi_call),
        Form("[TOOL_CALLS]", "", ("[", "{"), ("[ARGS]", "[CALL_ID]", "{"), mistral_calls),
        Form("<|python_tag|>", "", ("{",), (), listed_calls),
        Form("<|tool_call|>", "", ("[", "{"), (), listed_calls),
    )
}

_NAMES = re.compile(
    r'"(?:name|tool_name)"\s*:\s*"((?:[^"\\]|\\.)*)"|<function=([^>\n]{1,256})>|\bname="([^"]{1,256})"|^\s*([\w.\-/]+)\s*(?:\[ARGS\]|\{|<arg_key>|>)'
)
_ARGUMENTS = re.compile(r'"(?:arguments|parameters)"\s*:\s*')


def name_in(begun: str) -> str:
    """The name of the tool in a call that is being written, once it is complete."""
    found = _NAMES.search(begun)
    return next(filter(None, found.groups()), "").strip() if found else ""


def arguments_in(begun: str) -> str:
    """The arguments of a call that is being written, as far as they are there."""
    if found := _ARGUMENTS.search(begun):
        return begun[found.end() :]
    return "" if begun.lstrip().startswith(("{", "[")) else begun


class Boundary:
    """Decides whether a closer in a call ends it, or is part of a string in its arguments. Fed with the text as it arrives."""

    def __init__(self, form: Form) -> None:
        self._form = form
        self._begun = self._tail = ""
        self._balance = Balance()

    def feed(self, text: str) -> None:
        """Add the next text of the call."""
        if len(self._begun) < LONGEST:
            self._begun = (self._begun + text).lstrip()[: 2 * LONGEST]
        self._tail = (self._tail + text)[-LONGEST:]
        self._balance.feed(text)

    def may_end(self) -> bool:
        """Whether a closer at this position ends the call."""
        if self._begun.startswith(("{", "[")):
            return not self._balance.in_string
        tail = self._tail.rstrip()
        if self._form.opener == "<function=":
            return tail.endswith(("</parameter>", "}", ">"))
        if self._form.opener == "<tool_call>" and "<function=" in self._begun:
            return tail.endswith("</function>")
        return self._form.opener != "<tool_call>" or "<arg_key>" not in self._begun or tail.endswith("</arg_value>")
