"""Tool calls as servers stream them, split in many ways, and arguments that are not quite JSON."""

import json

from tests.agents.models.wire.transcript import Table, body, call, chunk_of, ends, whole

_ONE = ['call: python {"code":"6*7"}']
_TWO = ['call: python {"code":"1"}', 'call: python {"code":"2"}']
_RAW = '{"code":"6*7"}'


def _calls(*pieces: dict[str, object]) -> bytes:
    return body(*pieces, ends("tool_calls"))


def _written(arguments: str) -> bytes:
    return _calls(call(arguments, name="python", id="a"))


def _several(*calls: dict[str, object]) -> dict[str, object]:
    return chunk_of(tool_calls=list(calls))


def _begun(name: str) -> dict[str, str]:
    return {"name": name, "arguments": '{"code":'}


def _more(arguments: str) -> dict[str, str]:
    return {"arguments": arguments}


_REPAIRED = {
    "twice": _RAW * 2,
    "twice, in other spaces": _RAW + ' {"code": "6*7"}',
    "three times": _RAW * 3,
    "behind an empty object": "{}" + _RAW,
    "a text that holds them": json.dumps(_RAW),
    "a text in a text": json.dumps(json.dumps(_RAW)),
    "a fence": f"```json\n{_RAW}\n```",
    "a fence without a word": f"```\n{_RAW}\n```",
    "a brace too many": _RAW + "}",
    "white space": f"\n {_RAW}\n",
    "a byte order mark": f"\ufeff{_RAW}",
    "a list of them alone": f"[{_RAW}]",
    "a comma too many": '{"code": "6*7",}',
    "quotes as Python has them": "{'code': '6*7'}",
    **{f"the mark {mark} behind": _RAW + mark for mark in ("</tool_call>", "<|im_end|>", "<|call|>", "</s>")},
}
#: What may surround the name of a tool; in each case the existing tool is meant.
_NAMES = [
    "functions.python",
    "functions.python:0",
    "python<|channel|>commentary",
    "python<|constrain|>json",
    "default_api.python",
    "assistant.functions.python",
    " python ",
    "`python`",
    '"python"',
    "Python",
    "python:3",
    "python()",
]
_OTHER_NAMES = ["browser.python", "pythons", "py", "python and look", "functions.", "<|call|>"]
_NONE = {
    "nothing": "",
    "None": "None",
    "null": "null",
    "an empty text": '""',
    "twice an empty object": "{}{}",
    "spaces": " \n",
}
_UNREADABLE = [
    '{"code": "6',
    '{"code":"1"}{"code":"2"}',
    "[1]",
    "7",
    "code=6*7",
    "{'code'}",
    "{1: 2j}",
    '[{"code":"1"},{"code":"2"}]',
    "code",
    '{"code": NaN}',
    '{"code":"1"},',
]

