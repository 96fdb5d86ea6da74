"""Files in a conversation: how a model is sent them, and how files are stored that tools return."""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from agents import Agent, CancelToken, FileData, FoundLine, ModelSettings, ReturnedFile, Toolbox, ToolText, get_agent
from tests import documents
from tests.agents.conftest import Echo, steps_of
from tests.agents.tools.test_egress import Record
from tests.model_server import ModelServer, Script, by_words

PNG = documents.picture()
PICTURE: FileData = {"id": "p1", "name": "red.png", "media_type": "image/png", "size": len(PNG)}
NOTES: FileData = {"id": "t1", "name": "notes.txt", "media_type": "text/plain", "size": 8}
LINES = ["Tea: 3", "Milk: 1"]


class Files:
    """A session's files, in memory."""

    def __init__(self, *listed: FileData) -> None:
        self.are_any = bool(listed)
        self._listed = listed
        self.kept: list[ReturnedFile] = []

    def listed(self) -> Sequence[FileData]:
        return self._listed

    def pages(self, file_id: str, stop: CancelToken) -> int:
        return 1

    def lines(self, file_id: str, page: int, first: int) -> Iterator[tuple[int, str]]:
        return iter([(number, line) for number, line in enumerate(LINES, 1) if number >= first])

    def search(
        self, file_ids: Sequence[str], query: str, limit: int, stop: CancelToken
    ) -> tuple[list[FoundLine], list[str]]:
        return [FoundLine(NOTES, 1, 2, "Milk: 1")] if query == "milk" else [], ["“a.png” could not be searched."]

    def content(self, file_id: str) -> bytes:
        return PNG if file_id == "p1" else b""

    def keep(self, returned: Sequence[ReturnedFile]) -> tuple[list[FileData], list[str]]:
        self.kept += returned
        return [PICTURE], ["Another was left out."]


class Drawing(Echo):
    """Returns a picture with its text."""

    name = "draw"

    def call(self, arguments: dict[str, Any], stop: CancelToken) -> str:
        return ToolText("Here it is.", [ReturnedFile("", PNG)])


def agent_with(server: ModelServer, files: Files, **settings: Any) -> Agent:
    model = ModelSettings(**({"server": server.url, "model": "scripted"} | settings))
    agent = get_agent("writer", model=model, toolbox=Toolbox(extra=[Drawing()], files=files))
    return dataclasses.replace(agent, spec=dataclasses.replace(agent.spec, tools=()))


async def asked(server: ModelServer, files: Files, message: str = "Look", **settings: Any) -> list[dict[str, Any]]:
    run = agent_with(server, files, **settings).start(message, files=[PICTURE, NOTES])
    steps = await steps_of(run)
    assert run.outcome is not None
    assert run.outcome.status == "completed", run.outcome
    return steps


#: What is asked, whether the model sees pictures, and whether it then knows private data. A further one is one line.
PRIVATE = [
    ('Look [call=read_file:{"file": "notes.txt"}]', False, True),
    ('Look [call=read_file:{"file": "other"}]', False, False),
    ('Look [call=search_file:{"query": "milk"}]', False, True),
    ('Look [call=search_file:{"query": "tea"}]', False, False),
    ("Look", False, False),
    ("Look", True, True),
]


@pytest.mark.parametrize(("message", "sees_images", "is_private"), PRIVATE)
async def test_what_is_read_of_files_marks_the_session(
    server: ModelServer, message: str, sees_images: bool, is_private: bool
) -> None:
    record = Record()
    agent = agent_with(server, Files(PICTURE, NOTES), sees_images=sees_images)
    agent = dataclasses.replace(agent, toolbox=dataclasses.replace(agent.toolbox, privacy=record))
    await steps_of(agent.start(message, files=[PICTURE, NOTES]))
    assert record.marked is is_private


def last_content(server: ModelServer) -> Any:
    return [message for message in server.requests[-1].body["messages"] if message["role"] == "user"][-1]["content"]


async def test_a_model_that_sees_is_sent_the_picture_and_told_of_the_rest(server: ModelServer) -> None:
    await asked(server, Files(PICTURE, NOTES), sees_images=True)
    text, picture = last_content(server)
    assert text["text"].startswith("Look\n\nFiles with this message: ")
    assert "“red.png”, image/png, 0.1 kB, shown here; “notes.txt”, text/plain, 0.0 kB, to be read" in text["text"]
    assert picture["image_url"]["url"].startswith("data:image/png;base64,iVBORw0KGgo")


