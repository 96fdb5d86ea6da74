"""What one process has found out about a model server is stored, and used by the other processes."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from agents import ModelSettings
from agents.models.probing import server_facts
from agents.models.server_facts import ServerFacts, forget_facts
from chat.catalog import model_facts
from chat.models import ModelServerFacts

pytestmark = pytest.mark.django_db


@pytest.fixture
def facts(settings: Any) -> ServerFacts:
    """What this process knows of the server: that it refuses three things."""
    settings.AGENT_MODEL = ModelSettings("http://user:secret@127.0.0.1:9/v1", "stub")
    forget_facts()
    known = server_facts(settings.AGENT_MODEL)
    known.left_out.add("stream_options")
    known.filled_in = "reasoning_content"
    known.record_tools_refused()
    known.record_limit(3_000, limits_tools=True)
    return known


def test_another_process_knows_all_of_it(facts: ServerFacts, settings: Any) -> None:
    model_facts.save_facts(settings.AGENT_MODEL)
    forget_facts()
    model_facts.load_facts()
    found = server_facts(settings.AGENT_MODEL)
    assert found is not facts
    assert found.export() == facts.export()
    assert found.refuses_tools
    assert found.limit(58_000) == 3_000
    assert found.limit_with_tools(58_000) == 3_000
    # Neither the address nor its password is stored.
    assert "secret" not in str(list(ModelServerFacts.objects.values_list()))
    assert "127.0.0.1" not in str(list(ModelServerFacts.objects.values_list()))


@pytest.mark.usefixtures("facts")
def test_after_a_day_it_is_asked_anew(settings: Any) -> None:
    model_facts.save_facts(settings.AGENT_MODEL)
    ModelServerFacts.objects.update(learned_at=timezone.now() - model_facts.LASTS - timedelta(seconds=1))
    forget_facts()
    model_facts.load_facts()
    assert server_facts(settings.AGENT_MODEL).export() == ServerFacts().export()


@pytest.mark.usefixtures("facts")
def test_another_server_or_model_is_another(settings: Any) -> None:
    model_facts.save_facts(settings.AGENT_MODEL)
    for server, model in (("http://127.0.0.1:8/v1", "stub"), ("http://user:secret@127.0.0.1:9/v1", "other"), ("", "")):
        settings.AGENT_MODEL = ModelSettings(server, model)
        forget_facts()
        model_facts.load_facts()
        assert not server or server_facts(settings.AGENT_MODEL).export() == ServerFacts().export()


async def test_a_process_looks_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[float] = []
    clock = [1_000.0]
    monkeypatch.setattr(model_facts.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(model_facts, "load_facts", lambda: looks.append(clock[0]))
    loader = model_facts.FactsLoader()
    for _ in range(130):
        await loader.load_in_time()
        clock[0] += 1
    assert looks == [1_000.0, 1_060.0, 1_120.0]
