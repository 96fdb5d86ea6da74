"""The built-in demo model: not a language model, but a real part of the real loop.

It understands sums, dates, the time of day, earlier conversations and web addresses, lets the tools compute them, and answers from the
tools' results. So everything around a model can be seen working before one is connected.
"""

import asyncio
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qwen_agent.llm.base import register_llm
from qwen_agent.llm.schema import Message

from agents.attachments import BEFORE_FILES
from agents.events import ModelRequest
from agents.history import WORD, ChatMessage, without_marks
from agents.json_types import JsonObject
from agents.models.base import StreamingChatModel
from agents.models.demo.asks import Ask, Unreadable, as_text, current_time, parse_asks, today_from
from agents.models.demo.chinese import finish_reply, quote_text, speaks_chinese
from agents.models.openai_compatible import to_wire
from agents.models.reply import Reply
from agents.text import estimate_tokens

MODEL_TYPE = "demo"
#: Seconds between tokens: the speed of a good model.
INTERVAL_S = 1 / 35

#: How many parts of a message are answered.
_MOST = 8

_SIGNED = "*— the built-in demo model. Connect a real one with `LLM_MODEL_SERVER` and `LLM_MODEL`.*"
_SIGNED_ZH = "*— 內建的示範模型。設定 `LLM_MODEL_SERVER` 與 `LLM_MODEL` 即可連接真正的模型。*"
# Words in pieces of up to six letters with the space before them, and single Chinese characters: about the size of tokens.
_TOKEN = re.compile(r"\s*(?:[^\W\d_\u3400-\u9fff]{1,6}|\d{1,3}|[\u3400-\u9fff]|[^\w\s]|_)|\s+")


@dataclass(frozen=True)
class Plan:
    """One reply: a thought, then a text or tool calls, each with name and arguments as JSON."""

    reasoning: str
    content: str = ""
    calls: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Asked:
    """A request, and the reply that will be given."""

    messages: Sequence[ChatMessage]
    functions: Sequence[Mapping[str, Any]]
    plan: Plan

    @property
    def input_estimate(self) -> int:
        """The number of tokens that a real model would have read."""
        return sum(estimate_tokens(message["content"]) for message in self.messages)


@register_llm(MODEL_TYPE)
class Demo(StreamingChatModel):
    """Writes what `plan` has decided, at a readable speed. ``cfg["interval_s"]``: seconds between tokens."""

    def __init__(self, cfg: dict[str, Any]) -> None:
        super().__init__(cfg)
        self._interval_s: float = cfg.get("interval_s", INTERVAL_S)
        self._limit: int = cfg.get("max_input_tokens", 0)

    def prepare(self, messages: list[Message], functions: list[JsonObject]) -> Asked:
        """The conversation, and the reply to it."""
        wire = to_wire(messages)
        return Asked(wire, functions, plan_reply(wire, functions))

    def describe(self, request: Asked) -> ModelRequest:
        """The request that a real model would have been sent."""
        return ModelRequest(
            model=MODEL_TYPE,
            messages=[without_marks(message) for message in request.messages],
            tools=[{"type": "function", "function": function} for function in request.functions],
            tool_names=[function["name"] for function in request.functions],
            limit=self._limit,
        )

    async def write(self, request: Asked, reply: Reply) -> None:
        """Write the reply, token by token."""
        planned, reply.input_estimate = request.plan, request.input_estimate
        # Pages and questions are quoted; a call in them is a quotation too.
        reply.calls_in_text = False
        for token in _TOKEN.findall(planned.reasoning):
            reply.add_reasoning(token)
            await self._breathe(reply)
        for token in _TOKEN.findall(planned.content):
            reply.add_content(token)
            await self._breathe(reply)
        for name, arguments in planned.calls:
            reply.add_call(name)
            for token in _TOKEN.findall(arguments):
                reply.extend_call(token)
                await self._breathe(reply)
        reply.finish("tool_calls" if planned.calls else "stop")

    async def _breathe(self, reply: Reply) -> None:
        reply.notify()
        await asyncio.sleep(self._interval_s)


def plan_reply(messages: Sequence[ChatMessage], functions: Sequence[Mapping[str, Any]]) -> Plan:
    """The next reply in a conversation: calls while results are missing, then the answer."""
    asked = (place for place, message in enumerate(messages) if message["role"] == "user" and WORD not in message)
    last = max(asked, default=None)
    if last is None:
        return _introduction("", functions)
    question, _, files = str(messages[last]["content"]).partition(BEFORE_FILES)
    since = messages[last + 1 :]
    words = [str(message["content"]) for message in since if WORD in message]
    asks = [*parse_asks(question, files), *(ask for word in words for ask in parse_asks(word))]
    if not asks:
        made = _introduction(question, functions)
    else:
        made = _Turn(question, asks, {function["name"] for function in functions}, since).plan()
    heeded = _handle(words[-1], question) if words and WORD in since[-1] else ""
    return Plan(finish_reply(question, heeded + made.reasoning), finish_reply(question, made.content), made.calls)


