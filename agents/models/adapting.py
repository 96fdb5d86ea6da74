"""Repeats a request in a form that the server accepts, if its message says what it refuses: tools, a part, a missing field, the length.

What was learned is remembered only when the server has answered, see `agents.models.server_facts`.
"""

import functools
import logging
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from agents.events import LeftOut, ModelRequest
from agents.history import (
    IMAGES,
    OF_TOOLS,
    WORD,
    ChatMessage,
    explain_fewer_tools,
    explain_large_tools,
    explain_shorter,
    fit_to_budget,
    fit_tools,
    message_tokens,
    newest_turn,
    tool_tokens,
)
from agents.json_types import JsonObject
from agents.models import refusing
from agents.models.plain_schemas import plain_tool
from agents.models.refusals import Refused, find_limit, is_too_long, waits_for_time, was_withheld
from agents.models.request_parts import (
    NEEDED_IN_CALLS,
    NEEDED_IN_MESSAGES,
    find_group,
    merge_system,
    names_part,
    optional_names,
    shorten_ids,
    write_parts,
)
from agents.models.server_facts import ServerFacts
from agents.sentence import Sentence, join_sentences

log = logging.getLogger(__name__)

#: The share of a limit that the request itself may use: the answer needs the rest.
_SHARE_OF_LIMIT = 0.75
#: The share to which a request is cut if the server does not report its limit.
_BLIND_CUT = 0.5
#: How often it is cut in this way.
_MOST_BLIND_CUTS = 4
_KNOWN = NEEDED_IN_MESSAGES | {"name", IMAGES, OF_TOOLS, WORD}
SYSTEM = "system"
LONG_IDS = "long ids of tool calls"
SCHEMAS = "details of tools' parameters"
EMPTY = "empty contents beside tool calls"
OLD_LENGTH = "max_tokens under its older name"
BESIDE_CALLS = "words beside tool calls"
EMPTY_THOUGHTS = "empty thoughts"
#: A part of this conversation only: the fields that its server has sent besides the known ones, and does not accept any more.
_OWN_FIELDS = "what it sent beside the known fields"
_NO_THOUGHT = "(not kept)"
_TOO_LARGE = 413
#: The statuses with which servers fail over something in a request, even if they do not say over what.
_WORDLESS = frozenset({400, _TOO_LARGE, 422, 500})
#: From how many tools, and from how many tokens of tools on, such a failure may be because of them.
_MANY_TOOLS, _LARGE_TOOLS = 64, 16_000
#: Tokens of tools that no limit is because of.
_SMALL_TOOLS = 1_000
#: The number that most servers accept which have a limit.
_USUAL_MOST = 128
_BAD_IMAGES = Sentence(
    "The model server does not take one of this conversation's pictures, so this is answered without seeing any."
)
_LARGE_IMAGES = Sentence(
    "The model server does not take as much at once, so this is answered without seeing the conversation's pictures."
)
_UNSEEN = "(The pictures could not be passed on: you cannot see them.)"


