"""gpt-oss' own form of a reply, where the server passes it on as text."""

from tests.agents.models.wire.transcript import Table, answers, body, chunk_of, ends

_BOTH = ["thought: hm so", "answer: hello"]
_ONE = ['call: python {"code":"6*7"}']
_HM = "<|channel|>analysis<|message|>hm so<|end|>"
_ARGUMENTS = '{"code":"6*7"}'
_NEXT = "<|start|>assistant"
_WITHOUT_ANSWER = "fails: The model ended after its thoughts without giving an answer."

_HEADERS = {
    "as documented": "<|channel|>commentary to=functions.python <|constrain|>json<|message|>",
    "nothing between": "<|channel|>commentary to=functions.python<|constrain|>json<|message|>",
    "without constrain": "<|channel|>commentary to=functions.python json<|message|>",
    "without json": "<|channel|>commentary to=functions.python<|message|>",
    "on the channel of thoughts": "<|channel|>analysis to=functions.python code<|message|>",
    "whom it is for before the channel": " to=functions.python<|channel|>commentary json<|message|>",
    "whom it is for alone": " to=functions.python<|message|>",
    "without functions": "<|channel|>commentary to=python <|constrain|>json<|message|>",
    "in lines": "<|channel|>commentary to=functions.python\n<|constrain|>json\n<|message|>\n",
}
_SPOKEN = (
    "The mark <|end|> ends a message, and <|start|> begins one.",
    "Use `<|channel|>final` here, `<|call|>` there.",
    "<|channel|> is a mark.",
    "1 <| 2 <|e",
    "<|start|>ing is half the way.",
)

TABLE: Table = {
    "thought and answer": (answers(f"{_HM}{_NEXT}<|channel|>final<|message|>hello<|return|>"), _BOTH),
    "without the last mark": (answers(f"{_HM}{_NEXT}<|channel|>final<|message|>hello"), _BOTH),
    "the answer ends as messages do": (answers(f"{_HM}{_NEXT}<|channel|>final<|message|>hello<|end|>"), _BOTH),
    "from the beginning": (answers(f"{_NEXT}{_HM}{_NEXT}<|channel|>final<|message|>hello<|return|>"), _BOTH),
    "a thought that isn't ended": (
        answers(f"<|channel|>analysis<|message|>hm so{_NEXT}<|channel|>final<|message|>hello"),
        _BOTH,
    ),
    "messages that aren't begun": (answers(f"{_HM}<|channel|>final<|message|>hello"), _BOTH),
    "messages in lines": (answers(f"\n{_HM}\n{_NEXT}\n<|channel|>final\n<|message|>\nhello<|return|>\n"), _BOTH),
    "an answer without a header": (answers(f"{_HM}hello"), _BOTH),
    "an answer without a header, in lines": (answers(f"{_HM}\n\nhello\n"), ["thought: hm so", "answer: hello\n"]),
    "an answer in a form": (
        answers("<|channel|>final <|constrain|>json<|message|>{}<|return|>"),
        ["answer: {}"],
    ),
    "an answer alone": (answers("<|channel|>final<|message|>hello"), ["answer: hello"]),
    "two thoughts": (
        answers(f"{_HM}{_NEXT}<|channel|>analysis<|message|>or not<|end|>{_NEXT}<|channel|>final<|message|>hello"),
        ["thought: hm so\n\nor not", "answer: hello"],
    ),
    "words before the answer": (
        answers(f"<|channel|>commentary<|message|>Look.<|end|>{_NEXT}<|channel|>final<|message|>hello<|return|>"),
        ["answer: Look.\n\nhello"],
    ),
    "no answer": (answers(_HM), ["thought so far: hm so", _WITHOUT_ANSWER]),
    "cut in a mark": (
        body(chunk_of("<|channel|>final<|message|>hello<|retu"), ends("length")),
        ["answer so far: hello<|retu", "fails: The model reached its length limit, so its answer breaks off here."],
    ),
    "cut in a header": (
        body(chunk_of(f"{_HM}{_NEXT}<|chan"), ends("length")),
        [
            "thought so far: hm so",
            "fails: The model reached its length limit before it gave an answer.",
        ],
    ),
    **{
        f"a call: {name}": (answers(f"{_HM}{_NEXT}{header}{_ARGUMENTS}<|call|>"), ["thought: hm so", *_ONE])
        for name, header in _HEADERS.items()
    },
    "a call, and nothing else": (answers(f"{_HEADERS['as documented']}{_ARGUMENTS}<|call|>"), _ONE),
    "a call without its mark": (answers(f"{_HEADERS['as documented']}{_ARGUMENTS}"), _ONE),
    "a call that ends as messages do": (answers(f"{_HEADERS['as documented']}{_ARGUMENTS}<|end|>\n"), _ONE),
    "words before a call": (
        answers(f"<|channel|>commentary<|message|>Look.<|end|>{_NEXT}{_HEADERS['as documented']}{_ARGUMENTS}<|call|>"),
        ["thought: Look.", *_ONE],
    ),
    "two calls": (
        answers(
            f"{_HEADERS['as documented']}{_ARGUMENTS}<|call|>{_NEXT}<|channel|>commentary to=functions.look "
            "<|constrain|>json<|message|>{}<|call|>"
        ),
        [*_ONE, "call: look {}"],
    ),
    "a mark in the arguments": (
        answers(f'{_HEADERS["as documented"]}{{"code":"<|end|> <|start|> <|call|>x"}}<|call|>'),
        ['call: python {"code":"<|end|> <|start|> <|call|>x"}'],
    ),
    "a result that the model makes up": (
        answers(
            f"{_HEADERS['as documented']}{_ARGUMENTS}<|call|><|start|>functions.python to=assistant<|channel|>commentary"
            "<|message|>42<|end|>"
        ),
        ["thought: 42", *_ONE],
    ),
    "a tool of gpt-oss' own": (
        answers("<|channel|>analysis to=browser.search code<|message|>{}<|call|>"),
        ["call: browser.search {}"],
    ),
    **{f"prose: {text}": (answers(text), [f"answer: {text}"]) for text in _SPOKEN},
    **{
        f"prose in an answer: {text}": (answers(f"<|channel|>final<|message|>{text}<|return|>"), [f"answer: {text}"])
        for text in _SPOKEN
    },
    **{
        f"prose in a thought: {text}": (
            answers(f"<|channel|>analysis<|message|>{text}<|end|>{_NEXT}<|channel|>final<|message|>hello<|return|>"),
            [f"thought: {text}", "answer: hello"],
        )
        for text in _SPOKEN
    },
}
