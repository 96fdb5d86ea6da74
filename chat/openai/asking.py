"""From a request to a run, in a session that people can watch, stop and inspect."""

from chat.accounts.models import User
from chat.openai.conversations import Message, digest_of, image_bytes, picture_digest
from chat.openai.failures import bad_request
from chat.openai.requests import AnswerRequest
from chat.protocol import as_uuid
from chat.runs import client_turns
from chat.runs.client_turns import Asked, ClientTurn, EarlierMessage, no_such_response
from chat.runs.request_keys import AskedKey
from chat.runs.uploads import in_file_thread

#: Bytes of a picture, in base64, that are decoded on the loop.
_SMALL = 64 * 1024


async def start_run(user: User, wanted: AnswerRequest, key: AskedKey | None) -> Asked:
    """Start the run of a request. Raises `Failure` and `Refused`."""
    images = sum(len(image) for message in _messages(wanted) for image in message.images)
    turn = await in_file_thread(_turn, wanted, key) if images > _SMALL else _turn(wanted, key)
    return await client_turns.ask_for_client(user, turn)


def _messages(wanted: AnswerRequest) -> tuple[Message, ...]:
    return (*wanted.conversation.earlier, wanted.conversation.asked)


def _turn(wanted: AnswerRequest, key: AskedKey | None) -> ClientTurn:
    asked, earlier = wanted.conversation.asked, wanted.conversation.earlier
    previous = None
    if wanted.previous is not None:
        previous = as_uuid(wanted.previous.removeprefix("resp_"))
        if previous is None:
            raise no_such_response()
        if earlier:
            raise bad_request("With “previous_response_id”, “input” is what is new: one message.", "input")
    return ClientTurn(
        wanted.model,
        asked.text,
        images=tuple(map(image_bytes, asked.images)),
        pictures=tuple(map(picture_digest, asked.images)),
        earlier=tuple(EarlierMessage(_data(each), tuple(map(image_bytes, each.images))) for each in earlier),
        earlier_digest=digest_of(earlier),
        instructions=wanted.conversation.instructions,
        session_id=wanted.session_id,
        previous=previous,
        key=key,
    )


def _data(message: Message) -> dict[str, object]:
    data: dict[str, object] = {"role": message.role, "content": message.text}
    if message.calls:
        data["tool_calls"] = list(message.calls)
    if message.role == "tool":
        data |= {"tool_call_id": message.call_id, "name": ""}
    return data
