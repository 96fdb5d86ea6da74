"""An extension in the product as it is started: its agents are offered, and what they do is stored and sent as any other run is."""

from pathlib import Path

import pytest

from tests.model_server import ModelServer
from tests.serving import Browser, serving


@pytest.mark.long
async def test_an_agent_of_an_extension_is_asked_like_any_other(tmp_path: Path, model: ModelServer) -> None:
    llm = {"LLM_MODEL_SERVER": model.url, "LLM_MODEL": "stub", "EXTENSIONS": "tests.example_extension"}
    with serving(tmp_path / "data", "ada", **llm) as server:
        async with Browser.logged_in(server.url, "ada") as browser:
            async with browser.http.get("/api/agents/") as answer:
                offered = {agent["name"]: agent for agent in (await answer.json())["items"]}
            assert offered["poet"]["description"] == "Answers, and signs its texts."
            session = await browser.new_session()
            async with browser.socket(session) as socket:
                words = 'Roll [reasoning=6 call=roll_dice:{"times":1} call=current_time:{}]'
                await socket.send("chat", message=words, agent_name="poet")
                complete = await socket.until_type("reasoning_complete")
                assert complete["data"]["status"] == "completed"
                stored = socket.stored()
                assert [frame["seq"] for frame in stored] == list(range(1, len(stored) + 1))
                assert [frame["data"].get("type", frame["type"]) for frame in stored] == [
                    "reasoning_start",
                    "start",
                    "iteration_start",
                    "thought",
                    "tool_use",
                    "tool_use",
                    "tool_result",
                    "tool_result",
                    "iteration_end",
                    "iteration_start",
                    "thought",
                    "final_answer",
                    "iteration_end",
                    "complete",
                    "reasoning_complete",
                ]
                assert any(frame["type"] == "reasoning_delta" for frame in socket.frames)
                answer_step = next(frame["data"] for frame in stored if frame["data"].get("type") == "final_answer")
                assert answer_step["content"].endswith("The poet")
                run_id = complete["run_id"]
            async with browser.http.get(f"/api/runs/{run_id}/calls/") as answer:
                calls = (await answer.json())["calls"]
            assert [(call["iteration"], sorted(call["tools"])) for call in calls] == [
                (1, ["current_time", "roll_dice"]),
                (2, ["current_time", "roll_dice"]),
            ]
            async with browser.http.get(f"/sessions/{session}/") as page:
                assert "used roll_dice" in (await page.text()).lower()
