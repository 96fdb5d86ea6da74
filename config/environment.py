"""The variables of an installation: each one's type, default and range, and one line for each wrong value."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from agents.models.address_list import AddressList
from agents.specs import ToolFormat
from config.env_file import UnreadableFile, joined_lines, misspelt_names, quoted_values, read_file
from config.env_types import (
    NOT_ITS_OWN,
    Addresses,
    ApprovalPolicy,
    Database,
    Endpoint,
    FieldKey,
    Folder,
    Hosts,
    Issuer,
    JsonObject,
    ListeningHost,
    Mail,
    ModelServer,
    Networks,
    Origins,
    OwnHosts,
    PublicAddress,
    PublicUrl,
    Redis,
    StaticFolder,
    ValueRefused,
    Words,
)
from config.kept_secret import kept_secret

#: Names that others read: the compose file, Django itself.
_NAMES_OF_OTHERS = frozenset(
    {"POSTGRES_PASSWORD", "REDIS_PASSWORD", "SITE_ADDRESS", "HTTP_PORT", "HTTPS_PORT", "DJANGO_SETTINGS_MODULE"}
)
_DAY_S, _HOUR_S = 86_400, 3_600
_SHOWN = 200


class EnvironmentRefused(Exception):
    """The variables are invalid, so nothing can start; `problems` has a sentence for each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Environment(BaseSettings):
    """The values from the environment and, where it does not have a variable, from the ``.env`` file. A blank value counts as not set."""

    model_config = SettingsConfigDict(
        case_sensitive=True, enable_decoding=False, extra="ignore", frozen=True, validate_default=False
    )

    HOST: ListeningHost = "127.0.0.1"
    PORT: int = Field(8000, ge=1, le=65535)
    DEBUG: bool = False
    DATA_DIR: Folder = Field(Path("var"), validate_default=True)
    STATIC_ROOT: StaticFolder = None
    PUBLIC_URL: PublicAddress = PublicUrl()
    ALLOWED_HOSTS: OwnHosts = ["localhost", "127.0.0.1", "[::1]"]
    CSRF_TRUSTED_ORIGINS: Origins = []
    TRUSTED_PROXIES: Networks = ["127.0.0.0/8", "::1/128"]
    DATABASE_URL: Database = None
    REDIS_URL: Redis = None
    BROKER_URL: Redis = None
    ALLOW_SIGNUP: bool = False
    DJANGO_SUPERUSER_USERNAME: str = "admin"
    DJANGO_SUPERUSER_PASSWORD: str = ""
    DJANGO_SUPERUSER_EMAIL: str = ""
    EMAIL_URL: Mail = None
    MFA_REQUIRED: Literal["none", "staff", "all"] = "none"
    OIDC_ISSUER: Issuer = ""
    OIDC_NAME: str = ""
    OIDC_CLIENT_ID: str = ""
    OIDC_CLIENT_SECRET: str = ""
    OIDC_SCOPES: Words = ["openid", "profile", "email"]
    OIDC_GROUPS_CLAIM: str = "groups"
    OIDC_GROUPS: JsonObject = {}
    OIDC_STAFF_GROUPS: Words = []
    OIDC_ALLOWED_GROUPS: Words = []
    OIDC_RECHECK_S: float = Field(300, ge=0, le=_DAY_S)

    LLM_MODEL_SERVER: ModelServer = ""
    LLM_MODEL: str = ""
    LLM_API_KEY: str = ""
    LLM_TIMEOUT_S: float = Field(120, ge=0.1, le=_DAY_S)
    LLM_TOOL_FORMAT: ToolFormat = "auto"
    LLM_MAX_INPUT_TOKENS: int = Field(58_000, ge=1_000)
    LLM_SEEING_MODELS: Words = []
    MODEL_SERVER_ADDRESSES: Addresses = AddressList(())
    FIELD_KEY: FieldKey = ""
    MCP_SERVERS: JsonObject = {}
    MCP_SERVER_ADDRESSES: Addresses = AddressList(())
    EXTENSIONS: Words = []
    FETCH_ALLOWED_HOSTS: Hosts = []
    FETCH_DENIED_HOSTS: Hosts = []

    MAX_ITERATIONS: int = Field(20, ge=0)
    RUN_LEASE_S: float = Field(30, ge=1, le=_DAY_S)
    SHUTDOWN_S: float = Field(5, ge=0, le=_HOUR_S)
    AUTO_CONTINUE: bool = False
    APPROVAL_POLICY: ApprovalPolicy = ()
    APPROVAL_DEADLINE_S: float = Field(86_400, ge=1, le=366 * _DAY_S)
    APPROVAL_UNANSWERED: Literal["deny", "stop"] = "deny"
    MAX_ACTIVE_RUNS_PER_USER: int = Field(4, ge=0)
    MAX_RUNS_PER_WORKER: int = Field(100, ge=1, le=1_000)
    MAX_MESSAGE_CHARS: int = Field(32_000, ge=0)
    MAX_SOCKETS_PER_USER: int = Field(32, ge=0)
    MAX_MESSAGES_PER_MINUTE: int = Field(60, ge=0)
    MAX_QUEUED_RUNS: int = Field(5, ge=0)
    MAX_CASES_AT_ONCE: int = Field(2, ge=0)
    MAX_SCHEDULES_PER_USER: int = Field(100, ge=0)
    MAX_FILE_MB: int = Field(20, ge=0, le=200)
    MAX_FILES_PER_USER_MB: int = Field(1_000, ge=0)
    WEBHOOKS: bool = False
    RETENTION_DAYS: int = Field(0, ge=0, le=36_500)
    AUDIT_DAYS: int = Field(0, ge=0, le=36_500)

    METRICS_TOKEN: str = ""
    WORKER_METRICS_PORT: int = Field(0, ge=0, le=65535)
    OTEL_EXPORTER_OTLP_ENDPOINT: Endpoint = ""
    OTEL_EXPORTER_OTLP_HEADERS: str = ""
    OTEL_CONTENT: bool = False

    HSTS_SECONDS: int = Field(_HOUR_S, ge=0, le=63_072_000)
    HSTS_INCLUDE_SUBDOMAINS: bool = False
    HSTS_PRELOAD: bool = False
    REQUEST_TIMEOUT_S: float = Field(20, ge=0.1, le=_HOUR_S)
    SECRET_KEY: str = ""
    SECRET_KEY_FALLBACKS: Words = []

    def secret_key(self) -> str:
        """Django's key: the one that is set, or one that is generated once and kept in the data folder. Raises `EnvironmentRefused`."""
        file = self.DATA_DIR / "secret_key"
        try:
            return self.SECRET_KEY or kept_secret(file)
        except (OSError, ValueError) as error:
            raise EnvironmentRefused([f"SECRET_KEY is not set and cannot be kept in {file} ({error})."]) from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment comes before the given values, which are the file's: read here, so that errors name its lines."""
        return env_settings, init_settings

    @model_validator(mode="before")
    @classmethod
    def _leave_out_blanks(cls, values: Mapping[str, str]) -> dict[str, str]:
        return {name: value.strip() for name, value in values.items() if value.strip()}


