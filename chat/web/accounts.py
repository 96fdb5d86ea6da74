"""Pages for logging in and out, for the user's account, and for signing up if that is allowed."""

from collections.abc import Callable
from importlib import import_module
from typing import Any, cast

from allauth.mfa.models import Authenticator
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import views as auth
from django.contrib.auth.forms import UserCreationForm
from django.contrib.auth.mixins import LoginRequiredMixin
from django.contrib.auth.views import RedirectURLMixin
from django.db import DatabaseError, transaction
from django.db.models import QuerySet
from django.forms import EmailField, ModelForm
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import path, reverse, reverse_lazy
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.views.generic import CreateView, UpdateView

from chat.accounts.addresses import confirmed_address
from chat.accounts.models import User
from chat.models import Act, Door, MailKind
from chat.security import audit, tokens
from chat.store import mails
from chat.web import addresses, provider_login
from chat.web import mails as mail_pages
from chat.web.attempts import count_attempt
from chat.web.languages import choose_language
from chat.web.logins import publish_logins_ended
from chat.web.own_data import show_data
from chat.web.page import AccountPageMixin


def _is_any_passkey() -> bool:
    """Whether there are any passkeys. If the database does not answer, the login page does not offer them."""
    try:
        return bool(Authenticator.objects.filter(type=Authenticator.Type.WEBAUTHN).exists())
    except DatabaseError:
        return False


def _go_on(request: HttpRequest, user: User, next_url: str) -> HttpResponse:
    """Continue with a user who has given their password."""
    # Imported with the first login, and not before the first page.
    from chat.security.login_stages import begin_login  # noqa: PLC0415

    return begin_login(request, user, "password", next_url, username=user.get_username())


class LoginView(auth.LoginView):
    """Log in, and go to the page that was requested."""

    def get_context_data(self, **context: Any) -> dict[str, Any]:
        """Add whether users can sign up."""
        more = {
            "allow_signup": settings.ALLOW_SIGNUP,
            "provider": settings.OIDC_NAME if settings.OIDC_ISSUER else "",
            "passkey_action": f"{reverse('passkey_login')}?{urlencode({'next': self.get_success_url()})}",
            "has_passkeys": _is_any_passkey(),
            "can_reset": bool(settings.EMAIL_URL),
        }
        return super().get_context_data(**more, **context)

    def form_valid(self, form: Any) -> HttpResponse:
        """Continue after the password."""
        return _go_on(self.request, form.get_user(), self.get_success_url())

    def form_invalid(self, form: Any) -> HttpResponse:
        """Show the form again with the error, and the password field, which has to be filled again, focused."""
        if "username" not in form.errors:
            del form.fields["username"].widget.attrs["autofocus"]
            form.fields["password"].widget.attrs |= {"autofocus": True, "aria-describedby": "form-error"}
        return super().form_invalid(form)


class LogoutView(auth.LogoutView):
    """Log out; the sockets of this login are closed, and users who logged in through the provider are shown how to log out there."""

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """End the login."""
        is_the_providers = bool(settings.OIDC_ISSUER) and hasattr(request.user, "provider_login")
        answer = super().post(request, *args, **kwargs)
        publish_logins_ended()
        # Not the provider's page itself: this site's forms must not lead to another site.
        return redirect("oidc_logout") if is_the_providers else answer


class AccountForm(ModelForm):  # type: ignore[type-arg] # Django's classes take no parameters at run time
    """The settings of an account that users may change."""

    class Meta:
        model = User
        fields = ("first_name", "last_name", "email", "mail_waiting", "mail_failures")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if confirmed_address(self.instance) is None or not settings.EMAIL_URL:
            # They get no mails, so there is nothing to choose.
            del self.fields["mail_waiting"], self.fields["mail_failures"]


class AccountView(LoginRequiredMixin, AccountPageMixin, UpdateView):  # type: ignore[type-arg]
    """The user's account."""

    form_class = AccountForm
    template_name = "registration/account.html"
    success_url = reverse_lazy("account")

    def get_object(self, queryset: QuerySet[User] | None = None) -> User:
        """The logged-in user, read again, so that nothing that was typed is shown before it is saved."""
        return User.objects.get(pk=cast(User, self.request.user).pk)

    def get_context_data(self, **context: Any) -> dict[str, Any]:
        """Add whether there is an address to confirm, and whether webhooks can be created."""
        person = cast(User, self.request.user)
        can_confirm = bool(settings.EMAIL_URL and person.email) and confirmed_address(person) is None
        return super().get_context_data(can_confirm=can_confirm, webhooks_allowed=settings.WEBHOOKS, **context)

    def form_valid(self, form: Any) -> HttpResponse:
        """Save, with a message."""
        messages.success(self.request, _("Saved."))
        return super().form_valid(form)


