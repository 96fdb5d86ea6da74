"""The page by which users delete their account, with all of its data."""

from typing import Any, cast

from asgiref.sync import async_to_sync
from django.conf import settings
from django.contrib.auth import authenticate
from django.db import transaction
from django.forms import CharField, Form, PasswordInput
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_http_methods

from chat.accounts.models import User
from chat.models import Act, Door
from chat.runs import erasure, sessions
from chat.security import audit
from chat.web.page import render_account_page
from chat.web.second_factor import recent_proof_required


class DeletionForm(Form):
    """The form for deleting an account: a confirmation and, if the account has one, the password."""

    username = CharField(label=_("Your user name"), max_length=150)
    password = CharField(
        label=_("Password"), strip=False, widget=PasswordInput(attrs={"autocomplete": "current-password"})
    )

    def __init__(self, request: HttpRequest, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._request, self._user = request, cast(User, request.user)
        self.fields["username"].widget.attrs |= {"autocomplete": "off", "spellcheck": "false"}
        if not self._user.has_usable_password():
            # They have just proven who they are, by their provider or a second factor.
            del self.fields["password"]

    def clean(self) -> dict[str, Any]:
        """Check the password. Wrong ones count as failed logins."""
        given = self.cleaned_data
        name, password = given.get("username"), given.get("password")
        if name is not None and name != self._user.get_username():
            self.add_error("username", gettext("That is not your user name."))
        elif password is not None and authenticate(self._request, username=name, password=password) != self._user:
            self.add_error("password", gettext("That was not right."))
        elif _is_last_superuser(self._user):
            self.add_error(
                None, gettext("You are the only one who may do everything here. Make somebody else a superuser first.")
            )
        return given


def _is_last_superuser(user: User) -> bool:
    others = User.objects.filter(is_superuser=True, is_active=True, closed=None).exclude(pk=user.pk)
    return user.is_superuser and not others.exists()


@require_http_methods(["GET", "POST"])
@recent_proof_required
def delete_account(request: HttpRequest) -> HttpResponse:
    """Delete the user's own account: at once for everyone, then from all tables."""
    form = DeletionForm(request, request.POST or None)
    if request.method != "POST" or not form.is_valid():
        return render_account_page(request, "registration/delete_account.html", form=form)
    user = cast(User, request.user)
    with transaction.atomic():
        audit.record_action(user.pk, Act.DELETE, Door.PAGE, subject_id=user.pk, about="account")
        at_work = erasure.close_account(user.pk)
    # The login's session is already deleted.
    request.session.flush()
    async_to_sync(sessions.account_closed)(at_work)
    return redirect(settings.LOGIN_URL)