def check_time_zones(folder: Path) -> None:
    """Raise `EnvironmentRefused` if the system's folder of time zones is there and lacks UTC: then Django does not start.

    Where the folder is missing, the zones are those of Python's own package.
    """
    if folder.exists() and not (folder / "UTC").exists():
        raise EnvironmentRefused(
            [f"{folder} has no time zones. Install the system's package tzdata, or remove the folder."]
        )


def read_environment(folder: Path) -> Environment:
    """Read the process's environment, then the ``.env`` file of a folder. Raises `EnvironmentRefused` with all errors."""
    problems = []
    written: dict[str, str] = {}
    try:
        written = read_file(folder / ".env")
    except UnreadableFile as unreadable:
        problems.append(str(unreadable))
    known = Environment.model_fields.keys() | _NAMES_OF_OTHERS
    # Bytes that are no text would otherwise fail where they are first sent or stored.
    not_text = [name for name in Environment.model_fields if not _is_text(os.environ.get(name, ""))]
    if not_text:
        raise EnvironmentRefused([f"{name} must be UTF-8 text." for name in not_text])
    ours: dict[str, Any] = {name: value for name, value in written.items() if name in Environment.model_fields}
    joined = list(joined_lines(written, known))
    environment = None
    try:
        environment = Environment(**ours)
    except ValidationError as error:
        # Two settings on one line are reported as that only.
        named = {line.split()[0] for line in joined}
        problems += [_sentence(each) for each in error.errors() if each["loc"][0] not in named]
    if environment is not None:
        problems += _contradictions(environment)
    problems += misspelt_names(written, os.environ.keys() - written.keys(), known)
    problems += joined
    if environment is not None:
        problems += quoted_values(os.environ, Environment.model_fields.keys())
    if environment is None or problems:
        raise EnvironmentRefused(problems)
    return environment


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _contradictions(env: Environment) -> list[str]:
    """What is wrong with a combination of variables that are valid by themselves."""
    found = []
    if env.STATIC_ROOT is not None and env.DATA_DIR.resolve().is_relative_to(env.STATIC_ROOT):
        found.append(f"STATIC_ROOT {NOT_ITS_OWN}, not DATA_DIR or one that it is in.")
    found += _contradictions_of_model(env)
    if env.BROKER_URL and not (env.REDIS_URL and env.DATABASE_URL and "postgresql" in env.DATABASE_URL["ENGINE"]):
        found.append(
            "BROKER_URL needs REDIS_URL and a postgres:// DATABASE_URL: workers are processes of their own, which share both."
        )
    if env.WORKER_METRICS_PORT and not env.METRICS_TOKEN:
        found.append("WORKER_METRICS_PORT needs METRICS_TOKEN: nobody can log in there.")
    if env.REDIS_URL and not env.SECRET_KEY:
        found.append("SECRET_KEY must be set where REDIS_URL is: the processes that share it need the same one.")
    if env.OIDC_ISSUER and not (env.OIDC_CLIENT_ID and env.OIDC_CLIENT_SECRET):
        found.append("OIDC_CLIENT_ID and OIDC_CLIENT_SECRET must be set where OIDC_ISSUER is.")
    if "openid" not in env.OIDC_SCOPES:
        found.append("OIDC_SCOPES must contain openid.")
    if not all(isinstance(name, str) and name.strip() and len(name) <= 150 for name in env.OIDC_GROUPS.values()):
        found.append('OIDC_GROUPS must give each value of the claim the name of one group, as in {"idp-team": "team"}.')
    return found


