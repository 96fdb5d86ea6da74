"""Tool calls in the model's text, in the formats of many families of models."""

from tests.agents.models.wire.transcript import Table, answers, body, call, chunk_of, ends

_ONE = ['call: python {"code":"6*7"}']
_TWO = ['call: python {"code":"1"}', 'call: look {"code":"2"}']
_DS, _DS_END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
_CALL, _SEP, _CALL_END = "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"
_DSML = "｜DSML｜"


def _coder(code: str, name: str = "python") -> str:
    return f"<tool_call>\n<function={name}>\n<parameter=code>\n{code}\n</parameter>\n</function>\n</tool_call>"


_FORMS = {
    "Hermes": '<tool_call>\n{"name": "python", "arguments": {"code": "6*7"}}\n</tool_call>',
    "Hermes, with parameters": '<tool_call>{"name": "python", "parameters": {"code": "6*7"}}</tool_call>',
    "Hermes, with a function": '<tool_call>{"function": {"name": "python", "arguments": {"code": "6*7"}}}</tool_call>',
    "Hermes, arguments as text": '<tool_call>{"name": "python", "arguments": "{\\"code\\": \\"6*7\\"}"}</tool_call>',
    "Hermes, a brace too few": '<tool_call>{"name": "python", "arguments": {"code": "6*7"}</tool_call>',
    "Hermes, a brace too many": '<tool_call>{"name": "python", "arguments": {"code": "6*7"}}}</tool_call>',
    "Hermes, not closed": '<tool_call>{"name": "python", "arguments": {"code": "6*7"}}',
    "Qwen3-Coder": _coder("6*7"),
    "Qwen3-Coder, in one line": "<tool_call><function=python><parameter=code>6*7</parameter></function></tool_call>",
    "Qwen3-Coder, without its opener": "<function=python>\n<parameter=code>\n6*7\n</parameter>\n</function>\n</tool_call>",
    "Qwen3-Coder, a parameter not closed": "<tool_call><function=python><parameter=code>6*7\n</function></tool_call>",
    "Qwen3-Coder, not closed": "<tool_call>\n<function=python>\n<parameter=code>\n6*7\n</parameter>\n</function>",
    "Llama's function": '<function=python>{"code": "6*7"}</function>',
    "GLM": "<tool_call>python\n<arg_key>code</arg_key>\n<arg_value>6*7</arg_value>\n</tool_call>",
    "GLM, in one line": "<tool_call>python<arg_key>code</arg_key><arg_value>6*7</arg_value></tool_call>",
    "MiniMax": '<minimax:tool_call>\n<invoke name="python">\n<parameter name="code">6*7</parameter>\n</invoke>\n</minimax:tool_call>',
    "invoke": '<function_calls><invoke name="python"><parameter name="code">6*7</parameter></invoke></function_calls>',
    "DeepSeek V3": f'{_DS}{_CALL}function{_SEP}python\n```json\n{{"code": "6*7"}}\n```{_CALL_END}{_DS_END}',
    "DeepSeek V3.1": f'{_DS}{_CALL}python{_SEP}{{"code": "6*7"}}{_CALL_END}{_DS_END}',
    "DeepSeek V3.2": f'<{_DSML}function_calls>\n<{_DSML}invoke name="python">\n<{_DSML}parameter name="code" string="true">6*7'
    f"</{_DSML}parameter>\n</{_DSML}invoke>\n</{_DSML}function_calls>",
    "Kimi": "<|tool_calls_section_begin|><|tool_call_begin|>functions.python:0<|tool_call_argument_begin|>"
    '{"code": "6*7"}<|tool_call_end|><|tool_calls_section_end|>',
    "Mistral's list": '[TOOL_CALLS] [{"name": "python", "arguments": {"code": "6*7"}, "id": "x"}]</s>',
    "Mistral's names": '[TOOL_CALLS]python[ARGS]{"code": "6*7"}',
    "Mistral's names and ids": '[TOOL_CALLS]python[CALL_ID]abc123[ARGS]{"code": "6*7"}',
    "Mistral without marks": '[TOOL_CALLS]python{"code": "6*7"}',
    "Llama 3.1": '<|python_tag|>{"name": "python", "parameters": {"code": "6*7"}}<|eom_id|>',
    "Llama 3.2, nothing around it": '{"name": "python", "parameters": {"code": "6*7"}}',
    "LongCat": '<longcat_tool_call>\n{"name": "python", "arguments": {"code": "6*7"}}\n</longcat_tool_call>',
    "Seed": "<seed:tool_call>\n<function=python>\n<parameter=code>6*7</parameter>\n</function>\n</seed:tool_call>",
    "Hermes' plural": '<tool_calls>[{"name": "python", "arguments": {"code": "6*7"}}]</tool_calls>',
    "Command": '<|START_ACTION|>[\n {"tool_call_id": "0", "tool_name": "python", "parameters": {"code": "6*7"}}\n]<|END_ACTION|>',
    "LFM": '<|tool_call_start|>[python(code="6*7")]<|tool_call_end|>',
    "Gemma": '<|tool_call>call:python{code:<|"|>6*7<|"|>}<tool_call|>',
    "DeepSeek V4": f'<{_DSML}tool_calls>\n<{_DSML}invoke name="python">\n<{_DSML}parameter name="code" string="true">6*7'
    f"</{_DSML}parameter>\n</{_DSML}invoke>\n</{_DSML}tool_calls>",
    "LM Studio": '[TOOL_REQUEST]\n{"name": "python", "arguments": {"code": "6*7"}}\n[END_TOOL_REQUEST]',
    "Nemotron": '<TOOLCALL>[{"name": "python", "arguments": {"code": "6*7"}}]</TOOLCALL>',
    "InternLM": '<|action_start|><|plugin|>\n{"name": "python", "parameters": {"code": "6*7"}}<|action_end|>',
    "Llama 4": '<|python_start|>[python(code="6*7")]<|python_end|>',
    "Llama 4's JSON": '<|python_start|>{"name": "python", "parameters": {"code": "6*7"}}<|python_end|>',
    "Llama 4, nothing around it": '[python(code="6*7")]',
    "xLAM, nothing around it": '[{"name": "python", "arguments": {"code": "6*7"}}]',
    "Phi, nothing around it": 'functools[{"name": "python", "arguments": {"code": "6*7"}}]',
    "OpenAI's shape, nothing around it": '{"type": "function", "function": {"name": "python", "arguments": {"code": "6*7"}}}',
    "a closer alone, nothing before it": '{"name": "python", "arguments": {"code": "6*7"}}\n</tool_call>',
    "Apertus": '<|tools_prefix|>[{"python": {"code": "6*7"}}]<|tools_suffix|>',
    "OLMo": '<function_calls>python(code="6*7")\n</function_calls>',
    "invoke alone": '<invoke name="python">\n<parameter name="code">6*7</parameter>\n</invoke>',
    "Kimi, in the singular": "<|tool_call_section_begin|><|tool_call_begin|>functions.python:0<|tool_call_argument_begin|>"
    '{"code": "6*7"}<|tool_call_end|><|tool_call_section_end|>',
    "Kimi without its section": '<|tool_call_begin|>functions.python:0<|tool_call_argument_begin|>{"code": "6*7"}<|tool_call_end|>',
    "DeepSeek without its section": f'{_CALL}function{_SEP}python\n```json\n{{"code": "6*7"}}\n```{_CALL_END}',
    "DeepSeek V3.1 without its section": f'{_CALL}python{_SEP}{{"code": "6*7"}}{_CALL_END}',
    "DeepSeek, its marks written anew": f'{_DS}{_CALL}python{_SEP}{{"code": "6*7"}}{_CALL_END}{_DS_END}'.replace(
        "▁", "_"
    ),
    "Hermes in a fence": '<tool_call>\n```json\n{"name": "python", "arguments": {"code": "6*7"}}\n```\n</tool_call>',
    "Hermes in Python's quotes": "<tool_call>{'name': 'python', 'arguments': {'code': '6*7'}}</tool_call>",
    "Hermes, a comma too many": '<tool_call>{"name": "python", "arguments": {"code": "6*7",}}</tool_call>',
    "Hermes with other keys": '<tool_call>{"tool": "python", "args": {"code": "6*7"}}</tool_call>',
    "Hermes, closed with its opener": '<tool_call>{"name": "python", "arguments": {"code": "6*7"}}<tool_call>',
    "older GLM": '<tool_call>python\n{"code": "6*7"}\n</tool_call>',
    "a call as Python has it": '<tool_call>python(code="6*7")</tool_call>',
    "Qwen3-Coder, names as attributes": '<tool_call><function name="python"><parameter name="code">6*7</parameter></function></tool_call>',
    "Qwen3-Coder, spaces": "<tool_call><function = python><parameter = code>6*7</parameter></function></tool_call>",
    "GLM, a value not closed": "<tool_call>python\n<arg_key>code</arg_key>\n<arg_value>6*7</tool_call>",
    "nothing around it but a fence": '```json\n{"name": "python", "arguments": {"code": "6*7"}}\n```',
    "nothing around it but a plain fence": '```\n{"name": "python", "arguments": {"code": "6*7"}}\n```',
    "older Gemma, nothing around it but a fence": '```tool_code\npython(code="6*7")\n```',
    "Hermes, and its mark of the end": '<tool_call>{"name": "python", "arguments": {"code": "6*7"}}</tool_call><|im_end|>',
    "FunctionGemma": "<start_function_call>call:python{code:<escape>6*7<escape>}<end_function_call>",
    "Hunyuan": "<tool_calls>\n<tool_call>python<tool_sep>\n<arg_key>code</arg_key>\n<arg_value>6*7</arg_value>\n"
    "</tool_call>\n</tool_calls>",
    "Hunyuan, in one line": "<tool_call>python<tool_sep><arg_key>code</arg_key><arg_value>6*7</arg_value></tool_call>",
    "Hunyuan's JSON": '<tool_calls>\n<tool_call>python<tool_sep>\n```json\n{"code": "6*7"}\n```\n</tool_call>\n</tool_calls>',
    "Step": '<｜tool_calls_begin｜>\n<｜tool_call_begin｜>function<｜tool_sep｜><steptml:invoke name="python">\n'
    '<steptml:parameter name="code">6*7</steptml:parameter>\n</steptml:invoke><｜tool_call_end｜>\n<｜tool_calls_end｜>',
    "Solar": '<|tool_calls|>\n<|tool_call:begin|>c1<|tool_call:name|>python<|tool_call:args|>{"code": "6*7"}<|tool_call:end|>',
    "Granite": '<|tool_call|>[{"name": "python", "arguments": {"code": "6*7"}}]',
}
_PAIRS = {
    "Hermes": '<tool_call>{"name": "python", "arguments": {"code": "1"}}</tool_call>\n'
    '<tool_call>{"name": "look", "arguments": {"code": "2"}}</tool_call>',
    "Hermes, in one": '<tool_call>{"name": "python", "arguments": {"code": "1"}}\n{"name": "look", "arguments": {"code": "2"}}</tool_call>',
    "Qwen3-Coder": _coder("1") + "\n" + _coder("2", "look"),
    "GLM": "".join(
        f"<tool_call>{name}<arg_key>code</arg_key><arg_value>{code}</arg_value></tool_call>"
        for name, code in (("python", 1), ("look", 2))
    ),
    "Mistral's list": '[TOOL_CALLS][{"name": "python", "arguments": {"code": "1"}}, {"name": "look", "arguments": {"code": "2"}}]',
    "Mistral's names": '[TOOL_CALLS]python[ARGS]{"code": "1"}[TOOL_CALLS]look[ARGS]{"code": "2"}',
    "Llama 3.2, nothing around it": '{"name": "python", "parameters": {"code": "1"}}; {"name": "look", "parameters": {"code": "2"}}',
    "Llama": '<|python_tag|>{"name": "python", "parameters": {"code": "1"}}; {"name": "look", "parameters": {"code": "2"}}',
    "LFM": "<|tool_call_start|>[python(code='1'), look(code='2')]<|tool_call_end|>",
    "Gemma": '<|tool_call>call:python{code:<|"|>1<|"|>}<tool_call|><|tool_call>call:look{code:<|"|>2<|"|>}<tool_call|>',
    "DeepSeek V3.1": f'{_DS}{_CALL}python{_SEP}{{"code": "1"}}{_CALL_END}{_CALL}look{_SEP}{{"code": "2"}}{_CALL_END}{_DS_END}',
    "Hunyuan": "<tool_calls>"
    + "".join(
        f"<tool_call>{name}<tool_sep><arg_key>code</arg_key><arg_value>{code}</arg_value></tool_call>"
        for name, code in (("python", 1), ("look", 2))
    )
    + "</tool_calls>",
    "MiniMax M1": '<tool_calls>\n{"name": "python", "arguments": {"code": "1"}}\n'
    '{"name": "look", "arguments": {"code": "2"}}\n</tool_calls>',
    "Solar": '<|tool_calls|><|tool_call:begin|>a<|tool_call:name|>python<|tool_call:args|>{"code": "1"}<|tool_call:end|>'
    '<|tool_call:begin|>b<|tool_call:name|>look<|tool_call:args|>{"code": "2"}<|tool_call:end|>',
    "MiniMax": '<minimax:tool_call><invoke name="python"><parameter name="code">1</parameter></invoke>'
    '<invoke name="look"><parameter name="code">2</parameter></invoke></minimax:tool_call>',
}
_CALL = call('{"code": "6*7"}', name="python", id="a")
_THOUGHT_CALL = '<tool_call>{"name": "python", "arguments": {"code": "6*7"}}</tool_call>'
_WITHIN = (
    "fails: The model called a tool within its thoughts, where the server passes it on as text, so nothing was run. "
    "The server's tool parser may not fit the model; LLM_TOOL_FORMAT=template does without one."
)

