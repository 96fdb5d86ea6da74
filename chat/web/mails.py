"""Pages that mails link to: setting a new password, and switching off a kind of mail."""

from typing import Any

from allauth.account.models import EmailAddress
from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import views as auth
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import path, reverse_lazy
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from chat.accounts.addresses import confirmed_address
from chat.accounts.models import User
from chat.models import Act, Door, MailKind
from chat.security import audit, tokens
from chat.serving import mail_texts
from chat.store import mails
from chat.web.attempts import count_attempt
from chat.web.logins import publish_logins_ended


class AddressForm(forms.Form):
    """The address of the account whose password is to be reset."""

    email = forms.EmailField(
        label=gettext_lazy("Email address"), widget=forms.EmailInput(attrs={"autocomplete": "email"})
    )


def _may_reset(user: User | None) -> bool:
    return user is not None and user.may_enter and user.has_usable_password()


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def ask_reset(request: HttpRequest) -> HttpResponse:
    """Mail a link to the user with this confirmed address. The response is the same for every address."""
    if not settings.EMAIL_URL:
        raise Http404
    form = AddressForm(request.POST if request.method == "POST" else None)
    if request.method == "POST":
        if (locked_out := count_attempt(request, ask_reset)) is not None:
            return locked_out
        if form.is_valid():
            _note_resets(form.cleaned_data["email"])
            messages.success(
                request, _("If an account has this address, and has confirmed it, a mail with a link is on its way.")
            )
            return redirect("login")
    return render(request, "registration/password_reset.html", {"form": form}, status=400 if form.errors else 200)


def _note_resets(address: str) -> None:
    with transaction.atomic():
        for known in EmailAddress.objects.filter(email=address.lower(), verified=True).select_related("user")[:10]:
            if _may_reset(known.user) and (confirmed_address(known.user) or "").lower() == address.lower():
                mails.queue_mail(known.user.pk, MailKind.PASSWORD_RESET)


class PasswordResetView(auth.PasswordResetConfirmView):
    """Set a new password by the link of a mail, which ends every login and every token."""

    template_name = "registration/password_reset_confirm.html"
    success_url = reverse_lazy("login")

    def dispatch(self, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Without mail, no link is valid."""
        if not settings.EMAIL_URL:
            raise Http404
        return super().dispatch(*args, **kwargs)

    def get_user(self, uidb64: str) -> User | None:
        """The link's user; None if they may not log in, or not with a password."""
        user = super().get_user(uidb64)
        return user if _may_reset(user) else None

    def form_valid(self, form: Any) -> HttpResponse:
        """Save the password, and say so on the page and by mail."""
        user = form.user
        with transaction.atomic():
            audit.record_action(user.pk, Act.PASSWORD, Door.PAGE, subject_id=user.pk, by="mail")
            tokens.revoke_all(user.pk)
            mails.queue_mail(user.pk, MailKind.PASSWORD_CHANGED)
            answer = super().form_valid(form)
        publish_logins_ended()
        messages.success(self.request, _("The password is set. Log in with it."))
        return answer


@csrf_exempt
@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def stop_mails(request: HttpRequest, signed: str) -> HttpResponse:
    """Switch off a kind of mail, by the link in one: with a button on a page, or by the request of a mail program's own button.

    The link itself is the proof, so nobody has to be logged in, and no other site's form can know it.
    """
    found = mail_texts.read_stop(signed)
    if found is None:
        raise Http404
    is_done = request.method == "POST" and mails.stop_mails(*found)
    return render(request, "registration/mail_stop.html", {"is_done": is_done, "kind": found[1]})


urlpatterns = [
    path("password_reset/", ask_reset, name="password_reset"),
    path("password_reset/<uidb64>/pr_<token>/", PasswordResetView.as_view(), name="password_reset_confirm"),
    path("mail/stop/<str:signed>/", stop_mails, name="mail_stop"),
]