class Asking:
    """One request, changed according to the server's refusals until it is answered or finally refused."""

    def __init__(
        self,
        body: Mapping[str, Any],
        template: Callable[[list[ChatMessage], list[JsonObject]], list[ChatMessage]],
        facts: ServerFacts,
        *,
        place: str,
        input_estimate: int,
        all_tools: int,
        uses_template: bool,
        may_use_template: bool,
        left_out: LeftOut = LeftOut(),  # noqa: B008 - frozen
        limit: int = 0,
    ) -> None:
        self.note = ""
        """What people should know about the change, if anything."""
        self.input_estimate = input_estimate
        self._body = body
        self._messages: list[ChatMessage] = list(body["messages"])
        self._template = template
        self._facts = facts
        self._place = place
        self.uses_template = uses_template or (may_use_template and facts.refuses_tools)
        self._may_use_template = may_use_template
        self._left_out = set(facts.left_out)
        self._filled_in = facts.filled_in
        self._limit = self._cuts = self._cuts_of_tools = 0
        self._all_tools = all_tools
        self._given_limit, self._cut = limit, left_out
        self._learned: list[Callable[[], None]] = []

    def encode(self) -> bytes:
        """The request as it is now."""
        return orjson.dumps(self._current())

    def described(self) -> ModelRequest:
        """The same for the record: the messages, tools, model and parameters of `encode`, and nothing else."""
        body = self._current()
        messages, tools, model = body.pop("messages"), body.pop("tools", []), body.pop("model")
        names = [tool["function"]["name"] for tool in self._body.get("tools", ())]
        limit = self._limit or self._given_limit
        return ModelRequest(model, messages, tools, names, body, self._cut, limit)

    def adapt(self, refusal: Refused) -> bool:
        """Change the request according to the refusal; returns False if that does not say what would be accepted."""
        words = refusal.words
        if refusal.status in (400, 403, 422, 451) and was_withheld(words):
            return self._leave_out_earlier()
        if refusal.status in (401, 402, 403, 429):
            return False
        if refusal.status in _WORDLESS and refusing.NO_REASON.fullmatch(words) and self._try_fewer_tools():
            return True
        if refusing.TOO_MANY_TOOLS.search(words) and self._offer_fewer_tools(words):
            return True
        if is_too_long(words):
            return self._leaves_length_open(words) or self._shorten(refusal)
        if refusing.TOO_MANY_MESSAGES.search(words):
            return self._halve()
        if refusal.status == _TOO_LARGE:
            return not waits_for_time(words) and (
                self._leave_out_images(_LARGE_IMAGES) or self._try_fewer_tools() or self._shorten(refusal)
            )
        return (
            self._refuses_images(words)
            or self._refuses_tools(words)
            or self._refuses_schemas(words)
            or self._misses_field(words)
            or self._refuses_own_fields(words)
            or self._refuses_part(refusal)
        )

    def remember(self) -> None:
        """The server has accepted the request: remember what it refused before, so that it is not sent again."""
        for learn in self._learned:
            learn()

    # -- what may be changed ----------------------------------------------------------------------

    def _refuses_tools(self, words: str) -> bool:
        # A message about how tools may be called is not a refusal of the tools.
        is_of_part = "parallel_tool_calls" in self._body.keys() - self._left_out and refusing.PARALLEL.search(words)
        if self.uses_template or not self._may_use_template or is_of_part:
            return False
        if refusing.WANTS_TOOLS.search(words) and "tools" not in self._body:
            self.uses_template = True
            return True
        if refusing.REFUSING_TOOLS.search(words):
            return self._give_up_tools()
        if refusing.TEMPLATE_FAILS.search(words) and not refusing.NO_SYSTEM.search(words):
            return self._give_up_tools()
        if not any(message["role"] == "tool" for message in self._messages):
            return False
        if refusing.UNSIGNED_CALLS.search(words):  # in other conversations it accepts tools
            self.uses_template = True
            return True
        return refusing.NO_RESULTS.search(words) is not None and self._give_up_tools()

    def _give_up_tools(self) -> bool:
        self.uses_template = True
        self._learn(self._facts.record_tools_refused, "takes no tools; for some minutes they go in the prompt")
        return True

    def _offer_fewer_tools(self, words: str) -> bool:
        """Offer only the first tools: as many as the server's message says, or half of them."""
        offered = self._body.get("tools", [])
        if self.uses_template or len(offered) < 2 or self._cuts_of_tools >= _MOST_BLIND_CUTS:
            return False
        self._cuts_of_tools += 1
        named = [int(found[1]) for found in refusing.MOST_TOOLS.finditer(words)] or [len(offered) // 2]
        most = next((number for number in named if 0 < number < len(offered)), 0)
        if not most:
            return False
        self._offer_first(most, is_reported=True)
        return True

    def _try_fewer_tools(self) -> bool:
        """Offer only the first tools, because they are very many or very large and the server does not say what is wrong."""
        offered = self._body.get("tools", [])
        is_much = len(offered) > _MANY_TOOLS or (len(offered) > 1 and self._has_large_tools())
        if self.uses_template or not is_much or self._cuts_of_tools >= _MOST_BLIND_CUTS:
            return False
        self._cuts_of_tools += 1
        self._offer_first(min(_USUAL_MOST, len(offered) // 2), is_reported=False)
        return True

    def _offer_first(self, most: int, *, is_reported: bool) -> None:
        self._keep_tools(most)
        self.note = explain_fewer_tools(self._all_tools, most)
        self._learn(
            lambda: self._facts.record_fewer_tools(most, is_reported=is_reported),
            f"takes at most {most} tools"
            if is_reported
            else f"has answered with {most} tools; for some minutes it is offered no more",
        )

    def _keep_tools(self, most: int) -> None:
        tools = self._body["tools"]
        self._body = {**self._body, "tools": tools[:most]}
        self.input_estimate = max(1, self.input_estimate - sum(map(tool_tokens, tools[most:])))

    def _refuses_schemas(self, words: str) -> bool:
        """Simplify the tools' parameters; if that is refused, too, put the tools in the prompt."""
        if "tools" not in self._body or self.uses_template or not refusing.REFUSING_SCHEMAS.search(words):
            return False
        if SCHEMAS in self._left_out:
            return self._may_use_template and self._give_up_tools()
        self._left_out.add(SCHEMAS)
        self._learn(lambda: self._facts.left_out.add(SCHEMAS), f"refuses {SCHEMAS}: they are left out from now on")
        return True

    def _refuses_images(self, words: str) -> bool:
        has_some = any(message.get(IMAGES) for message in self._messages)
        if not has_some or IMAGES in self._left_out:
            return False
        if not refusing.REFUSING_IMAGES.search(words):
            return self._refuses_one_image(words)
        self._left_out.add(IMAGES)
        self.note = Sentence("The model server takes no pictures, so this is answered without seeing them.")
        self._learn(lambda: self._facts.left_out.add(IMAGES), "takes no pictures: they are left out from now on")
        return True

    def _refuses_one_image(self, words: str) -> bool:
        """Leave out the pictures, only this time, because one of them is invalid."""
        return refusing.BAD_IMAGE.search(words) is not None and self._leave_out_images(_BAD_IMAGES)

    def _leave_out_images(self, note: str) -> bool:
        if IMAGES in self._left_out or not any(message.get(IMAGES) for message in self._messages):
            return False
        self._left_out.add(IMAGES)
        self.note = note
        return True

    def _leave_out_earlier(self) -> bool:
        """Leave out everything before the newest turn, only this time: it is sent with the next questions."""
        kept = newest_turn(self._messages)
        if len(kept) == len(self._messages):
            return False
        left = self.input_estimate - sum(map(message_tokens, self._messages)) + sum(map(message_tokens, kept))
        self._cut = LeftOut(
            self._cut.messages + len(self._messages) - len(kept), self._cut.tokens + self.input_estimate - left
        )
        self._messages, self.input_estimate = kept, left
        self.note = Sentence(
            "The model's provider did not let this conversation through, so this is answered without what was said before."
        )
        return True

    def _refuses_own_fields(self, words: str) -> bool:
        """Do not send the server's own fields back, because its signed or encrypted data is not valid any more."""
        if _OWN_FIELDS in self._left_out or not refusing.SPOILED.search(words):
            return False
        self._left_out.add(_OWN_FIELDS)
        return True

    def _misses_field(self, words: str) -> bool:
        found = refusing.MISSING.search(words)
        if found is None or EMPTY_THOUGHTS in self._left_out:
            return False
        if self._filled_in:
            self._leave_out(EMPTY_THOUGHTS)
            return True
        self._filled_in = name = (found[1] or found[2]).lower()
        self._learn(lambda: setattr(self._facts, "filled_in", name), f"wants {name} in each message of the model's")
        return True

    def _refuses_part(self, refusal: Refused) -> bool:
        words = refusal.words
        is_refusal = refusing.REFUSING.search(words) is not None
        named: list[str] = []
        if is_refusal or refusal.status in (400, 422):
            may_go = (name for name in optional_names(self._current()) if name not in self._left_out)
            # What is named after the refused part is what the server accepts.
            refused = refusing.KNOWN_PARTS.split(words, maxsplit=1)[0]
            named = [name for name in may_go if names_part(refused, name, is_refusal=is_refusal)]
            if len(named) > 1 and refusing.ONE_OF.search(words):
                del named[0]
        if refusing.SHORT_IDS.search(words) and LONG_IDS not in self._left_out:
            named = [LONG_IDS]
        elif refusing.NO_EMPTY.search(words) and EMPTY not in self._left_out:
            named = [EMPTY]
        elif refusing.NOT_BOTH.search(words) and BESIDE_CALLS not in self._left_out:
            named = [BESIDE_CALLS]
        elif "max_tokens" in self._body and refusing.NEW_LENGTH.search(words) and OLD_LENGTH not in self._left_out:
            named = [OLD_LENGTH]
        elif not named and refusing.NO_SYSTEM.search(words) and SYSTEM not in self._left_out:
            named = [SYSTEM]
        elif not named:
            group = find_group(words, is_refusal=is_refusal)
            named = [name for name in optional_names(self._current()) if name in group - self._left_out]
        for name in named:
            self._leave_out(name)
        return bool(named)

    def _leave_out(self, name: str) -> None:
        self._left_out.add(name)
        self._learn(functools.partial(self._facts.left_out.add, name), f"refuses {name}: it is left out from now on")

    def _shorten(self, refusal: Refused) -> bool:
        limit, counted = find_limit(f"{refusal.words} {refusal.body}")
        if self._cuts and (limit or self._cuts >= _MOST_BLIND_CUTS):
            return False
        estimate = self.input_estimate
        # Its tokens are not exactly ours.
        budget = int(limit * _SHARE_OF_LIMIT * min(1.0, estimate / counted if counted > limit else 1.0))
        if is_guess := not limit or budget >= estimate:
            budget = int(estimate * _BLIND_CUT)
        # Without a number that explains it, only very large tools are taken for the reason: the error may be about anything.
        has_fewer = (not is_guess or self._has_large_tools()) and self._fit_tools(budget)
        if not self._cut_to(budget) and not has_fewer:
            return False
        self._limit = budget
        note = explain_shorter(limit)
        self.note = join_sentences((self.note, note)) if has_fewer else note
        self._learn(
            lambda: self._facts.record_limit(budget, limits_tools=has_fewer or not is_guess),
            f"takes requests of about {budget} tokens at most",
        )
        return True

    def _has_large_tools(self) -> bool:
        return sum(map(tool_tokens, self._body.get("tools", ()))) > _LARGE_TOOLS

    def _fit_tools(self, budget: int) -> bool:
        """Offer only the first tools, those that leave enough of the budget to the conversation."""
        offered = self._body.get("tools", [])
        kept = len(fit_tools(offered, budget))
        if kept == len(offered) or sum(map(tool_tokens, offered)) <= _SMALL_TOOLS:
            return False
        self._keep_tools(kept)
        self.note = explain_large_tools(self._all_tools, kept)
        return True

    def _halve(self) -> bool:
        """Leave out the older half of the conversation, because it has too many messages, whatever their length."""
        if self._cuts >= _MOST_BLIND_CUTS or not self._cut_to(int(self.input_estimate * _BLIND_CUT)):
            return False
        self.note = Sentence(
            "The model server takes fewer messages at a time, so the oldest of this conversation were left out."
        )
        return True

    def _cut_to(self, budget: int) -> bool:
        """Cut the conversation to this many tokens; returns False if nothing can be cut."""
        self._cuts += 1
        estimate = self.input_estimate
        overhead = estimate - fit_to_budget(self._messages, estimate)[1]
        kept, cost, left_out = fit_to_budget(self._messages, budget - overhead)
        if len(kept) == len(self._messages) and cost + overhead >= estimate:
            return False
        self._messages, self.input_estimate, self._limit = kept, cost + overhead, budget
        self._cut = LeftOut(self._cut.messages + left_out.messages, self._cut.tokens + left_out.tokens)
        return True

    def _leaves_length_open(self, words: str) -> bool:
        """Leave the answer's length to the server, only this time: some servers refuse conversation and answer together as too long."""
        if "max_tokens" not in self._body or "max_tokens" in self._left_out or not refusing.ANSWER_TOO.search(words):
            return False
        self._left_out.add("max_tokens")
        return True

    def _learn(self, learn: Callable[[], None], words: str) -> None:
        def remember() -> None:
            learn()
            log.warning("%s, asked for %s, %s", self._place, self._body["model"], words)

        self._learned.append(remember)

    # -- the request as it is now -----------------------------------------------------------------

    def _current(self) -> JsonObject:
        body = self._changed()
        return {**body, "messages": [write_parts(message) for message in body["messages"]]}

    def _changed(self) -> JsonObject:
        body = {key: value for key, value in self._body.items() if key not in self._left_out}
        if OLD_LENGTH in self._left_out and "max_tokens" in body:
            body["max_completion_tokens"] = body.pop("max_tokens")
        if "stream" not in body:
            body.pop("stream_options", None)
        if SCHEMAS in self._left_out and "tools" in body:
            body["tools"] = [plain_tool(tool) for tool in body["tools"]]
        messages = self._messages
        if self.uses_template:
            body.pop("tools", None)
            messages = self._template(messages, self._body.get("tools", []))
        body["messages"] = messages
        if not (self._left_out or self._filled_in):
            return body
        body["messages"] = [self._message(message) for message in messages]
        if SYSTEM in self._left_out:
            body["messages"] = merge_system(body["messages"])
        return body

    def _message(self, message: ChatMessage) -> ChatMessage:
        kept = {key: value for key, value in message.items() if self._is_sent(key, NEEDED_IN_MESSAGES, _KNOWN)}
        if IMAGES not in kept:
            kept.pop(OF_TOOLS, None)
        if IMAGES in message and IMAGES in self._left_out:
            kept["content"] = f"{message['content']}\n{_UNSEEN}"
        if self._filled_in and kept["role"] == "assistant":
            kept.setdefault(self._filled_in, "")
            if EMPTY_THOUGHTS in self._left_out:
                kept[self._filled_in] = kept[self._filled_in] or _NO_THOUGHT
        if LONG_IDS in self._left_out:
            kept = shorten_ids(kept)
        if calls := kept.get("tool_calls"):
            if BESIDE_CALLS in self._left_out:
                kept["content"] = ""
            if EMPTY in self._left_out and not kept["content"]:
                kept["content"] = None
            kept["tool_calls"] = [
                {key: value for key, value in call.items() if self._is_sent(key, NEEDED_IN_CALLS, NEEDED_IN_CALLS)}
                for call in calls
            ]
        return kept

    def _is_sent(self, key: str, needed: frozenset[str], known: frozenset[str]) -> bool:
        if _OWN_FIELDS in self._left_out and key not in known:
            return False
        return key not in self._left_out or key in needed
