"""Parses the tool calls that models write into their text, each in the form that it was trained on.

Each function takes the text between a form's opener and closer, and the tools by name; it returns the calls, and raises `ValueError` or
`TypeError` if the text has none that can be parsed.
"""

import ast
import json
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from agents.arguments import LONGEST_PYTHON, python_values, values_in, without_fence

Schemas = Mapping[str, Mapping[str, Any]]
"""The parameters of the tools that there are, as JSON Schema, by the tool's name."""
RawCall = tuple[str, str]
"""A call: the tool's name, and its arguments as text."""

#: Characters that a tool's name, or the white space before a call, may have.
LONGEST = 128
#: Parameters that one call may have.
_MOST_PARAMETERS = 256
NAME = re.compile(r"[\w.\-/]+")


# -- JSON -----------------------------------------------------------------------------------------


def _json_calls(text: str) -> list[RawCall]:
    # Small models leave out the last brace; some write Python's quotes in JSON.
    values = values_in(text) or values_in(text + "}") or python_values(text)
    calls = [each for value in values for each in (value if isinstance(value, list) else [value])]
    if not calls:
        raise ValueError("no JSON")
    return [_object_call(call) for call in calls]


def _object_call(call: Any) -> RawCall:
    if not isinstance(call, dict):
        raise TypeError("no JSON object")
    function = call.get("function")
    if isinstance(function, dict):
        call = function
    name = call.get("name") or call.get("tool_name") or call.get("tool") or function
    if not isinstance(name, str) or not name:
        raise ValueError("no name")
    found = [call[key] for key in ("arguments", "parameters", "args", "input") if key in call]
    return name, _as_text(found[0] if found else {})


def _as_text(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)


def bare_calls(text: str, schemas: Schemas) -> list[RawCall]:
    """The calls of a reply that consists of calls for known tools and nothing else: Llama, xLAM and Phi write these."""
    text = _MARKS_OF_END.sub("", text).strip().removesuffix("</tool_call>").rstrip()
    text = _unfenced(text)
    text = re.sub(r"\A(?:functools|\[TOOL_CALLS\])\s*(?=\[)", "", text)
    if not text.startswith(("{", "[")) or not text.endswith(("}", "]")):
        return []
    values = values_in(text) or [value for each in text.split("; ") for value in values_in(each) or [None]]
    found = [each for value in values for each in (value if isinstance(value, list) else [value])]
    if found and all(_is_bare(value, schemas) for value in found):
        return [_object_call(value) for value in found]
    return _bare_python(text, schemas) if text.startswith("[") else []


def _unfenced(text: str) -> str:
    """The content of the fence, if the text is one fence of a kind that calls are put into; else the text."""
    if not text.startswith("```") or not text.endswith("\n```"):
        return text
    kind, _, held = text[3:-3].partition("\n")
    held = held.strip()
    if kind.strip() == "tool_code":  # older Gemmas: a call in Python's syntax
        return f"[{held}]"
    return held if kind.strip() in _CALL_FENCES else text


_CALL_FENCES = frozenset({"", "json", "tool_call"})


def _bare_python(text: str, schemas: Schemas) -> list[RawCall]:
    """Llama 4's form: a list of calls in Python's syntax, each for a known tool."""
    try:
        calls = list(python_calls(text, schemas))
    except (ValueError, RecursionError):
        return []
    return calls if all(name in schemas for name, _ in calls) else []


def _is_bare(call: Any, schemas: Schemas) -> bool:
    if not isinstance(call, dict) or not call.keys() <= {"name", "arguments", "parameters", "type", "id", "function"}:
        return False
    call = call["function"] if isinstance(call.get("function"), dict) else call
    name, arguments = call.get("name"), call.get("arguments", call.get("parameters"))
    return isinstance(name, str) and name in schemas and isinstance(arguments, dict)


# -- elements -------------------------------------------------------------------------------------


def _elements(text: str, opener: re.Pattern[str], closer: str, follower: str) -> Iterator[tuple[re.Match[str], str]]:
    """Elements with their content. One ends at a closer that is followed by what may follow it, or where the next one begins."""
    follows = re.compile(rf"\s*(?:{follower}|\Z)")
    last = text.rfind(closer)
    at = 0
    for _ in range(_MOST_PARAMETERS):
        if (found := opener.search(text, at)) is None:
            return
        end = text.find(closer, found.end()) if found.end() <= last else -1
        while end >= 0 and not follows.match(text, end + len(closer)):
            end = text.find(closer, end + 1)
        if end < 0:
            following = opener.search(text, found.end())
            end = at = following.start() if following else len(text)
        else:
            at = end + len(closer)
        yield found, text[found.end() : end]
    if opener.search(text, at):
        raise ValueError("too many parameters")


