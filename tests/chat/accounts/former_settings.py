"""The settings as they were while accounts were Django's own users: for what makes and uses databases of those versions."""

from config.settings import *  # noqa: F403 - these settings are those, but for three
from config.settings import INSTALLED_APPS, MIDDLEWARE

AUTH_USER_MODEL = "auth.User"
INSTALLED_APPS = [
    # Our part of the admin is written for the current user model.
    "django.contrib.admin.apps.SimpleAdminConfig" if name == "chat.apps.SiteConfig" else name
    for name in INSTALLED_APPS
    if name != "chat.accounts" and not name.startswith("allauth")
]
MIDDLEWARE = [name for name in MIDDLEWARE if not name.startswith("allauth")]
