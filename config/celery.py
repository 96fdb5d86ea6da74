"""The Celery application, whose workers carry the runs where ``BROKER_URL`` is set: ``celery -A config worker``."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
app = Celery("thinkaloud")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
# By name, because it needs the application's models, which are not there yet.
app.steps["worker"].add("chat.tasks:Runs")