def _handle(word: str, question: str) -> str:
    """The thought about a steering message."""
    message = " ".join(word.split())[:300]
    if speaks_chinese(question):
        return f"你剛才補充說「{message}」，我接下來就照這句話做。"
    return f"You have just added: “{message}”. I take that into account from here on. "


class _Turn:
    """One question with the tools' results so far."""

    def __init__(self, question: str, asks: Sequence[Ask], tools: set[str], since: Sequence[ChatMessage]) -> None:
        self._chinese = speaks_chinese(question)
        self._asks = asks[:_MOST]
        self._left_out = len(asks) > _MOST
        self._tools = tools
        self._results = dict(_results(since))
        self._clock = current_time(chinese=self._chinese)
        self._today = self._read_today()

    def plan(self) -> Plan:
        calls = list(dict.fromkeys(self._missing()))
        if calls:
            return Plan(self._think_ahead(calls), calls=tuple(calls))
        answers = [self._answer(ask) for ask in self._asks]
        return Plan(self._think_back(answers), self._written([text for text, _ in answers]))

    # -- what to call -----------------------------------------------------------------------------

    def _read_today(self) -> str | None:
        """Today's date as Python; empty if the tool returned none, ``None`` if it has not been called."""
        if not any(ask.needs_today for ask in self._asks) or "current_time" not in self._tools:
            return ""
        result = self._results.get(_call(self._clock, ""))
        if result is None:
            return None
        try:
            return today_from(result)
        except Unreadable:
            return ""

    def _missing(self) -> Iterator[tuple[str, str]]:
        """The calls that can be made now, whose results are missing."""
        for ask in self._asks:
            if ask.tool not in self._tools:
                continue
            if ask.needs_today and self._today is None:
                yield _call(self._clock, "")
            elif not (ask.needs_today and not self._today):
                call = _call(ask, self._today or "")
                if call not in self._results:
                    yield call

    # -- what to think ----------------------------------------------------------------------------

    def _think_ahead(self, calls: Sequence[tuple[str, str]]) -> str:
        tools = list(dict.fromkeys(name for name, _ in calls))
        named = _listed([f"`{name}`" for name in tools], chinese=self._chinese)
        if self._today and any(ask.needs_today for ask in self._asks):
            if self._chinese:
                return f"`current_time` 說了今天的日期，接下來可以用 {named} 往下算。"
            return f"`current_time` has told me today's date. From there {named} can count."
        topics = _listed(list(dict.fromkeys(ask.topic for ask in self._asks)), chinese=self._chinese)
        waits = self._today is None
        if self._chinese:
            how = f"我不憑空猜測，交給 {named}。"
            order = (
                "要先知道今天的日期，才能往下算。" if waits else "彼此不相依，所以一次呼叫。" if len(calls) > 1 else ""
            )
            return f"要查明的是：{topics}。{how}{order}"
        how = f"I should not guess, so I leave it to {named}."
        order = " Part of it starts from today's date, so that comes first." if waits else ""
        if len(calls) > 1 and not waits:
            order = f" These {len(calls)} calls don't depend on each other, so I make them at the same time."
        return f"What I have to find out: {topics}. {how}{order}"

    def _think_back(self, answers: Sequence[tuple[str, bool]]) -> str:
        failed = sum(not known for _, known in answers)
        if failed:
            if self._chinese:
                return "有工具沒有給出需要的結果。我得照實說，不能編一個答案。"
            return "Not every tool gave me what I asked for. I have to say so rather than make something up."
        return "結果都到齊了，可以回答。" if self._chinese else "The results are in; they answer the question."

    # -- what to say ------------------------------------------------------------------------------

    def _answer(self, ask: Ask) -> tuple[str, bool]:
        """The sentence for one part, and whether it is an answer."""
        if ask.tool not in self._tools:
            return self._sorry(ask, ask.tool, None), False
        if ask.needs_today and not self._today:
            return self._sorry(ask, "current_time", self._results.get(_call(self._clock, ""))), False
        result = self._results[_call(ask, self._today or "")]
        try:
            return ask.read(result), True
        except Unreadable:
            return self._sorry(ask, ask.tool, result), False

    def _sorry(self, ask: Ask, tool: str, result: str | None) -> str:
        topic = as_text(ask.topic)
        if result is None:
            if self._chinese:
                return f"我不知道{topic}：需要工具 `{tool}`，但這個代理沒有它"
            return f"I don't know {topic}: I would need the tool `{tool}`, which this agent does not have"
        quoted = quote_text(as_text(" ".join(result.split())[:300].rstrip(".。")))
        if self._chinese:
            return f"我無法得知{topic}：工具 `{tool}` 沒有給出可用的結果，它回覆「{quoted}」"
        return f"I could not find out {topic}: the tool `{tool}` gave no usable result. It answered “{quoted}”"

    def _written(self, answers: Sequence[str]) -> str:
        stop = "。" if self._chinese else "."
        sentences = [text if "\n" in text else text[:1].upper() + text[1:] + stop for text in dict.fromkeys(answers)]
        if len(sentences) > 1:
            sentences = ["- " + sentence.replace("\n", "\n  ") for sentence in sentences]
        if self._left_out:
            more = (
                f"這則訊息的問題太多，我只回答前 {_MOST} 個。"
                if self._chinese
                else f"I answer the first {_MOST} parts of a message only."
            )
            sentences.append(f"\n{more}")
        return "\n".join(sentences) + "\n\n" + (_SIGNED_ZH if self._chinese else _SIGNED)