async def test_a_model_that_does_not_see_is_told_so(server: ModelServer) -> None:
    await asked(server, Files(PICTURE, NOTES))
    assert "“red.png”, image/png, 0.1 kB, a picture that you cannot see" in last_content(server)


async def test_pictures_of_earlier_turns_are_shown_again_and_gone_ones_are_not(server: ModelServer) -> None:
    gone: FileData = {**PICTURE, "id": "gone"}
    history = [
        {"role": "user", "content": "One", "files": [PICTURE]},
        {"role": "assistant", "content": "Red."},
        {"role": "user", "content": "Two", "files": [gone]},
        {"role": "assistant", "content": "?"},
    ]
    await steps_of(agent_with(server, Files(PICTURE), sees_images=True).start("Three", history=history))
    users = [message["content"] for message in server.requests[0].body["messages"] if message["role"] == "user"]
    assert [isinstance(content, list) for content in users] == [True, False, False]


async def test_pictures_go_along_where_tools_stand_in_the_prompt(server: ModelServer) -> None:
    await asked(server, Files(PICTURE), sees_images=True, tool_format="template")
    assert last_content(server)[1]["type"] == "image_url"


#: Errors of servers that do not accept pictures. A further one is one line.
NO_IMAGES = [
    (500, "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj"),
    (400, "At most 0 image(s) may be provided in one prompt."),
    (400, "m is not a multimodal model"),
    (400, "Invalid content type. image_url is only supported by certain models."),
    (422, "messages[1]: unknown variant `image_url`, expected `text` at line 1"),
    (404, "No endpoints found that support image input"),
    (400, "this model does not support images"),
    (400, "'messages.1.content' : content must be a string"),
    (422, '{"detail": [{"loc": ["body", "messages", 1, "content"], "msg": "Input should be a valid string"}]}'),
    (422, "messages[1].content: invalid type: sequence, expected a string at line 1 column 90"),
    (400, "json: cannot unmarshal array into Go struct field ChatMessage.messages.content of type string"),
    (400, "messages[0].content: expected string, got array"),
    (400, "This model only supports text input"),
    (400, "The model is not multimodal."),
    (400, "multimodal input is not supported"),
    (400, "unsupported message content part: 'image'"),
    (400, "Unsupported content type 'image_url'"),
    (400, "messages[0].content[1].type: 'image_url' is not one of ['text']"),
    (422, "messages.0.content.1.type: Input should be 'text'"),
    (400, "This model does not support image inputs"),
    (400, "no vision adapter"),
    (500, "vision encoder is not loaded"),
    (400, "Cannot process images: vision tower is not loaded"),
    (400, "Model does not accept images"),
    (400, "This is a text-only model."),
    (400, "messages[1].content[1].type must be 'text'"),
    (400, "Unsupported modality: image"),
    (400, "模型不支持图片输入"),
]


@pytest.mark.parametrize(("status", "words"), NO_IMAGES)
async def test_a_server_that_takes_no_pictures_is_asked_without(server: ModelServer, status: int, words: str) -> None:
    def respond(body: dict[str, Any]) -> Script:
        if any(isinstance(message["content"], list) for message in body["messages"]):
            return Script(status=status, body=words if words[0] == "{" else json.dumps({"error": {"message": words}}))
        return by_words(body)

    server.respond = respond
    steps = await asked(server, Files(PICTURE), sees_images=True)
    assert any("takes no pictures" in step["content"] for step in steps if step["type"] == "thought")
    assert "you cannot see them" in last_content(server)
    await asked(server, Files(PICTURE), sees_images=True)
    assert len(server.requests) == 3, "it is not tried again"


#: Errors of servers about one invalid picture. A further one is one line.
BAD_IMAGES = [
    "failed to process image",
    "Could not process image",
    "Invalid image data",
    "image media type not supported by this model's provider",
    "messages.0.content.1.image.source.base64.data: At least one of the image dimensions exceed max allowed size: 8000 pixels",
    "The image length and width do not meet the model restrictions: image too small",
    "You uploaded an unsupported image. Please make sure your image has of one the following formats: ['png', 'jpeg']",
    "Unable to process input image. Please retry or report",
    "cannot identify image file <_io.BytesIO object>",
    "Image size is 21 MB, which exceeds the allowed limit of 20 MB.",
    "Too many images in request: 12",
    "Invalid base64 image_url.",
    "Error while downloading image_url",
    "Invalid 'messages[0].content[1].image_url.url'. Expected a base64-encoded data URL with an image MIME type",
    "Failed to process image input",
    "The image data you provided does not represent a valid image.",
    "The image length and width do not meet the model restrictions. [height:8 or width:8 must be larger than 10]",
    "absolute aspect ratio must be smaller than 200, got 300.0",
    "Multimodal file size is too large",
    "Invalid MIME type. Only the types png, jpeg, gif and webp can be read.",
]


