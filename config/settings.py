"""Django settings. What differs between installations is an environment variable, see `config.environment`.

The README's table says what each means; a test keeps the two equal.
"""

import sys
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from agents.specs import ModelSettings
from agents.tools.mcp_config import server_entries
from agents.tools.policy import HostPolicy
from chat.runtime.listening import EVERY_ADDRESS
from config import content_security, logs
from config.database_address import describe_sqlite
from config.environment import EnvironmentRefused, check_time_zones, read_environment

BASE_DIR = Path(__file__).resolve().parent.parent
try:
    env = read_environment(BASE_DIR)
    SECRET_KEY = env.secret_key()
    check_time_zones(Path("/usr/share/zoneinfo"))
except EnvironmentRefused as refused:
    sys.exit("\n".join(f"Thinkaloud cannot start: {problem}" for problem in refused.problems))

HOST = env.HOST
PORT = env.PORT
DEBUG = env.DEBUG
DATA_DIR = env.DATA_DIR
PUBLIC_URL = env.PUBLIC_URL
ALLOWED_HOSTS = env.ALLOWED_HOSTS
CSRF_TRUSTED_ORIGINS = env.CSRF_TRUSTED_ORIGINS
TRUSTED_PROXIES = env.TRUSTED_PROXIES
DATABASES = {"default": env.DATABASE_URL or describe_sqlite(DATA_DIR / "thinkaloud.sqlite3")}
REDIS_URL = env.REDIS_URL
BROKER_URL = env.BROKER_URL
ALLOW_SIGNUP = env.ALLOW_SIGNUP
EMAIL_URL = env.EMAIL_URL
MFA_REQUIRED = env.MFA_REQUIRED
OIDC_ISSUER = env.OIDC_ISSUER
OIDC_CLIENT_ID = env.OIDC_CLIENT_ID
OIDC_CLIENT_SECRET = env.OIDC_CLIENT_SECRET
OIDC_SCOPES = env.OIDC_SCOPES
OIDC_NAME = env.OIDC_NAME or urlsplit(OIDC_ISSUER).hostname or ""
OIDC_GROUPS_CLAIM = env.OIDC_GROUPS_CLAIM
OIDC_GROUPS = env.OIDC_GROUPS
OIDC_STAFF_GROUPS = env.OIDC_STAFF_GROUPS
OIDC_ALLOWED_GROUPS = env.OIDC_ALLOWED_GROUPS
OIDC_RECHECK_S = env.OIDC_RECHECK_S
FIRST_ACCOUNT = {
    "username": env.DJANGO_SUPERUSER_USERNAME,
    "password": env.DJANGO_SUPERUSER_PASSWORD,
    "email": env.DJANGO_SUPERUSER_EMAIL,
}

LLM_MODEL_SERVER = env.LLM_MODEL_SERVER
LLM_MODEL = env.LLM_MODEL
LLM_API_KEY = env.LLM_API_KEY
LLM_TIMEOUT_S = env.LLM_TIMEOUT_S
LLM_TOOL_FORMAT = env.LLM_TOOL_FORMAT
LLM_MAX_INPUT_TOKENS = env.LLM_MAX_INPUT_TOKENS
LLM_SEEING_MODELS = env.LLM_SEEING_MODELS
MODEL_SERVER_ADDRESSES = env.MODEL_SERVER_ADDRESSES
FIELD_KEY = env.FIELD_KEY
MCP_SERVERS = server_entries(env.MCP_SERVERS)
MCP_SERVER_ADDRESSES = env.MCP_SERVER_ADDRESSES
EXTENSIONS = env.EXTENSIONS
FETCH_ALLOWED_HOSTS = env.FETCH_ALLOWED_HOSTS
FETCH_DENIED_HOSTS = env.FETCH_DENIED_HOSTS

AGENT_MODEL = ModelSettings(
    LLM_MODEL_SERVER, LLM_MODEL, LLM_API_KEY, LLM_TIMEOUT_S, LLM_TOOL_FORMAT, LLM_MAX_INPUT_TOKENS
)
FETCH_HOSTS = HostPolicy(tuple(FETCH_ALLOWED_HOSTS), tuple(FETCH_DENIED_HOSTS))