_TYPES: dict[type, tuple[str, ...]] = {
    bool: ("boolean",),
    int: ("integer", "number"),
    float: ("number",),
    list: ("array",),
    dict: ("object",),
    type(None): ("null",),
}


def _typed(text: str, schema: Mapping[str, Any]) -> Any:
    """A parameter's text as a value of the type in the tool's schema; a string if that says so, or nothing."""
    kind = schema.get("type")
    kinds = [kind] if isinstance(kind, str) else kind or []
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = {"True": True, "False": False, "None": None}.get(text.strip(), text)
    return value if any(name in kinds for name in _TYPES.get(type(value), ())) else text


def _unlined(text: str) -> str:
    """The text without the line breaks around it."""
    return text.removeprefix("\n").removesuffix("\n")


def _properties(name: str, schemas: Schemas) -> Mapping[str, Mapping[str, Any]]:
    properties: Mapping[str, Mapping[str, Any]] = schemas.get(name, {}).get("properties") or {}
    return properties


# Bounded: otherwise openers that are never closed take time that grows with the square of their number.
_FUNCTION = re.compile(r"<function\s{0,4}(?:=|name=)\s{0,4}([^>\n]{1,256})>")
_PARAMETER = re.compile(r"<parameter\s{0,4}(?:=|name=)\s{0,4}([^>\n]{1,256})>")


def _function_calls(text: str, schemas: Schemas) -> list[RawCall]:
    """Qwen3-Coder's form, and Llama's, in which a function contains JSON."""
    calls = []
    for found, held in _elements(text, _FUNCTION, "</function>", r"</?tool_call>|<function\s{0,4}(?:=|name=)"):
        name = found[1].strip().strip("\"'")
        if held.lstrip().startswith("{"):
            calls.append((name, held.strip()))
            continue
        properties = _properties(name, schemas)
        arguments = {}
        for parameter, value in _elements(
            held, _PARAMETER, "</parameter>", r"<parameter\s{0,4}(?:=|name=)|</function>"
        ):
            key = parameter[1].strip().strip("\"'")
            arguments[key] = _typed(_unlined(value), properties.get(key, {}))
        calls.append((name, _as_text(arguments)))
    if not calls:
        raise ValueError("no function")
    return calls


_KEY = re.compile("<arg_key>")
_NAMED = re.compile(r"([\w.\-/]+)\s*(\{.*\}|\(.*\))", re.DOTALL)


def _keyed_call(text: str, schemas: Schemas) -> RawCall:
    """GLM's form, in older versions with JSON or, in brackets, with arguments in Python's syntax; and Hunyuan's."""
    named, separator, held = text.partition("<tool_sep>")
    if separator:
        if (bare := without_fence(held).strip()).startswith("{"):
            return named.strip(), bare
        text = f"{named.strip()}\n{held.strip()}"
    if (older := _NAMED.fullmatch(text)) is not None:
        return python_calls(f"[{text}]", schemas)[0] if older[2][0] == "(" else (older[1], older[2])
    name = text.partition("<arg_key>")[0].strip()
    if not NAME.fullmatch(name):
        raise ValueError("no name")
    if "</tool_call>" in text and not text.endswith("</arg_value>"):
        raise ValueError("it ends before")
    properties = _properties(name, schemas)
    arguments = {}
    for _, held in _elements(text, _KEY, "</arg_value>", "<arg_key>"):
        key, _, value = held.partition("</arg_key>")
        value = value.lstrip().removeprefix("<arg_value>")
        arguments[key.strip()] = _typed(value, properties.get(key.strip(), {}))
    return name, _as_text(arguments)


def tool_calls(text: str, schemas: Schemas) -> Sequence[RawCall]:
    """Hermes' and Qwen's form, and other content of the same tags."""
    text = text.strip().removesuffix("<tool_call>").rstrip()  # small models write it in place of the closer, too
    text = without_fence(text)
    if _FUNCTION.search(text[:LONGEST]) and not text.startswith(("{", "[")):
        return _function_calls(text, schemas)
    return _json_calls(text) if text.startswith(("{", "[")) else [_keyed_call(text, schemas)]


