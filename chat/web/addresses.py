"""Confirming an e-mail address: a mail with a link, and a page with a button."""

import logging
from smtplib import SMTPException
from typing import cast

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.mail import send_mail
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path, reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from chat.accounts import addresses
from chat.accounts.models import User
from chat.web.acts import form_action

logger = logging.getLogger(__name__)


@form_action
def send_confirmation(request: HttpRequest) -> HttpResponse:
    """Mail a link to the account's address."""
    user = cast(User, request.user)
    if not settings.EMAIL_URL or not user.email:
        raise Http404
    try:
        key = addresses.begin_confirmation(user)
    except addresses.TooManyMails:
        messages.error(request, _("Too many mails have been sent. Try again in an hour."))
        return redirect("account")
    place = reverse("email_confirm", args=[key])
    link = f"{settings.PUBLIC_URL.origin}{place}" if settings.PUBLIC_URL.origin else request.build_absolute_uri(place)
    text = _(
        "Somebody, probably you, has given this address at Thinkaloud, as %(name)s. To confirm that it is yours, open this link "
        "within a day:\n\n%(link)s\n\nIf it was not you, do nothing."
    )
    try:
        send_mail(_("Confirm your address"), text % {"name": user.get_username(), "link": link}, None, [user.email])
    except (SMTPException, OSError) as problem:
        logger.warning("A mail could not be sent: %s", problem)
        messages.error(request, _("The mail could not be sent. Try again later."))
    else:
        messages.success(request, _("A mail is on its way. Open the link in it."))
    return redirect("account")


@require_http_methods(["GET", "POST"])
@never_cache
@login_required
def confirm_address(request: HttpRequest, key: str) -> HttpResponse:
    """Show the address to be confirmed, with a button, because programs open links in mails, too."""
    user = cast(User, request.user)
    if request.method == "POST":
        if addresses.confirm_address(user, key):
            messages.success(request, _("Your address is confirmed."))
            return redirect("account")
        raise Http404
    if not addresses.is_confirmation(user, key):
        raise Http404
    return render(request, "registration/email_confirm.html", {"address": user.email})


urlpatterns = [
    path("email/", send_confirmation, name="email_send"),
    path("email/<str:key>/", confirm_address, name="email_confirm"),
]
