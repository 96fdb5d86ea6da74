"""The user's webhooks: created, their secret shown once, their deliveries and results, deleted."""

from uuid import UUID

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

import agents
from chat.models import DeliveryState, Webhook, WebhookDelivery
from chat.rendering.sentences import translate_sentence
from chat.rendering.template_row import Row
from chat.store import webhooks
from chat.web.acts import form_action
from chat.web.page import render_page, user_of


class WebhookForm(forms.Form):
    """A new webhook."""

    url = forms.CharField(
        label=gettext_lazy("Address"),
        max_length=1000,
        widget=forms.URLInput(attrs={"placeholder": "https://", "autocomplete": "url"}),
    )

    def clean_url(self) -> str:
        """A valid address; whether it is a public one is checked at each delivery."""
        url: str = self.cleaned_data["url"].strip()
        if (problem := agents.refusal_of_page_address(url)) is not None:
            raise forms.ValidationError(translate_sentence(problem))
        return url


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
@login_required
def index(request: HttpRequest) -> HttpResponse:
    """The user's webhooks; the secret of a new one is shown once, in the response to its form."""
    if not settings.WEBHOOKS:
        raise Http404
    form = WebhookForm(request.POST if request.method == "POST" else None)
    made: Row = {}
    if request.method == "POST" and form.is_valid():
        try:
            webhook, secret = webhooks.make_webhook(user_of(request), form.cleaned_data["url"])
        except webhooks.TooManyWebhooks:
            message = _("You have %(n)d webhooks, and more are not allowed. Remove one first.")
            form.add_error(None, message % {"n": webhooks.MOST_WEBHOOKS})
        else:
            made, form = {"made": webhook, "text": secret}, WebhookForm()
    rows = [_row(webhook) for webhook in webhooks.webhooks_of(user_of(request).pk)]
    answer = render_page(request, "registration/webhooks.html", form=form, rows=rows, **made)
    answer.status_code = 400 if form.errors else 200
    return answer


@form_action
def remove(request: HttpRequest, webhook_id: UUID) -> HttpResponse:
    """Delete a webhook."""
    if not webhooks.remove_webhook(user_of(request).pk, webhook_id):
        raise Http404
    messages.success(request, _("Removed. Nothing more is sent there."))
    return redirect("webhooks")


@form_action
def test(request: HttpRequest, webhook_id: UUID) -> HttpResponse:
    """Send a test delivery; a disabled webhook is enabled by that."""
    if not webhooks.revive_webhook(user_of(request).pk, webhook_id):
        raise Http404
    messages.success(request, _("A test is on its way. Reload the page to see what has become of it."))
    return redirect("webhooks")


@form_action
def retry(request: HttpRequest, delivery_id: UUID) -> HttpResponse:
    """Retry a delivery that has not arrived, at once."""
    if not webhooks.retry_delivery(user_of(request).pk, delivery_id):
        raise Http404
    messages.success(request, _("It is sent again. Reload the page to see what has become of it."))
    return redirect("webhooks")


def _row(webhook: Webhook) -> Row:
    sent = [_delivery_row(each) for each in webhooks.latest_deliveries(webhook.pk)]
    return {"webhook": webhook, "sent": sent}


def _delivery_row(delivery: WebhookDelivery) -> Row:
    words = {
        DeliveryState.WAITING: pgettext("delivery", "Waiting"),
        DeliveryState.DELIVERED: pgettext("delivery", "Delivered"),
        DeliveryState.FAILED: pgettext("delivery", "Given up"),
    }
    error = translate_sentence(delivery.error) if delivery.error else ""
    return {
        "delivery": delivery,
        "word": words[DeliveryState(delivery.state)],
        "error": error,
        "next_at": delivery.next_at if delivery.state == DeliveryState.WAITING and delivery.attempts else None,
        "can_retry": delivery.state != DeliveryState.DELIVERED and bool(delivery.attempts),
    }