def _results(messages: Sequence[ChatMessage]) -> Iterator[tuple[tuple[str, str], str]]:
    """The tools' results, by name and arguments of the call."""
    calls: dict[str, tuple[str, str]] = {}
    for message in messages:
        for call in message.get("tool_calls") or ():
            calls[call["id"]] = (call["function"]["name"], _canonical(call["function"]["arguments"]))
        if message["role"] == "tool" and message["tool_call_id"] in calls:
            yield calls[message["tool_call_id"]], str(message["content"])


def _call(ask: Ask, today: str) -> tuple[str, str]:
    return ask.tool, json.dumps(ask.arguments(today), ensure_ascii=False)


def _canonical(arguments: str) -> str:
    try:
        return json.dumps(json.loads(arguments), ensure_ascii=False)
    except ValueError:
        return arguments


def _listed(words: Sequence[str], *, chinese: bool) -> str:
    if chinese:
        return "、".join(words)
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


_EXAMPLES = (
    ("python", "What is 17 % of 2,340, and which weekday is 2031-03-01?", "17 % 的 2340 是多少？2031-03-01 是星期幾？"),
    ("python", "How many days are there between 2031-03-01 and 2031-12-25?", "2031-03-01 到 2031-12-25 有幾天？"),
    ("current_time", "What time is it in Tokyo?", "東京現在幾點？"),
    ("search_history", "What did we say about percentages?", "關於百分比，我們之前說過什麼？"),
    ("fetch_page", "Read https://example.com", "讀 https://example.com"),
    ("ask_user", "Ask me where to go.", "問我想去哪裡。"),
    ("ask_developer", "Ask the developer: what is 2 to the power of 32?", "請開發者：2 的 32 次方是多少？"),
)


def _introduction(question: str, functions: Sequence[Mapping[str, Any]]) -> Plan:
    """The answer to everything else: what the demo model is, what it can do, and how to connect a real model."""
    chinese = speaks_chinese(question)
    tools = {function["name"] for function in functions}
    examples = "\n".join(f"- {zh if chinese else en}" for tool, en, zh in _EXAMPLES if tool in tools)
    if chinese:
        return Plan(
            "這裡沒有算式、日期、時間、網址，也沒有問先前的對話。我只是示範模型，應該說清楚我能做什麼。",
            "你好！我是內建的示範模型，不會真的聊天，但會像真正的模型一樣思考、呼叫工具，再依工具的結果回答。"
            + (f"你可以試試：\n\n{examples}" if examples else "這個代理沒有我會用的工具。")
            + "\n\n要連接真正的模型，請把 `LLM_MODEL_SERVER` 設為任何 OpenAI 相容伺服器的位址，`LLM_MODEL` 設為模型名稱，然後重新啟動。"
            f"\n\n{_SIGNED_ZH}",
        )
    return Plan(
        "I see no sum, date, time or web address here, and no question about earlier conversations. I am only the demo model,"
        " so the kind thing is to say what I can do.",
        "Hello! I am the built-in demo model. I can't really converse, but I think, call tools and answer from"
        " their results, as a real model would. "
        + (f"Try one of these:\n\n{examples}" if examples else "This agent has no tool that I can use.")
        + "\n\nTo connect a real model, set `LLM_MODEL_SERVER` to the address of any OpenAI-compatible server and `LLM_MODEL`"
        f" to the model's name, then start again.\n\n{_SIGNED}",
    )
