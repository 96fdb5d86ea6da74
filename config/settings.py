"""Django settings. What differs between installations is an environment variable, read here, once, at the top.

The README's table says what each means; a test keeps the two equal.
"""

import sys
from datetime import timedelta
from pathlib import Path
from typing import cast, get_args

from agents.specs import ModelSettings, ToolFormat
from agents.tools.policy import HostPolicy
from config import content_security, logs
from config.environment import Environment

BASE_DIR = Path(__file__).resolve().parent.parent
env = Environment.load(BASE_DIR)

HOST = env.text("HOST", "127.0.0.1")
PORT = env.whole("PORT", 8000, least=1, most=65535)
DEBUG = env.flag("DEBUG", default=False)
DATA_DIR = env.folder("DATA_DIR", "var")
PUBLIC_URL = env.public_url("PUBLIC_URL")
ALLOWED_HOSTS = env.words("ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.origins("CSRF_TRUSTED_ORIGINS")
TRUSTED_PROXIES = env.networks("TRUSTED_PROXIES", ["127.0.0.0/8", "::1/128"])
DATABASES = {"default": env.database("DATABASE_URL", DATA_DIR / "thinkaloud.sqlite3")}
REDIS_URL = env.redis("REDIS_URL")
BROKER_URL = env.redis("BROKER_URL")
ALLOW_SIGNUP = env.flag("ALLOW_SIGNUP", default=False)
FIRST_ACCOUNT = {
    "username": env.text("DJANGO_SUPERUSER_USERNAME", "admin"),
    "password": env.text("DJANGO_SUPERUSER_PASSWORD"),
    "email": env.text("DJANGO_SUPERUSER_EMAIL"),
}

LLM_MODEL_SERVER = env.url("LLM_MODEL_SERVER", ["http", "https"], words=["dashscope"])
LLM_MODEL = env.text("LLM_MODEL")
LLM_API_KEY = env.text("LLM_API_KEY")
LLM_TIMEOUT_S = env.number("LLM_TIMEOUT_S", 120, least=0.1, most=86_400)
LLM_TOOL_FORMAT = env.choice("LLM_TOOL_FORMAT", get_args(ToolFormat))
LLM_MAX_INPUT_TOKENS = env.whole("LLM_MAX_INPUT_TOKENS", 58_000, least=1_000)
MCP_SERVERS = env.json_object("MCP_SERVERS")
FETCH_ALLOWED_HOSTS = env.hosts("FETCH_ALLOWED_HOSTS")
FETCH_DENIED_HOSTS = env.hosts("FETCH_DENIED_HOSTS")

AGENT_MODEL = ModelSettings(
    LLM_MODEL_SERVER,
    LLM_MODEL,
    LLM_API_KEY,
    LLM_TIMEOUT_S,
    cast(ToolFormat, LLM_TOOL_FORMAT),
    LLM_MAX_INPUT_TOKENS,
)
FETCH_HOSTS = HostPolicy(tuple(FETCH_ALLOWED_HOSTS), tuple(FETCH_DENIED_HOSTS))

MAX_ITERATIONS = env.whole("MAX_ITERATIONS", 20)
RUN_LEASE_S = env.number("RUN_LEASE_S", 30, least=1, most=86_400)
SHUTDOWN_S = env.number("SHUTDOWN_S", 5, least=0, most=3_600)
AUTO_CONTINUE = env.flag("AUTO_CONTINUE", default=False)
MAX_ACTIVE_RUNS_PER_USER = env.whole("MAX_ACTIVE_RUNS_PER_USER", 4)
MAX_RUNS_PER_WORKER = env.whole("MAX_RUNS_PER_WORKER", 100, least=1, most=1_000)
MAX_MESSAGE_CHARS = env.whole("MAX_MESSAGE_CHARS", 32_000)
MAX_SOCKETS_PER_USER = env.whole("MAX_SOCKETS_PER_USER", 32)
MAX_MESSAGES_PER_MINUTE = env.whole("MAX_MESSAGES_PER_MINUTE", 60)
MAX_QUEUED_RUNS = env.whole("MAX_QUEUED_RUNS", 5)
MAX_SCHEDULES_PER_USER = env.whole("MAX_SCHEDULES_PER_USER", 100)

HSTS_SECONDS = env.whole("HSTS_SECONDS", 3_600, most=63_072_000)
HSTS_INCLUDE_SUBDOMAINS = env.flag("HSTS_INCLUDE_SUBDOMAINS", default=False)
HSTS_PRELOAD = env.flag("HSTS_PRELOAD", default=False)
REQUEST_TIMEOUT_S = env.number("REQUEST_TIMEOUT_S", 20, least=0.1, most=3_600)

if LLM_MODEL_SERVER == "dashscope" and not LLM_API_KEY:
    env.problems.append("LLM_API_KEY must be set where LLM_MODEL_SERVER is dashscope.")
if BROKER_URL and not (REDIS_URL and DATABASES["default"]["ENGINE"].endswith("postgresql")):
    env.problems.append(
        "BROKER_URL needs REDIS_URL and a postgres:// DATABASE_URL: workers are processes of their own, which share both."
    )
SECRET_KEY = env.secret("SECRET_KEY", DATA_DIR / "secret_key")
SECRET_KEY_FALLBACKS = env.words("SECRET_KEY_FALLBACKS")
if REDIS_URL and "SECRET_KEY" not in env.given:
    env.problems.append("SECRET_KEY must be set where REDIS_URL is: the processes that share it need the same one.")
# Those of the compose file, of Django itself, and of the outgoing connections.
env.check_names(
    ["POSTGRES_PASSWORD", "REDIS_PASSWORD", "SITE_ADDRESS", "HTTP_PORT", "HTTPS_PORT", "DJANGO_SETTINGS_MODULE"]
)
if env.problems:
    sys.exit("\n".join(f"Thinkaloud cannot start: {problem}" for problem in env.problems))

# What a public address implies: its host, its exact origin, and, with https, everything a TLS-terminating proxy needs.
if PUBLIC_URL.host:
    ALLOWED_HOSTS = list(dict.fromkeys([*ALLOWED_HOSTS, PUBLIC_URL.host]))
    CSRF_TRUSTED_ORIGINS = list(dict.fromkeys([*CSRF_TRUSTED_ORIGINS, PUBLIC_URL.origin]))
if HOST not in {"0.0.0.0", "::"}:  # noqa: S104 - compared with, not bound to
    ALLOWED_HOSTS = list(dict.fromkeys([*ALLOWED_HOSTS, f"[{HOST}]" if ":" in HOST else HOST]))
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = PUBLIC_URL.secure
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if PUBLIC_URL.secure else None
FORCE_SCRIPT_NAME = PUBLIC_URL.path or None
SESSION_COOKIE_PATH = CSRF_COOKIE_PATH = f"{PUBLIC_URL.path}/"
SECURE_REDIRECT_EXEMPT = ["(^|/)healthz$", "(^|/)readyz$"]
SECURE_SSL_HOST = PUBLIC_URL.origin.removeprefix("https://") if PUBLIC_URL.secure else None
SECURE_HSTS_SECONDS = HSTS_SECONDS if PUBLIC_URL.secure else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = HSTS_INCLUDE_SUBDOMAINS
SECURE_HSTS_PRELOAD = HSTS_PRELOAD
# What else the host's domain serves, and for how long it will have certificates, is the operator's to know: three settings.
SILENCED_SYSTEM_CHECKS = ["security.W004", "security.W005", "security.W021"]
CSRF_FAILURE_VIEW = "chat.security.csrf.refuse_forgery"

INSTALLED_APPS = [
    "daphne",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "axes",
    "channels",
    "csp",
    "chat.accounts",
    "chat",
]
MIDDLEWARE = [
    "chat.web.languages.LanguageMiddleware",
    "config.edge.EdgeMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "config.static_files.StaticFilesMiddleware",
    "config.forms.FormsMiddleware",
    "config.visible_text.VisibleTextMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "chat.web.languages.AccountLanguageMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "config.content_security.ContentSecurityMiddleware",
    "axes.middleware.AxesMiddleware",
]
ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "csp.context_processors.nonce",
            ]
        },
    }
]