@pytest.mark.parametrize("words", BAD_IMAGES)
async def test_a_picture_that_is_no_good_does_not_end_the_conversation(server: ModelServer, words: str) -> None:
    refusal = Script(status=400, body=json.dumps({"error": {"message": words}}))
    server.enqueue(refusal)
    steps = await asked(server, Files(PICTURE), sees_images=True)
    assert any("without seeing" in step["content"] for step in steps if step["type"] == "thought")
    assert "you cannot see them" in last_content(server)
    await asked(server, Files(PICTURE), sees_images=True)
    sent = [isinstance(request.body["messages"][-1]["content"], list) for request in server.requests]
    assert sent == [True, False, True], "other pictures are still sent"


async def test_pictures_that_a_proxy_does_not_let_through_do_not_end_the_conversation(server: ModelServer) -> None:
    server.enqueue(Script(status=413, body="<html><head><title>413 Request Entity Too Large</title></head></html>"))
    steps = await asked(server, Files(PICTURE), sees_images=True)
    assert any("does not take as much at once" in step["content"] for step in steps if step["type"] == "thought")
    assert "final_answer" in {step["type"] for step in steps}
    assert "you cannot see them" in last_content(server)


async def test_files_that_tools_return_are_stored_and_reported(server: ModelServer) -> None:
    files = Files()
    steps = await asked(server, files, 'Draw [call=draw:{"text": "x"}]')
    (result,) = [step for step in steps if step["type"] == "tool_result"]
    assert result["files"] == [PICTURE]
    assert result["content"] == (
        "Here it is.\n[Kept in this conversation, where the person sees it: “red.png”.]\n[Another was left out.]"
    )
    assert files.kept == [ReturnedFile("", PNG)]


async def test_a_model_that_sees_is_shown_what_tools_return(server: ModelServer) -> None:
    call = 'Draw [call=draw:{"text": "x"} call=draw:{"text": "y"}]'
    await steps_of(agent_with(server, Files(), sees_images=True).start(call))
    shown = server.requests[-1].body["messages"][-5:]
    assert [message["role"] for message in shown] == ["assistant", "tool", "tool", "assistant", "user"]
    assert [part["type"] for part in shown[-1]["content"]] == ["text", "image_url", "image_url"]


CALLS: list[tuple[str, dict[str, Any], bool, str]] = [
    ("read_file", {"file": "notes.txt"}, True, "“notes.txt”, page 1 of 1, lines 1–2:\n1\tTea: 3\n2\tMilk: 1"),
    ("read_file", {"file": "“NOTES.txt”", "to_line": 1}, True, "1\tTea: 3\n[The page goes on at line 2.]"),
    ("read_file", {"file": "t1", "from_line": 2}, True, "lines 2–2:\n2\tMilk: 1"),
    ("read_file", {"file": "t1", "from_line": 9}, False, "Page 1 of “notes.txt” has no line 9."),
    ("read_file", {"file": "t1", "page": 7}, False, "“notes.txt” has 1 page; there is no page 7."),
    ("read_file", {"file": "other"}, False, "There is no file “other” in this conversation. There are: “notes.txt”."),
    ("read_file", {"file": "t1", "page": 0}, False, "page"),
    (
        "search_file",
        {"query": "milk"},
        True,
        "1 line for “milk”:\n“notes.txt”, page 1, line 2: Milk: 1\n[“a.png” could",
    ),
    ("search_file", {"query": "tea", "file": "t1"}, True, "Nothing was found for “tea” in 1 file."),
    ("search_file", {"query": " "}, False, "the query is empty"),
]


@pytest.mark.parametrize(("tool", "arguments", "ok", "words"), CALLS)
async def test_the_tools_say_where_it_stands(
    server: ModelServer, tool: str, arguments: dict[str, Any], ok: bool, words: str
) -> None:
    run = agent_with(server, Files(NOTES)).start(f"Look [call={tool}:{json.dumps(arguments)}]")
    (result,) = [step for step in await steps_of(run) if step["type"] == "tool_result"]
    assert (result["ok"], words in result["content"]) == (ok, True), result["content"]