#: Lists and objects that are no calls.
_LISTS = (
    '```json\n{"name": "Mei", "arguments": {}}\n```',
    '```json\n{"name": "python", "arguments": {"code": "1"}}\n```\nis how it is written.',
    '```python\npython(code="1")\n```',
    '```json\n{"a": 1}\n```',
    "[dance(code='1')]",
    "[python('1')]",
    "[python]",
    '[{"name": "Mei", "arguments": {}}]',
    "[]",
    "[1, 2]",
    "[x](y)",
    'functools["a"]',
    '<invoke name="dance">x</invoke>',
    "Use [TOOL_REQUEST] and [END_TOOL_REQUEST].",
    "<TOOLCALL> is Nemotron's.",
    "<tool_calls> holds <tool_call>dance<tool_sep> and more.",
    "Solar's begin with <|tool_calls|>.",
)

TABLE: Table = {
    **{f"one: {name}": (answers(text), _ONE) for name, text in _FORMS.items()},
    **{
        f"behind words: {name}": (answers(f"Look:\n{text}"), ["thought: Look:", *_ONE])
        for name, text in _FORMS.items()
        if "nothing" not in name
    },
    **{
        f"behind a thought: {name}": (answers(f"<think>hm</think>\n\n{text}"), ["thought: hm", *_ONE])
        for name, text in _FORMS.items()
        if "nothing" not in name
    },
    "behind a thought, nothing around it": (
        answers('<think>hm</think>\n{"name": "python", "arguments": {"code": "6*7"}}'),
        ["thought: hm", *_ONE],
    ),
    "behind a thought's field, nothing around it": (
        body(chunk_of(reasoning="hm"), chunk_of('{"name": "python", "arguments": {"code": "6*7"}}'), ends()),
        ["thought: hm", *_ONE],
    ),
    **{f"a list for people: {text}": (answers(text), [f"answer: {text}"]) for text in _LISTS},
    # Sent as a call by the server, which also leaves the text that it has parsed.
    **{
        f"told, too, {place}: {name}": (body(*chunks, ends("tool_calls")), _ONE)
        for name in ("Hermes", "Qwen3-Coder", "Kimi")
        for place, chunks in (
            ("behind the text", (chunk_of(_FORMS[name]), _CALL)),
            ("before the text", (_CALL, chunk_of(_FORMS[name]))),
        )
    },
    "one told, and another in the text": (
        body(chunk_of(_PAIRS["Hermes"]), _CALL, ends("tool_calls")),
        ['call: python {"code":"1"}', 'call: look {"code":"2"}', *_ONE],
    ),
    **{f"two: {name}": (answers(text), _TWO) for name, text in _PAIRS.items()},
    "a closer in a text": (
        answers('<tool_call>{"name": "python", "arguments": {"code": "\\"</tool_call>\\" + \\\\"}}</tool_call>'),
        ['call: python {"code":"\\"</tool_call>\\" + \\\\"}'],
    ),
    "a closer in a parameter": (
        answers(_coder("print('</tool_call>')")),
        ['call: python {"code":"print(\'</tool_call>\')"}'],
    ),
    "a parameter's closer in it": (
        answers(_coder("x = '</parameter>'")),
        ['call: python {"code":"x = \'</parameter>\'"}'],
    ),
    "not closed, and words behind it": (
        answers('<tool_call>{"name": "python", "arguments": {"code": "6*7"}}\n\nI am waiting.'),
        ["thought: I am waiting.", *_ONE],
    ),
    "a quote too few": (
        answers('<tool_call>{"name": "python", "arguments": {"code": "6}}</tool_call>\nSo.'),
        ["thought: So.", 'call: python {"code": "6}}'],
    ),
    "lines and spaces of a parameter": (
        answers(_coder("if x:\n    y\n")),
        ['call: python {"code":"if x:\\n    y\\n"}'],
    ),
    "types as the tool has them": (
        answers(
            "<tool_call><function=python><parameter=code>42</parameter><parameter=times>3</parameter>"
            '<parameter=quick>True</parameter><parameter=names>["a"]</parameter></function></tool_call>'
        ),
        ['call: python {"code":"42","times":3,"quick":true,"names":["a"]}'],
    ),
    "types as Gemma has them": (
        answers(
            '<|tool_call>call:python{code:<|"|>a{b:"c",d:}\n<|"|>,times:3,quick:true,names:[<|"|>x<|"|>,<|"|>y<|"|>]}<tool_call|>'
        ),
        ['call: python {"code":"a{b:\\"c\\",d:}\\n","times":3,"quick":true,"names":["x","y"]}'],
    ),
    "types as LFM has them": (
        answers("<|tool_call_start|>[python(code='a', times=-3, quick=True, names=['x'])]<|tool_call_end|>"),
        ['call: python {"code":"a","times":-3,"quick":true,"names":["x"]}'],
    ),
    "escapes that Python does not know": (
        answers("<|tool_call_start|>[python(code='\\\\d')]<|tool_call_end|>".replace("\\\\", "\\")),
        ['call: python {"code":"\\\\d"}'],
    ),
    "a program instead of LFM's list": (
        answers("<|tool_call_start|>[python(code=open('x').read())]<|tool_call_end|>"),
        ["call: unreadable_call [python(code=open('x').read())]"],
    ),
    "no parameters": (answers("<tool_call>\n<function=look>\n</function>\n</tool_call>"), ["call: look {}"]),
    "no arguments of GLM's": (answers("<tool_call>look\n</tool_call>"), ["call: look {}"]),
    "an unknown tool": (answers('<tool_call>{"name": "dance"}</tool_call>'), ["call: dance {}"]),
    "no call": (answers('<tool_call>{"name": }</tool_call>'), ['call: unreadable_call {"name": }']),
    "JSON for people": (answers('{"name": "Mei", "parameters": {}}'), ['answer: {"name": "Mei", "parameters": {}}']),
    "within a thought's field": (
        body(chunk_of(reasoning_content="hm\n"), chunk_of(reasoning_content=_THOUGHT_CALL), ends()),
        [f"thought so far: hm\n{_THOUGHT_CALL}", _WITHIN],
    ),
    "within a thought that does not end": (
        answers(f"<think>hm\n{_coder('6*7')}"),
        [f"thought so far: hm\n{_coder('6*7')}", _WITHIN],
    ),
    "a thought about calls": (
        body(chunk_of(reasoning_content=f"I could write {_THOUGHT_CALL} now, or not."), ends()),
        [
            f"thought so far: I could write {_THOUGHT_CALL} now, or not.",
            "fails: The model ended after its thoughts without giving an answer.",
        ],
    ),
}
#: Where the model was told to write its calls in the text.
ASKED_FOR: Table = {
    "within a thought's field": (
        body(chunk_of(reasoning_content=f"hm\n{_THOUGHT_CALL}"), ends()),
        ["thought: hm", *_ONE],
    ),
    "within a thought that does not end": (answers(f"<think>hm\n{_coder('6*7')}\n"), ["thought: hm", *_ONE]),
    "two within a thought": (answers(f"<think>hm{_PAIRS['Hermes']}"), ["thought: hm", *_TWO]),
    "within a thought, before an answer": (
        answers(f"<think>{_THOUGHT_CALL}</think>No."),
        [f"thought: {_THOUGHT_CALL}", "answer: No."],
    ),
}