class PasswordChangeView(AccountPageMixin, auth.PasswordChangeView):
    """Change the password, which ends every other login and every token."""

    template_name = "registration/password_change_form.html"
    success_url = reverse_lazy("account")

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Only for users with a password; users of the provider have none."""
        if request.user.is_authenticated and not request.user.has_usable_password():
            raise Http404
        return super().dispatch(request, *args, **kwargs)

    def form_valid(self, form: Any) -> HttpResponse:
        """Save the password, and close the sockets of the logins that this has ended."""
        user = cast(User, self.request.user)
        with transaction.atomic():
            audit.record_action(user.pk, Act.PASSWORD, Door.PAGE, subject_id=user.pk)
            tokens.revoke_all(user.pk)
            mails.queue_mail(user.pk, MailKind.PASSWORD_CHANGED)
            answer = super().form_valid(form)
        publish_logins_ended()
        messages.success(
            self.request, _("The password was changed. Everything else that was logged in, and every token, has ended.")
        )
        return answer


class SignupForm(UserCreationForm):  # type: ignore[type-arg]
    """A new account."""

    email = EmailField(required=False)

    class Meta:
        model = User
        fields = ("username", "email")


class SignupView(RedirectURLMixin, CreateView):  # type: ignore[type-arg]
    """Create an account, if the installation allows it, and log in."""

    form_class = SignupForm
    template_name = "registration/signup.html"
    next_page = settings.LOGIN_REDIRECT_URL

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Show or process the form, if signing up is allowed."""
        if not settings.ALLOW_SIGNUP:
            raise Http404
        if request.user.is_authenticated:
            return redirect(self.get_success_url())
        return super().dispatch(request, *args, **kwargs)

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Process the form, unless too many came from this address: each counts like a failed login."""
        return count_attempt(request, SignupView) or super().post(request, *args, **kwargs)

    def form_valid(self, form: Any) -> HttpResponse:
        """Create the account, and log in."""
        with transaction.atomic():
            user = form.save()
            audit.record_action(user.pk, Act.CREATE, Door.PAGE, subject_id=user.pk, about="account")
        return _go_on(self.request, user, self.get_success_url())


def _later(name: str, module: str = "second_factor") -> Callable[..., HttpResponse]:
    """A view for second factors, whose module is imported when it is first requested."""

    def view(request: HttpRequest, **named: Any) -> HttpResponse:
        answer: HttpResponse = getattr(import_module(f"chat.web.{module}"), name)(request, **named)
        return answer

    return view


urlpatterns = [
    path("", AccountView.as_view(), name="account"),
    path("language/", choose_language, name="language"),
    path("login/", LoginView.as_view(), name="login"),
    # allauth's name for the same page.
    path("login/", LoginView.as_view(), name="account_login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("password_change/", PasswordChangeView.as_view(), name="password_change"),
    path("signup/", SignupView.as_view(), name="signup"),
    *provider_login.urlpatterns,
    *addresses.urlpatterns,
    *mail_pages.urlpatterns,
    path("second-factor/", _later("ask_second_factor"), name="mfa_authenticate"),
    path("second-factor/required/", _later("require_second_factor"), name="second_factor_required"),
    path("passkey/", _later("log_in_by_passkey"), name="passkey_login"),
    path("confirm/", _later("confirm"), name="account_confirm"),
    path("data/", show_data, name="own_data"),
    path("data/delete/", _later("delete_account", "account_deletion"), name="delete_account"),
    path("security/", _later("show_security"), name="security"),
    path("security/app/", _later("set_up_app"), name="second_factor_app"),
    path("security/codes/", _later("recovery_codes"), name="recovery_codes"),
    path("security/passkeys/add/", _later("add_passkey"), name="passkey_add"),
    path("security/factors/<int:factor_id>/remove/", _later("remove_factor"), name="second_factor_remove"),
]
