"""A budget from the admin to the frames: one last answer, then none, then there is budget again."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.chat.api.test_calls import ask, ended
from tests.model_server import ModelServer
from tests.serving import Browser, serving


@pytest.fixture
async def ada(tmp_path: Path, model: ModelServer) -> AsyncIterator[Browser]:
    """A member of staff, on a server of her own, because budgets affect all its users."""
    llm = {"LLM_MODEL_SERVER": model.url, "LLM_MODEL": "stub"}
    with serving(tmp_path, "ada", **llm) as server:
        async with Browser.logged_in(server.url) as browser:
            yield browser


async def submit(browser: Browser, path: str, form: dict[str, str]) -> str:
    """Submit a form of the admin; returns where it redirects to."""
    form = {**form, "csrfmiddlewaretoken": browser.cookie("csrftoken")}
    headers = {"Referer": f"{browser.url}/admin/"}
    async with browser.http.post(f"/admin/chat/{path}", data=form, headers=headers, allow_redirects=False) as answer:
        assert answer.status == 302, await answer.text()
        return answer.headers["Location"]


async def steps_of(browser: Browser, session_id: str, run_id: str) -> list[dict[str, Any]]:
    _, answer = await browser.call("GET", f"sessions/{session_id}/events/")
    return [event["data"] for event in answer["events"] if event["run_id"] == run_id]


async def test_a_budget_is_spent_and_there_is_budget_again(ada: Browser, model: ModelServer) -> None:
    await submit(ada, "budget/add/", {"scope": "user_day", "limit": "50", "unit": "tokens"})
    session_id = await ada.new_session()
    run_id = await ask(ada, session_id, "Add it up [call=current_time:{}]")
    run = await ended(ada, run_id)
    steps = await steps_of(ada, session_id, run_id)
    assert (run["status"], run["iterations"]) == ("completed", 2)
    assert ["tools" in request.body for request in model.requests] == [True, False]
    (note,) = [step["content"] for step in steps if "One last answer follows" in step.get("content", "")]
    assert note.startswith("Your budget for today is used up: 50 tokens.")
    budget = next(step["budget"] for step in reversed(steps) if "budget" in step)
    assert budget["used"] == run["usage"]["input_tokens"] + run["usage"]["output_tokens"]

    # Exhausted: a message is stored, and its run fails before the model is called.
    refused = await ask(ada, session_id, "And now?")
    run = await ended(ada, refused)
    assert (run["status"], run["code"], run["iterations"]) == ("failed", "budget_exceeded", 1)
    assert len(model.requests) == 2
    status, answer = await ada.call("POST", f"runs/{refused}/continue/", {})
    assert (status, answer["error"]["code"]) == (409, "budget_exceeded")
    async with ada.socket(session_id) as socket:
        assert (await socket.receive())["data"]["budget"] == budget | {"limit": 50.0, "unit": "tokens"}

    await submit(ada, "budget/1/delete/", {"post": "yes"})
    status, answer = await ada.call("POST", f"runs/{refused}/continue/", {})
    assert status == 202
    assert (await ended(ada, answer["run_id"]))["status"] == "completed"
    async with ada.socket(session_id) as socket:
        assert "budget" not in (await socket.receive())["data"]