def grouped_calls(text: str, schemas: Schemas) -> Sequence[RawCall]:
    """Hunyuan's form: each call in tags of its own; and other content of the same tags."""
    text = text.strip()
    if not text.startswith("<tool_call>"):
        return tool_calls(text, schemas)
    each = (held.strip().removesuffix("</tool_call>") for held in text.split("<tool_call>"))
    return [call for held in each if held for call in tool_calls(held, schemas)]


def one_function(text: str, schemas: Schemas) -> Sequence[RawCall]:
    """One call of `_function_calls`, whose text begins with its opener."""
    return _function_calls("<function=" + text, schemas)


def invoke_reader(sign: str) -> Callable[[str, Schemas], Sequence[RawCall]]:
    """A reader of MiniMax's form, and of DeepSeek's since V3.2, whose tags have a prefix."""
    invoke = re.compile(rf'<{sign}invoke\s+name="([^"]+)"\s*>')
    parameter = re.compile(rf'<{sign}parameter\s+name="([^"]+)"(?:\s+string="(\w+)")?\s*>')

    def read(text: str, schemas: Schemas) -> Sequence[RawCall]:
        if text.strip().startswith("{"):
            return _json_calls(text.strip())
        calls = []
        for found, held in _elements(text, invoke, f"</{sign}invoke>", f"<{sign}invoke"):
            properties = _properties(found[1], schemas)
            arguments = {}
            for each, value in _elements(held, parameter, f"</{sign}parameter>", f"<{sign}parameter"):
                arguments[each[1]] = (
                    value if each[2] == "true" else _typed(_unlined(value), properties.get(each[1], {}))
                )
            calls.append((found[1], _as_text(arguments)))
        if not calls:
            raise ValueError("no invoke")
        return calls

    return read


def one_invoke(text: str, schemas: Schemas) -> Sequence[RawCall]:
    """One call of MiniMax's form, whose text begins with its opener."""
    return invoke_reader("")(f'<invoke name="{text}', schemas)


# -- marks ----------------------------------------------------------------------------------------

DEEPSEEK_BEGIN, DEEPSEEK_SEPARATOR, DEEPSEEK_END = "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"


def deepseek_calls(text: str, schemas: Schemas) -> Sequence[RawCall]:
    """DeepSeek's form up to V3, with the arguments in a fence, and of V3.1, without; some converters have changed its marks."""
    text = _REWRITTEN.sub(lambda mark: mark[0].replace("_", "▁"), text)
    calls: list[RawCall] = []
    for _found, held in _elements(text, re.compile(re.escape(DEEPSEEK_BEGIN)), DEEPSEEK_END, re.escape(DEEPSEEK_BEGIN)):
        name, _separator, arguments = held.partition(DEEPSEEK_SEPARATOR)
        if arguments.lstrip().startswith("<steptml:invoke"):  # Step's
            calls += invoke_reader("steptml:")(arguments, schemas)
            continue
        if name.strip() == "function" and not arguments.lstrip().startswith("{"):
            name, _separator, arguments = arguments.partition("\n")
        calls.append((name.strip(), without_fence(arguments).strip()))
    if not calls or not all(name and "<" not in name for name, _ in calls):
        raise ValueError("no call")
    return calls


def one_deepseek_call(text: str, schemas: Schemas) -> Sequence[RawCall]:
    """One call of DeepSeek's form, without the marks around all calls."""
    return deepseek_calls(DEEPSEEK_BEGIN + text, schemas)


_REWRITTEN = re.compile("<｜tool_(?:call_begin|sep|call_end)｜>")
_KIMI = re.compile(re.escape("<|tool_call_begin|>"))
KIMI_ARGUMENTS = "<|tool_call_argument_begin|>"
_KIMI_NAME = re.compile(r"(?:functions\.)?(.+?)(?::\d+)?")


def kimi_calls(text: str, _: Schemas) -> Sequence[RawCall]:
    """Kimi's form."""
    calls = []
    for _found, held in _elements(text, _KIMI, "<|tool_call_end|>", re.escape("<|tool_call_begin|>")):
        name, _separator, arguments = held.partition(KIMI_ARGUMENTS)
        if (known := _KIMI_NAME.fullmatch(name.strip())) is None:
            raise ValueError("no name")
        calls.append((known[1], arguments.strip()))
    return calls


def one_kimi_call(text: str, schemas: Schemas) -> Sequence[RawCall]:
    """One call of Kimi's form, without the marks around all calls."""
    return kimi_calls("<|tool_call_begin|>" + text, schemas)