def _contradictions_of_model(env: Environment) -> list[str]:
    """The same for the model server's variables."""
    found = []
    if env.LLM_MODEL_SERVER == "dashscope" and not env.LLM_API_KEY:
        found.append("LLM_API_KEY must be set where LLM_MODEL_SERVER is dashscope.")
    if env.LLM_API_KEY.strip().lower().startswith("bearer "):
        found.append("LLM_API_KEY must be the key alone: the word Bearer is sent before it as it is.")
    elif not env.LLM_API_KEY.isprintable():
        found.append("LLM_API_KEY must be one line: a line break, or what nobody sees, stands in it.")
    return found


def _sentence(error: Any) -> str:
    """The line for a wrong value, which names its variable; a password inside an address is left out."""
    name, value = str(error["loc"][0]), str(error["input"])
    refused = error.get("ctx", {}).get("error")
    if not isinstance(refused, ValueRefused):
        refused = ValueRefused(_must(Environment.model_fields[name]), value)
    if refused.shown is None:
        return f"{name} {refused}."
    shown = re.sub(r"(://[^/@]*:)[^/@]*@", r"\1…@", refused.shown)
    shown = re.sub(r"(password=)[^&]*", r"\1…", shown)
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
    return f"{name} {refused}, not '{_in_one_line(shown)}'."


def _in_one_line(text: str) -> str:
    """A value for a terminal: line breaks and escape sequences are shown by their numbers."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _must(field: FieldInfo) -> str:
    """The description of a valid value of one of the simple types."""
    if field.annotation is bool:
        return "must be true or false"
    if choices := get_args(field.annotation):
        return f"must be one of {', '.join(choices)}"
    least = next(each.ge for each in field.metadata if hasattr(each, "ge"))
    most = next((each.le for each in field.metadata if hasattr(each, "le")), None)
    number = "a whole number" if field.annotation is int else "a number"
    return f"must be {number} " + (f"of {least:g} or more" if most is None else f"from {least:g} to {most:g}")
