"""The Celery application, whose workers execute the runs where ``BROKER_URL`` is set: ``celery -A config worker``."""

import os
from typing import Any

from celery import Celery
from celery.signals import celeryd_init

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
app = Celery("thinkaloud")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
# By name, because it imports the application's models, which are not loaded yet.
app.steps["worker"].add("chat.tasks:Runs")


@celeryd_init.connect
def keep_files_private(**_: Any) -> None:
    """Let files that a worker makes in the data folder be readable by this account only."""
    os.umask(0o077)