_MARKS_OF_END = re.compile(r"</s>|<\|e(?:om|ot)_id\|>|<\|/tool_call\|>|<\|end\|>|<\|im_end\|>")
_MISTRAL = re.compile(r"\s*([\w.\-/]+?)\s*(?:\[CALL_ID\]\s*\w+\s*)?(?:\[ARGS\]\s*)?(\{.*)", re.DOTALL)


def mistral_calls(text: str, _: Schemas) -> Sequence[RawCall]:
    """Mistral's forms: a JSON list, or each call with its name before its arguments."""
    calls: list[RawCall] = []
    for each in _MARKS_OF_END.sub("", text).split("[TOOL_CALLS]"):
        if each.lstrip().startswith(("[", "{")):
            calls += _json_calls(each.strip())
        elif named := _MISTRAL.match(each):
            calls.append((named[1], named[2].strip()))
        else:
            raise ValueError("no call")
    return calls


def listed_calls(text: str, _: Schemas) -> Sequence[RawCall]:
    """JSON up to the end: Llama's and Granite's form."""
    text = _MARKS_OF_END.sub("", text).strip()
    try:
        return _json_calls(text)
    except ValueError:
        return [call for each in text.split("; ") for call in _json_calls(each.strip())]


def python_calls(text: str, _: Schemas) -> Sequence[RawCall]:
    """LFM's form: a list of calls in Python's syntax, whose arguments are named literals."""
    if len(text) > LONGEST_PYTHON:
        raise ValueError("too long")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # for escapes that Python does not know
            listed = ast.parse(text.strip(), mode="eval").body
        calls = listed.elts if isinstance(listed, ast.List) else []
        return [_python_call(call) for call in calls]
    except (SyntaxError, MemoryError) as error:
        raise ValueError("no Python") from error


def _python_call(call: ast.expr) -> RawCall:
    if not isinstance(call, ast.Call) or call.args:
        raise ValueError("no call with names alone")
    arguments = {str(given.arg): ast.literal_eval(given.value) for given in call.keywords}
    return ast.unparse(call.func), _as_text(arguments)


def calls_in_lines(text: str, schemas: Schemas) -> Sequence[RawCall]:
    """OLMo's form: a call on each line, in Python's syntax; else the form of `invoke_reader`."""
    if "<invoke" in text[:LONGEST]:
        return invoke_reader("")(text, schemas)
    return python_calls(f"[{','.join(filter(None, map(str.strip, text.strip().splitlines())))}]", schemas)


def json_or_python(text: str, schemas: Schemas) -> Sequence[RawCall]:
    """Llama 4's forms."""
    try:
        return listed_calls(text, schemas)
    except (ValueError, TypeError):
        return python_calls(text, schemas)


def plugin_calls(text: str, schemas: Schemas) -> Sequence[RawCall]:
    """InternLM's form."""
    return tool_calls(text.strip().removeprefix("<|plugin|>"), schemas)


def calls_by_name(text: str, _: Schemas) -> Sequence[RawCall]:
    """Apertus' form: a list of objects, each with the tool's name as its only key."""
    (listed,) = values_in(text.strip()) or [[]]
    return [(name, _as_text(arguments)) for each in listed for name, arguments in each.items()]


_SOLAR = re.compile(r"[^<]*<\|tool_call:name\|>([^<]*)<\|tool_call:args\|>(.*)", re.DOTALL)


def solar_calls(text: str, _: Schemas) -> Sequence[RawCall]:
    """Solar's form."""
    calls = []
    for each in text.split("<|tool_call:begin|>")[1:]:
        if (found := _SOLAR.match(each)) is None:
            raise ValueError("no call")
        calls.append((found[1].strip(), found[2].partition("<|tool_call:end|>")[0].strip()))
    return calls


_GEMMA = re.compile(r"\s*call:([\w.\-]+)\s*(\{.*\})\s*", re.DOTALL)
_GEMMA_QUOTE = '<|"|>'
_GEMMA_KEY = re.compile(r"([{,]\s*)([\w.\-]+)\s*:")


def gemma_calls(text: str, _: Schemas) -> Sequence[RawCall]:
    """Gemma's forms: JSON with keys without quotes, and strings with quotes of its own."""
    text = text.replace("<escape>", _GEMMA_QUOTE)
    found = _GEMMA.fullmatch(text)
    if found is None:
        raise ValueError("no call")
    pieces = found[2].split(_GEMMA_QUOTE)
    arguments = [
        json.dumps(piece, ensure_ascii=False) if at % 2 else _GEMMA_KEY.sub(r'\1"\2":', piece)
        for at, piece in enumerate(pieces)
    ]
    return [(found[1], "".join(arguments))]