TABLE: Table = {
    "in pieces": (_calls(call("", name="python", id="a"), call('{"code":'), call('"6*7"}')), _ONE),
    "later pieces with other indexes": (
        _calls(call("", name="python", id="a"), call('{"code":', index=1), call('"6*7"}', index=2)),
        _ONE,
    ),
    "later pieces without an index": (
        _calls(call("", name="python", id="a"), call('{"code":', index=None), call('"6*7"}', index=None)),
        _ONE,
    ),
    "no index at all": (_calls(call('{"code":', name="python", id="a", index=None), call('"6*7"}', index=None)), _ONE),
    "two whose pieces have other indexes": (
        _calls(
            *(call("", name="python", id="a"), call('{"code":', index=1), call('"1"}', index=2)),
            *(call("", name="python", id="b", index=1), call('{"code":', index=2), call('"2"}', index=3)),
        ),
        _TWO,
    ),
    "two in turns": (
        _calls(
            *(call('{"code":', name="python", id="a"), call('{"code":', name="python", id="b", index=1)),
            *(call('"1"}', index=0), call('"2"}', index=1)),
        ),
        _TWO,
    ),
    "arguments before the name": (_calls(call('{"code":'), call('"6*7"}', name="python", id="a")), _ONE),
    "all arguments before the name": (_calls(call(_RAW), call(name="python", id="a")), _ONE),
    "a custom tool's": (
        _calls(
            chunk_of(
                tool_calls=[{"index": 0, "id": "a", "type": "custom", "custom": {"name": "python", "input": _RAW}}],
            )
        ),
        _ONE,
    ),
    "a name in pieces": (_calls(call(name="py", id="a"), call(name="thon"), call(_RAW)), _ONE),
    "a name in three pieces, with its id": (
        _calls(call(name="p", id="a"), call(name="yt", id="a"), call(name="hon", id="a"), call(_RAW)),
        _ONE,
    ),
    "a name that grows": (_calls(call(name="py", id="a"), call(name="python"), call(_RAW)), _ONE),
    "a name behind its id": (_calls(call(id="a"), call(name="python"), call(_RAW)), _ONE),
    "the name in each piece": (
        _calls(call('{"code":', name="python", id="a"), call('"6*7"}', name="python", id="a")),
        _ONE,
    ),
    "another id in each piece": (_calls(call('{"code":', name="python", id="a"), call('"6*7"}', id="b")), _ONE),
    "another id and the name in each piece": (
        _calls(call('{"code":', name="python", id="a"), call('"6*7"}', name="python", id="b")),
        _ONE,
    ),
    "names behind each other": (
        _calls(call(name="look", index=None), call(_RAW, name="python", index=None)),
        ["call: look {}", *_ONE],
    ),
    "one index, other ids": (
        _calls(call('{"code":"1"}', name="python", id="a"), call('{"code":"2"}', name="python", id="b")),
        _TWO,
    ),
    "one index, no ids": (_calls(call('{"code":"1"}', name="python"), call('{"code":"2"}', name="python")), _TWO),
    "one index and one id for three": (
        _calls(*(call(f'{{"code":"{n}"}}', name="python", id="a") for n in (1, 2, 3))),
        [*_TWO, 'call: python {"code":"3"}'],
    ),
    "one index and one id for two in pieces": (
        _calls(
            *(call('{"code":', name="python", id="a"), call('"1"}')),
            *(call("", name="python", id="a"), call('{"code":'), call('"2"}')),
        ),
        _TWO,
    ),
    "two of one name and one text": (_calls(call(_RAW, name="python"), call(_RAW, name="python")), [*_ONE, *_ONE]),
    "all of them once more": (
        _calls(call("", name="python", id="a"), call('{"code":'), call('"6*7"}'), call(_RAW)),
        _ONE,
    ),
    "all of them once more, with name and id": (
        _calls(call(_RAW, name="python", id="a"), call(_RAW, name="python", id="a")),
        _ONE,
    ),
    "nothing once more, with name and id": (
        _calls(call(_RAW, name="python", id="a"), call("", name="python", id="a")),
        _ONE,
    ),
    "values as Python has them": (
        _written('{"code": "6*7", "quick": True, "names": None}'),
        ['call: python {"code":"6*7","quick":true,"names":null}'],
    ),
    "escapes that JSON does not know": (_written('{"code": "\\d"}'), ['call: python {"code":"\\\\d"}']),
    "the first of two once more, at another index": (
        _calls(
            call(_RAW, name="python", id="a"),
            call("{}", name="look", id="b", index=1),
            call(_RAW, name="python", id="a", index=2),
        ),
        [*_ONE, "call: look {}"],
    ),
    "both once more, without indexes": (
        _calls(
            *(call('{"code":"1"}', name="python", id="a"), call('{"code":"2"}', name="python", id="b", index=1)),
            _several(
                {"id": "a", "function": {"name": "python", "arguments": '{"code":"1"}'}},
                {"id": "b", "function": {"name": "python", "arguments": '{"code":"2"}'}},
            ),
        ),
        _TWO,
    ),
    "indexes from 1": (
        _calls(
            call('{"code":"1"}', name="python", id="a", index=1), call('{"code":"2"}', name="python", id="b", index=2)
        ),
        _TWO,
    ),
    "arguments as an object": (_calls(call({"code": "6*7"}, name="python", id="a")), _ONE),
    "no arguments": (_calls(call(name="look", id="a")), ["call: look {}"]),
    "one instead of a list": (
        body(chunk_of(tool_calls={"function": {"name": "python", "arguments": _RAW}}), ends()),
        _ONE,
    ),
    "a level less": (body(chunk_of(tool_calls=[{"name": "python", "arguments": _RAW}]), ends()), _ONE),
    "of the old API": (
        body(
            chunk_of(function_call={"name": "python", "arguments": ""}),
            chunk_of(function_call={"arguments": _RAW}),
            ends("function_call"),
        ),
        _ONE,
    ),
    "of the old API, unstreamed": (
        whole({"content": None, "function_call": {"name": "python", "arguments": _RAW}}, "function_call"),
        _ONE,
    ),
    "unstreamed": (
        whole({"tool_calls": [{"id": "a", "function": {"name": "python", "arguments": _RAW}}]}, "tool_calls"),
        _ONE,
    ),
    "unstreamed, and no words": (
        whole({"content": "", "tool_calls": [{"id": "a", "function": {"name": "python", "arguments": _RAW}}]}, "stop"),
        _ONE,
    ),
    "without an end": (body(call(_RAW, name="python", id="a")), _ONE),
    "pieces by their ids alone, in turns": (
        _calls(
            *(call('{"code":', name="python", id="a"), call('{"code":', name="python", id="b", index=1)),
            *(call('"1"}', id="a"), call('"2"}', id="b")),
        ),
        _TWO,
    ),
    "pieces by their ids, without an index": (
        _calls(
            _several({"id": "a", "function": _begun("python")}, {"id": "b", "function": _begun("python")}),
            _several({"id": "a", "function": _more('"1"}')}, {"id": "b", "function": _more('"2"}')}),
        ),
        _TWO,
    ),
    "pieces by their place alone": (
        _calls(
            _several({"function": _begun("python")}, {"function": _begun("python")}),
            _several({"function": _more('"1"}')}, {"function": _more('"2"}')}),
        ),
        _TWO,
    ),
    "another one whose beginning has the first one's index": (
        _calls(
            *(call("", name="python", id="a"), call('{"code":'), call('"1"}')),
            *(call("", name="python", id="b"), call('{"code":', index=1), call('"2"}', index=1)),
        ),
        _TWO,
    ),
    "indexes as text": (
        _calls(
            *(call('{"code":', name="python", id="a", index="0"), call('{"code":', name="python", id="b", index="1")),
            *(call('"1"}', index="0"), call('"2"}', index="1")),
        ),
        _TWO,
    ),
    "indexes as fractions": (
        _calls(
            *(call('{"code":', name="python", id="a", index=0.0), call('{"code":', name="python", id="b", index=1.0)),
            *(call('"1"}', index=0.0), call('"2"}', index=1.0)),
        ),
        _TWO,
    ),
    "an index that is none": (_calls(call(_RAW, name="python", id="a", index=[])), _ONE),
    **{
        f"arguments as {name}": (
            _calls(_several({"id": "a", "function": {"name": "python", name: {"code": "6*7"}}})),
            _ONE,
        )
        for name in ("parameters", "input", "args")
    },
    "as Anthropic has it": (
        _calls(_several({"id": "a", "type": "tool_use", "name": "python", "input": {"code": "6*7"}})),
        _ONE,
    ),
    "an object instead of a list": (
        body(
            chunk_of(tool_calls={"0": {"id": "a", "function": {"name": "python", "arguments": _RAW}}}),
            ends("tool_calls"),
        ),
        _ONE,
    ),
    "told at the end alone, behind text": (
        body(
            chunk_of("Look."),
            {
                "choices": [
                    {
                        "message": {
                            "content": "Look.",
                            "tool_calls": [{"id": "a", "function": {"name": "python", "arguments": _RAW}}],
                        },
                        "finish_reason": "tool_calls",
                    }
                ]
            },
        ),
        ["thought: Look.", *_ONE],
    ),
    "told once more at the end": (
        body(
            call(_RAW, name="python", id="a"),
            {
                "choices": [
                    {
                        "message": {"tool_calls": [{"id": "a", "function": {"name": "python", "arguments": _RAW}}]},
                        "finish_reason": "tool_calls",
                    }
                ]
            },
        ),
        _ONE,
    ),
    "a last piece that holds nothing": (
        _calls(call(_RAW, name="python", id="a"), _several({"index": 0, "function": None})),
        _ONE,
    ),
    "text before": (
        body(chunk_of("Look."), call(_RAW, name="python", id="a"), ends("tool_calls")),
        ["thought: Look.", *_ONE],
    ),
    **{f"named: {name}": (_calls(call(_RAW, name=name, id="a")), _ONE) for name in _NAMES},
    **{
        f"named otherwise: {name}": (_calls(call(_RAW, name=name, id="a")), [f'call: {name} {{"code":"6*7"}}'])
        for name in _OTHER_NAMES
    },
    **{f"arguments: {name}": (_written(arguments), _ONE) for name, arguments in _REPAIRED.items()},
    **{f"no arguments: {name}": (_written(arguments), ["call: python {}"]) for name, arguments in _NONE.items()},
    **{f"unreadable: {arguments}": (_written(arguments), [f"call: python {arguments}"]) for arguments in _UNREADABLE},
}