CHANNEL_LAYERS = {
    "default": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": {"hosts": [REDIS_URL.layer]}}
    if REDIS_URL
    else {"BACKEND": "chat.runtime.layers.ProcessChannelLayer", "CONFIG": {"capacity": 2000}}
}

# Celery's workers execute the runs where there is a broker: `celery -A config worker`. The database says what is in the queue; a message
# only says so sooner. Hence nothing here is about keeping messages; SCALING.md says what each setting is for.
WORKER_APPLICATION = "config.celery.app"
CELERY_BROKER_URL = BROKER_URL.broker if BROKER_URL else ""
CELERY_BROKER_USE_SSL = BROKER_URL.broker_tls if BROKER_URL else None
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 3600,
    "socket_connect_timeout": 2,
    "socket_timeout": 5,
    **(BROKER_URL.broker_options if BROKER_URL else {}),
}
CELERY_WORKER_POOL = "threads"
CELERY_WORKER_CONSUMER = "chat.tasks:Consumer"
CELERY_WORKER_CONCURRENCY = MAX_RUNS_PER_WORKER
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_TASK_ACKS_LATE = True
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_DEFAULT_QUEUE = "thinkaloud"
CELERY_WORKER_REDIRECT_STDOUTS = False
CELERY_TIMEZONE = "UTC"

USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
# Of two that fit as well, as both kinds of Chinese do a browser's plain "zh", the first is taken.
LANGUAGES = [("en", "English"), ("zh-hans", "简体中文"), ("zh-hant", "繁體中文")]
LOCALE_PATHS = [BASE_DIR / "chat" / "locale"]
LANGUAGE_COOKIE_NAME = "language"
LANGUAGE_COOKIE_PATH = SESSION_COOKIE_PATH
LANGUAGE_COOKIE_SECURE = SESSION_COOKIE_SECURE
FORMAT_MODULE_PATH = ["config.formats"]

STATIC_URL = f"{PUBLIC_URL.path}/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT = Path(env.text("STATIC_ROOT") or DATA_DIR / "static")
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "config.static_files.HashedStaticFiles"},
}
MEDIA_ROOT = DATA_DIR / "uploads"
FILE_UPLOAD_PERMISSIONS = 0o600
FILE_UPLOAD_DIRECTORY_PERMISSIONS = 0o700
WHITENOISE_ALLOW_ALL_ORIGINS = False

# The largest body that is read at all, by the beginning of a path: the longest that fits counts. Within it, views have limits of their own.
DATA_UPLOAD_MAX_MEMORY_SIZE = 2_621_440
MAX_BODY_BYTES = {
    "/": 64 * 1024,
    "/admin/": DATA_UPLOAD_MAX_MEMORY_SIZE,
    "/admin/login/": 64 * 1024,
    "/api/": DATA_UPLOAD_MAX_MEMORY_SIZE,
    "/schedules/": DATA_UPLOAD_MAX_MEMORY_SIZE,
}

CONTENT_SECURITY_POLICY = {"DIRECTIVES": content_security.POLICY}

AUTH_USER_MODEL = "accounts.User"
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = LOGIN_URL
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
PASSWORD_HASHERS = [
    "config.passwords.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
# Who guesses is held off by name and address together, by address and by name, and only for a while: see config/login_limits.py.
AXES_HANDLER = "config.login_limits.LimitsHandler"
AXES_FAILURE_LIMIT = 8
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"], "ip_address", "username"]
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_RESET_ON_SUCCESS = True
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_DISABLE_ACCESS_LOG = True
AXES_SENSITIVE_PARAMETERS = ["username", "ip_address", "password1", "password2"]
AXES_CLIENT_IP_CALLABLE = "config.login_limits.client_address"
AXES_LOCKOUT_CALLABLE = "config.login_limits.locked_out"

LOGGING_CONFIG = "config.logs.configure"
LOGGING = logs.plan()
