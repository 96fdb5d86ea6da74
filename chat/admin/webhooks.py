"""Webhooks in the admin: owner, host, and whether deliveries arrive."""

from typing import Any, cast
from urllib.parse import urlsplit

from django.contrib import admin
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from chat.admin.actions import ReadOnlyAdmin
from chat.models import DeliveryState, Webhook
from chat.rendering.sentences import translate_sentence
from chat.store import webhooks


@admin.register(Webhook)
class WebhookAdmin(ReadOnlyAdmin):
    """Read-only. Of the address only the host is shown: its path is often a secret of the receiving service."""

    is_private = False
    list_display = ("host", "owner", "state", "waiting", "created_at")
    list_select_related = ("owner",)
    search_fields = ("owner__username",)
    ordering = ("-created_at",)
    fields = ("host", "owner", "state", "waiting", "created_at", "failing_since", "disabled_at", "last_problem")
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[Webhook]:
        """All webhooks, with the number of waiting deliveries."""
        waits = Count("deliveries", filter=Q(deliveries__state=DeliveryState.WAITING))
        return cast("QuerySet[Webhook]", super().get_queryset(request).annotate(waits=waits))

    @admin.display(description=_("host"))
    def host(self, webhook: Webhook) -> str:
        """The host that it delivers to."""
        return urlsplit(webhook.url).hostname or ""

    @admin.display(description=_("state"))
    def state(self, webhook: Webhook) -> str:
        """Whether deliveries arrive."""
        if webhook.disabled_at is not None:
            return gettext("Given up: nothing arrived for days")
        return gettext("Nothing arrives") if webhook.failing_since is not None else gettext("Works")

    @admin.display(description=_("waits to be sent"), ordering="waits")
    def waiting(self, webhook: Webhook) -> int:
        """How many deliveries wait."""
        return cast(int, cast(Any, webhook).waits)

    @admin.display(description=_("last problem"))
    def last_problem(self, webhook: Webhook) -> str:
        """Why the last attempt failed."""
        problems = (translate_sentence(each.error) for each in webhooks.latest_deliveries(webhook.pk) if each.error)
        return next(problems, "—")
