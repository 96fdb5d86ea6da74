"""The requests that a model server would be sent after a conversation, without sending them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson
from qwen_agent.llm.schema import SYSTEM, Message

from agents.history import repair_tool_calls
from agents.models.adapting import LONG_IDS, Asking
from agents.models.adapting import SYSTEM as SYSTEM_PART
from agents.models.openai_compatible import OpenAICompatible, server_id
from agents.models.server_facts import ServerFacts
from agents.models.server_url import completions_url
from agents.qwen import _to_qwen
from agents.specs import Parameters

URL = "http://model.test/v1"
MODEL = "m"
#: The name of the server in a step's origin.
SERVER = server_id(completions_url(URL), MODEL)
#: Fields that this server has sent, in these tests.
OWN_FIELDS = ("reasoning_content", "reasoning", "reasoning_details", "extra_content", "thought_signature")


def bodies(conversation: Sequence[Mapping[str, Any]], budget: int = 58_000) -> Iterator[dict[str, Any]]:
    """The requests after a conversation: in the API's form, with the tools in the prompt, and to servers that refuse parts of it."""
    model = OpenAICompatible(
        {
            "model": MODEL,
            "model_server": URL,
            "api_key": "",
            "timeout_s": 1.0,
            "tool_format": "auto",
            "max_input_tokens": budget,
            "public_only": False,
            "parameters": Parameters(),
            "host": None,
        }
    )
    messages = [Message(SYSTEM, "You are you."), *_to_qwen(repair_tool_calls(conversation))]
    echo = {"name": "echo", "description": "Says it.", "parameters": {"type": "object", "properties": {}}}
    request = model.request(messages, [echo])
    for left_out in ((), ("stream_options", "name", "reasoning_content", "reasoning_details"), (SYSTEM_PART, LONG_IDS)):
        for uses_template in (False, True):
            asking = Asking(
                request.body(),
                request.in_template,
                ServerFacts(left_out=set(left_out)),
                place=URL,
                input_estimate=request.input_estimate,
                all_tools=1,
                uses_template=uses_template,
                may_use_template=False,
            )
            yield orjson.loads(asking.encode())
