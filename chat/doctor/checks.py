"""All checks, in the order in which they are reported."""

from collections.abc import Mapping

from chat.doctor import front, others, servers, storage
from chat.doctor.findings import Check

CHECKS: Mapping[str, Check] = {
    "database": storage.check_database,
    "migrations": storage.check_migrations,
    "clock": storage.check_clock,
    "disk": storage.check_disk,
    "permissions": storage.check_permissions,
    "static files": storage.check_static_files,
    "channel layer": servers.check_channel_layer,
    "broker": servers.check_broker,
    "processes": servers.check_processes,
    "secrets": servers.check_secrets,
    "model servers": servers.check_model_servers,
    "tool servers": servers.check_tool_servers,
    "login provider": others.check_login_provider,
    "mail": others.check_mail,
    "public address": front.check_front,
}