MAX_ITERATIONS = env.MAX_ITERATIONS
RUN_LEASE_S = env.RUN_LEASE_S
SHUTDOWN_S = env.SHUTDOWN_S
AUTO_CONTINUE = env.AUTO_CONTINUE
APPROVAL_POLICY = env.APPROVAL_POLICY
APPROVAL_DEADLINE_S = env.APPROVAL_DEADLINE_S
APPROVAL_UNANSWERED = env.APPROVAL_UNANSWERED
MAX_ACTIVE_RUNS_PER_USER = env.MAX_ACTIVE_RUNS_PER_USER
MAX_CASES_AT_ONCE = env.MAX_CASES_AT_ONCE
MAX_RUNS_PER_WORKER = env.MAX_RUNS_PER_WORKER
MAX_MESSAGE_CHARS = env.MAX_MESSAGE_CHARS
MAX_SOCKETS_PER_USER = env.MAX_SOCKETS_PER_USER
MAX_MESSAGES_PER_MINUTE = env.MAX_MESSAGES_PER_MINUTE
MAX_QUEUED_RUNS = env.MAX_QUEUED_RUNS
MAX_SCHEDULES_PER_USER = env.MAX_SCHEDULES_PER_USER
MAX_FILE_MB = env.MAX_FILE_MB
MAX_FILES_PER_USER_MB = env.MAX_FILES_PER_USER_MB
WEBHOOKS = env.WEBHOOKS
RETENTION_DAYS = env.RETENTION_DAYS
AUDIT_DAYS = env.AUDIT_DAYS

METRICS_TOKEN = env.METRICS_TOKEN
WORKER_METRICS_PORT = env.WORKER_METRICS_PORT
OTEL_EXPORTER_OTLP_ENDPOINT = env.OTEL_EXPORTER_OTLP_ENDPOINT
OTEL_EXPORTER_OTLP_HEADERS = env.OTEL_EXPORTER_OTLP_HEADERS
OTEL_CONTENT = env.OTEL_CONTENT

HSTS_SECONDS = env.HSTS_SECONDS
HSTS_INCLUDE_SUBDOMAINS = env.HSTS_INCLUDE_SUBDOMAINS
HSTS_PRELOAD = env.HSTS_PRELOAD
REQUEST_TIMEOUT_S = env.REQUEST_TIMEOUT_S
SECRET_KEY_FALLBACKS = env.SECRET_KEY_FALLBACKS

# Consequences of the public address: its host, its exact origin, and, with https, everything for a proxy that terminates TLS.
if PUBLIC_URL.host:
    ALLOWED_HOSTS = list(dict.fromkeys([*ALLOWED_HOSTS, PUBLIC_URL.host]))
    CSRF_TRUSTED_ORIGINS = list(dict.fromkeys([*CSRF_TRUSTED_ORIGINS, PUBLIC_URL.origin]))
if HOST not in EVERY_ADDRESS:
    # A zone index is this machine's own name for a network: no client sends it.
    ALLOWED_HOSTS = list(dict.fromkeys([*ALLOWED_HOSTS, f"[{HOST.partition('%')[0]}]" if ":" in HOST else HOST]))
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = PUBLIC_URL.secure
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if PUBLIC_URL.secure else None
FORCE_SCRIPT_NAME = PUBLIC_URL.path or None
SESSION_COOKIE_PATH = CSRF_COOKIE_PATH = f"{PUBLIC_URL.path}/"
SECURE_REDIRECT_EXEMPT = ["(^|/)healthz$", "(^|/)readyz$"]
SECURE_SSL_HOST = PUBLIC_URL.origin.removeprefix("https://") if PUBLIC_URL.secure else None
SECURE_HSTS_SECONDS = HSTS_SECONDS if PUBLIC_URL.secure else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = HSTS_INCLUDE_SUBDOMAINS
SECURE_HSTS_PRELOAD = HSTS_PRELOAD
# What other names of the domain serve, and for how long there will be certificates, only the operator knows: three settings.
# The first three look for Django's middleware by name; this product's classes, which are derived from it, have other names.
SILENCED_SYSTEM_CHECKS = [f"security.W{number}" for number in ("001", "002", "003", "004", "005", "021")]
CSRF_FAILURE_VIEW = "chat.web.errors.refuse_forgery"

INSTALLED_APPS = [
    "daphne",
    "chat.apps.SiteConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "allauth.account",
    "allauth.socialaccount",
    "allauth.mfa",
    "axes",
    "channels",
    "csp",
    "chat.accounts",
    "chat",
]
MIDDLEWARE = [
    "chat.web.languages.LanguageMiddleware",
    "config.edge.EdgeMiddleware",
    "config.middleware.SecurityMiddleware",
    "config.forms.FormsMiddleware",
    "config.visible_text.VisibleTextMiddleware",
    "config.middleware.SessionMiddleware",
    "config.middleware.CommonMiddleware",
    "config.middleware.CsrfMiddleware",
    "config.middleware.AuthenticationMiddleware",
    "chat.web.languages.AccountLanguageMiddleware",
    "config.middleware.MessageMiddleware",
    "config.middleware.XFrameOptionsMiddleware",
    "config.middleware.ContentSecurityMiddleware",
    "axes.middleware.AxesMiddleware",
    "allauth.account.middleware.AccountMiddleware",
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
    "default": {"BACKEND": "chat.runtime.redis_layer.SharedChannelLayer", "CONFIG": {"hosts": [REDIS_URL.layer]}}
    if REDIS_URL
    else {"BACKEND": "chat.runtime.layers.ProcessChannelLayer", "CONFIG": {"capacity": 2000}}
}

