"""Model servers that staff enter: allowed addresses, storage of keys, and the error of a run whose server cannot be used."""

from typing import Any

import pytest

from agents import AgentError, AgentSpec, ModelSettings
from agents.models.address_list import AddressList
from chat.accounts.models import User
from chat.catalog import agents, model_servers, server_changes
from chat.catalog.sealed import BadSecret, describe_secret, seal_secret, unseal_secret
from chat.models import Act, AuditEntry, ModelServer
from tests.chat import making

pytestmark = pytest.mark.django_db

ADDRESS = "https://models.example/v1"
FIELD_KEY = "a key of at least thirty-two characters"


@pytest.fixture(autouse=True)
def allowed(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.MODEL_SERVER_ADDRESSES = AddressList(["https://models.example", "https://*.wide.example"])
    settings.FIELD_KEY = FIELD_KEY
    settings.AGENT_MODEL = ModelSettings("http://127.0.0.1:9/v1", "own", "own-key", timeout_s=7)
    monkeypatch.setenv("AGENT_KEY", "from the environment")


@pytest.fixture
def ada() -> User:
    return making.user()


def server(by: User, of: ModelServer | None = None, **fields: Any) -> ModelServer:
    wishes = {"name": "models", "address": ADDRESS, "key": "sk-secret", "seeing_models": ["*-vl"]} | fields
    made = server_changes.save_server(of or ModelServer(), by, **wishes)
    model_servers.forget()
    return made


def version(of: ModelServer | None, model: str = "") -> agents.Version:
    return agents.Version(1, AgentSpec("a", "A", "", "", (), model=model), of.pk if of else None)


def test_a_version_asks_the_installations_model_unless_it_names_one(ada: User) -> None:
    assert model_servers.names_of(version(None)) == ("own", "default")
    assert model_servers.settings_for(version(None, "bigger")).model == "bigger"
    assert model_servers.settings_for(version(None, "bigger")).api_key == "own-key"
    other = version(server(ada), "large-vl")
    assert model_servers.names_of(other) == ("large-vl", "models")
    asked = model_servers.settings_for(other)
    assert (asked.server, asked.model, asked.api_key, asked.timeout_s) == (ADDRESS, "large-vl", "sk-secret", 7)
    assert (model_servers.sees_images(other), model_servers.sees_images(version(None))) == (True, False)


def test_without_a_server_the_demo_answers(settings: Any) -> None:
    settings.AGENT_MODEL = ModelSettings()
    assert model_servers.names_of(version(None, "any")) == ("demo", "demo")
    assert model_servers.settings_for(version(None, "any")) == ModelSettings()


def test_a_key_is_in_no_table_and_in_no_description_as_it_is(ada: User) -> None:
    made = server(ada)
    stored = ModelServer.objects.values_list("key", flat=True).get()
    assert "sk-secret" not in stored
    assert unseal_secret(stored) == "sk-secret"
    assert describe_secret(made.key) == "••••••"
    assert describe_secret(seal_secret("env:AGENT_KEY")) == "env:AGENT_KEY"
    assert "sk-secret" not in repr(model_servers.settings_for(version(made, "m")))


KEYS = [
    ("env:SECRET_KEY", "begin with AGENT_"),
    ("env:LLM_API_KEY", "begin with AGENT_"),
    ("env:AGENT_key", "begin with AGENT_"),
    ("env:AGENT_", "begin with AGENT_"),
    ("env: AGENT_KEY", "begin with AGENT_"),
]


@pytest.mark.parametrize(("typed", "words"), KEYS)
def test_variables_of_the_program_itself_cannot_be_asked_for(typed: str, words: str) -> None:
    with pytest.raises(BadSecret, match=words):
        seal_secret(typed)


def test_without_a_field_key_only_variables_are_taken(settings: Any) -> None:
    settings.FIELD_KEY = ""
    assert unseal_secret(seal_secret("env:AGENT_KEY")) == "from the environment"
    with pytest.raises(BadSecret, match="Without FIELD_KEY"):
        seal_secret("sk-secret")


def test_another_address_empties_the_key(ada: User) -> None:
    made = server(ada)
    assert server(ada, made, key=None, name="renamed").key
    assert server(ada, made, key=None, address="https://models.example/v2").key == ""
    assert unseal_secret(server(ada, made, key="sk-new", address="https://models.example/v3").key) == "sk-new"
    assert server(ada, made, key="").key == ""
    assert AuditEntry.objects.filter(action=Act.SAVE, about="model server models").count() == 4


def closed(made: ModelServer, by: User, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server_changes.close_server(made, by, closed=True)


def not_allowed_any_more(made: ModelServer, by: User, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.MODEL_SERVER_ADDRESSES = AddressList(["https://other.example"])


def another_field_key(made: ModelServer, by: User, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.FIELD_KEY = "another key of at least thirty-two letters"


def no_variable(made: ModelServer, by: User, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AGENT_KEY")
    server(by, made, key="env:AGENT_KEY")


UNUSABLE = [
    (closed, "model_unreachable", "“models” was closed"),
    (not_allowed_any_more, "model_unreachable", "not allowed any more"),
    (another_field_key, "model_auth", "another FIELD_KEY"),
    (no_variable, "model_auth", "AGENT_KEY is not set"),
]


@pytest.mark.parametrize(("happens", "code", "words"), UNUSABLE)
def test_a_run_is_told_why_its_model_cannot_be_asked(
    ada: User, settings: Any, monkeypatch: pytest.MonkeyPatch, happens: Any, code: str, words: str
) -> None:
    made = server(ada)
    happens(made, ada, settings, monkeypatch)
    model_servers.forget()
    with pytest.raises(AgentError, match=words) as failed:
        model_servers.settings_for(version(made, "m"))
    assert failed.value.code == code


def test_a_host_that_the_operator_has_not_named_may_not_be_in_a_private_network(ada: User) -> None:
    assert not model_servers.settings_for(version(server(ada), "m")).public_only
    wide = server(ada, name="wide", address="https://eu.wide.example/v1")
    assert model_servers.settings_for(version(wide, "m")).public_only
