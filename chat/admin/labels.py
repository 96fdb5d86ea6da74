"""Names of tables, columns and choices in the reader's language.

The models name them in English, which migrations keep: a further language is no change of a table. `translate_names` makes lazy
translations of them, and the list is what ``make messages`` finds them by; a test holds it against the models.
"""

from typing import Any

from django.contrib import admin
from django.db.models import Field
from django.utils.translation import gettext_lazy, gettext_noop

NAMES = (
    gettext_noop("action"),
    gettext_noop("active at"),
    gettext_noop("actor id"),
    gettext_noop("Admin"),
    gettext_noop("Agent"),
    gettext_noop("agent name"),
    gettext_noop("announcement"),
    gettext_noop("announcements"),
    gettext_noop("Api"),
    gettext_noop("archived"),
    gettext_noop("at"),
    gettext_noop("attempts"),
    gettext_noop("audit entries"),
    gettext_noop("audit entry"),
    gettext_noop("body"),
    gettext_noop("By which its client may ask for it again."),
    gettext_noop("cancel requested at"),
    gettext_noop("Cancelled"),
    gettext_noop("cancelled by"),
    gettext_noop("Cancelling"),
    gettext_noop("Chat"),
    gettext_noop("client message id"),
    gettext_noop("code"),
    gettext_noop("Completed"),
    gettext_noop("connection"),
    gettext_noop("connections"),
    gettext_noop("Continue"),
    gettext_noop("continues"),
    gettext_noop("could not be asked"),
    gettext_noop("created at"),
    gettext_noop("creation digest"),
    gettext_noop("creation key"),
    gettext_noop("cron"),
    gettext_noop("Delete"),
    gettext_noop("deleted at"),
    gettext_noop("depth"),
    gettext_noop("door"),
    gettext_noop("duration ms"),
    gettext_noop("enable reasoning"),
    gettext_noop("enabled"),
    gettext_noop("ended at"),
    gettext_noop("Error"),
    gettext_noop("event"),
    gettext_noop("event id"),
    gettext_noop("every minutes"),
    gettext_noop("Failed"),
    gettext_noop("failed too often in a row"),
    gettext_noop("failures"),
    gettext_noop("Failures in a row; 0 is never."),
    gettext_noop("fence"),
    gettext_noop("From when the minutes count."),
    gettext_noop("has read private"),
    gettext_noop("has run, or nothing is due any more"),
    gettext_noop("heartbeat at"),
    gettext_noop("How it is reached, and the host it is at."),
    gettext_noop("How many runs it is within."),
    gettext_noop("id"),
    gettext_noop("ID"),
    gettext_noop("Info"),
    gettext_noop("input tokens"),
    gettext_noop("Interrupt"),
    gettext_noop("Interrupted"),
    gettext_noop("iteration"),
    gettext_noop("iterations"),
    gettext_noop("keeps session"),
    gettext_noop("last error"),
    gettext_noop("last seq"),
    gettext_noop("level"),
    gettext_noop("Max Iterations"),
    gettext_noop("message"),
    gettext_noop("missed"),
    gettext_noop("More about it, for people."),
    gettext_noop("name"),
    gettext_noop("next at"),
    gettext_noop("noticed"),
    gettext_noop("number"),
    gettext_noop("ok"),
    gettext_noop("Once"),
    gettext_noop("opened at"),
    gettext_noop("origin"),
    gettext_noop("output tokens"),
    gettext_noop("overlap"),
    gettext_noop("owner"),
    gettext_noop("Page"),
    gettext_noop("parent"),
    gettext_noop("parent call id"),
    gettext_noop("Pause"),
    gettext_noop("pause after"),
    gettext_noop("paused because"),
    gettext_noop("paused by an operator"),
    gettext_noop("paused by its owner"),
    gettext_noop("paused words"),
    gettext_noop("Place among the run's events: 1, 2, 3 …"),
    gettext_noop("position"),
    gettext_noop("process"),
    gettext_noop("processes"),
    gettext_noop("Queue"),
    gettext_noop("Queued"),
    gettext_noop("Resume"),
    gettext_noop("role"),
    gettext_noop("run"),
    gettext_noop("Run Now"),
    gettext_noop("Running"),
    gettext_noop("runs"),
    gettext_noop("Schedule"),
    gettext_noop("schedule"),
    gettext_noop("schedules"),
    gettext_noop("Search"),
    gettext_noop("seen at"),
    gettext_noop("seq"),
    gettext_noop("session"),
    gettext_noop("session id"),
    gettext_noop("sessions"),
    gettext_noop("since"),
    gettext_noop("Skip"),
    gettext_noop("Socket"),
    gettext_noop("started at"),
    gettext_noop("state"),
    gettext_noop("status"),
    gettext_noop("step"),
    gettext_noop("steps"),
    gettext_noop("Stop"),
    gettext_noop("The frame's type on the wire."),
    gettext_noop("The process that carries the run."),
    gettext_noop("The run whose agent has asked this one."),
    gettext_noop("The step's type, for a reasoning step."),
    gettext_noop("The wire's step: counts thoughts, calls, results and answers."),
    gettext_noop("time zone"),
    gettext_noop("title"),
    gettext_noop("tool name"),
    gettext_noop("tool server (MCP)"),
    gettext_noop("tool servers (MCP)"),
    gettext_noop("tools"),
    gettext_noop("transport"),
    gettext_noop("Tries in a row that failed."),
    gettext_noop("type"),
    gettext_noop("usage estimated"),
    gettext_noop("user"),
    gettext_noop("View"),
    gettext_noop("Warning"),
    gettext_noop("What is wrong around it, as in a proxy's settings."),
    gettext_noop("When something last happened in it."),
    gettext_noop(
        "Whether earlier conversations were read in it: tools that reach outside are held to known addresses from then on."
    ),
    gettext_noop("Whether its page asks for the steps, too."),
    gettext_noop("Who asked."),
    gettext_noop("Why it failed, as the wire's error code."),
    gettext_noop("window"),
)

#: What other applications show on these pages and have no translation of.
OTHERS = (
    gettext_noop("Access attempts"),
    gettext_noop("Access failures"),
    gettext_noop("Access logs"),
    gettext_noop("access attempt"),
    gettext_noop("access attempts"),
    gettext_noop("access failure"),
    gettext_noop("access failures"),
    gettext_noop("access log"),
    gettext_noop("access logs"),
    gettext_noop("Model name"),
    gettext_noop("Add link"),
    gettext_noop("Change or view list link"),
)


def translate_names(app_label: str) -> None:
    """Do so with every table of an application that has pages here."""
    for model in admin.site._registry:  # noqa: SLF001 - there is no other list of them
        if model._meta.app_label == app_label:
            model._meta.verbose_name = gettext_lazy(str(model._meta.verbose_name))
            model._meta.verbose_name_plural = gettext_lazy(str(model._meta.verbose_name_plural))
            for field in model._meta.fields:
                _translate_field(field)


def _translate_field(field: "Field[Any, Any]") -> None:
    field.verbose_name = gettext_lazy(str(field.verbose_name))
    if field.help_text:
        field.help_text = gettext_lazy(str(field.help_text))
    if field.choices:
        field.choices = [(value, gettext_lazy(str(label))) for value, label in field.flatchoices]


translate_names("chat")