# Celery's workers execute the runs where there is a broker: `celery -A config worker`. The database has the queue; a message
# is only faster. Hence nothing here is about keeping messages; SCALING.md says what each setting is for.
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
# Of two that match equally, as both kinds of Chinese match a browser's plain "zh", the first is used.
LANGUAGES = [("en", "English"), ("zh-hans", "简体中文"), ("zh-hant", "繁體中文")]
LOCALE_PATHS = [BASE_DIR / "chat" / "locale"]
LANGUAGE_COOKIE_NAME = "language"
LANGUAGE_COOKIE_PATH = SESSION_COOKIE_PATH
LANGUAGE_COOKIE_SECURE = SESSION_COOKIE_SECURE
FORMAT_MODULE_PATH = ["config.formats"]

STATIC_URL = f"{PUBLIC_URL.path}/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT = env.STATIC_ROOT or DATA_DIR / "static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "config.static_files.HashedStaticFiles"},
}
MEDIA_ROOT = DATA_DIR / "uploads"
FILE_UPLOAD_PERMISSIONS = 0o600
FILE_UPLOAD_DIRECTORY_PERMISSIONS = 0o700
# Static files are compressed with gzip only: Brotli would add seconds to every start.
SERVESTATIC_USE_BROTLI = SERVESTATIC_USE_ZSTD = False
# A file that was never collected has its plain name.
SERVESTATIC_MANIFEST_STRICT = False

# The largest body that is read at all, by the beginning of the path: the longest match counts. Views have lower limits of their own.
DATA_UPLOAD_MAX_MEMORY_SIZE = 2_621_440
MAX_BODY_BYTES = {
    "/": 64 * 1024,
    "/admin/": DATA_UPLOAD_MAX_MEMORY_SIZE,
    "/admin/login/": 64 * 1024,
    "/api/": DATA_UPLOAD_MAX_MEMORY_SIZE,
    # A form adds little to its file. Without a limit, it is the most that the database accepts in one piece of an upload.
    "/api/files/": ((MAX_FILE_MB or 200) * 1_000_000) + 64 * 1024,
    "/api/sessions/import/": 20 * 1024 * 1024,
    "/schedules/": DATA_UPLOAD_MAX_MEMORY_SIZE,
    # A conversation, and the pictures of a message in base64.
    "/v1/": ((MAX_FILE_MB or 200) * 1_400_000) + DATA_UPLOAD_MAX_MEMORY_SIZE,
}

CONTENT_SECURITY_POLICY = {"DIRECTIVES": content_security.POLICY}

# Without a server no mail is sent; the pages that would send one do not exist.
if EMAIL_URL:
    EMAIL_HOST, EMAIL_PORT = EMAIL_URL.host, EMAIL_URL.port
    EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = EMAIL_URL.user, EMAIL_URL.password
    EMAIL_USE_SSL, EMAIL_USE_TLS = EMAIL_URL.use_ssl, EMAIL_URL.use_starttls
    DEFAULT_FROM_EMAIL = SERVER_EMAIL = EMAIL_URL.sender
EMAIL_TIMEOUT = 10
# The link of a mail that resets a password.
PASSWORD_RESET_TIMEOUT = 86_400

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
# Stages of a login, second factors and the accounts of an OpenID provider are allauth's; its pages are not used: see chat/web/.
ACCOUNT_ADAPTER = "chat.security.login_stages.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"username"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "email", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_UNIQUE_EMAIL = False
ACCOUNT_EMAIL_NOTIFICATIONS = False
# Failures are counted as follows, in the database, and not in the memory of each process.
ACCOUNT_RATE_LIMITS = False
ACCOUNT_REAUTHENTICATION_REQUIRED = False
MFA_ADAPTER = "chat.security.second_factor.SecondFactorAdapter"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_REAUTHENTICATION_REQUIRED = False
MFA_ALLOW_UNVERIFIED_EMAIL = True
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_TOTP_ISSUER = "Thinkaloud"
MFA_TOTP_TOLERANCE = 1
MFA_RATE_LIMITS = False
SOCIALACCOUNT_ADAPTER = "chat.security.oidc.adapter.ProviderAdapter"
SOCIALACCOUNT_STORE_TOKENS = False
SOCIALACCOUNT_EMAIL_AUTHENTICATION = False
SOCIALACCOUNT_PROVIDERS = {
    "openid_connect": {
        "OAUTH_PKCE_ENABLED": True,
        "APPS": [
            {
                "provider_id": OIDC_ISSUER,
                "name": OIDC_NAME,
                "client_id": OIDC_CLIENT_ID,
                "secret": OIDC_CLIENT_SECRET,
                "settings": {"server_url": OIDC_ISSUER, "scope": OIDC_SCOPES},
            }
        ]
        if OIDC_ISSUER
        else [],
    }
}
# Guessing is limited by name and address together, by address and by name, and only for a while: see config/login_limits.py.
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
LOGGING = logs.logging_config()
