"""Servers that staff with a permission of its own enter; users who may change agents can only choose among them."""

from typing import Any, ClassVar, cast

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from agents import mask_text
from chat.accounts.models import User
from chat.catalog import server_changes
from chat.catalog.sealed import BadSecret, describe_secret, seal_secret
from chat.catalog.server_addresses import refusal_of_address
from chat.models import EnteredServer
from chat.rendering.sentences import translate_sentence

_SENT_AS = "authorization"


class ServerForm(forms.ModelForm):  # type: ignore[type-arg]
    """A server. Its key is never shown; a typed one replaces it."""

    new_key = forms.CharField(
        label=_("New key"),
        required=False,
        max_length=500,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password", "class": "vTextField"}),
        help_text=_(
            "env:AGENT_… names a variable of the environment that holds it. Empty: as it is. Another address empties it."
        ),
    )
    no_key = forms.BooleanField(label=_("It needs no key"), required=False)

    class Meta:
        widgets: ClassVar[dict[str, forms.Widget]] = {
            "address": forms.TextInput(attrs={"class": "vLargeTextField", "size": 80})
        }

    def clean_address(self) -> str:
        """Check that it is an address that the operator has allowed."""
        address: str = self.cleaned_data["address"].strip()
        if refusal := refusal_of_address(type(self.instance), address):
            raise forms.ValidationError(translate_sentence(refusal))
        return address

    def clean_new_key(self) -> str:
        """Check that the key can be stored."""
        key: str = self.cleaned_data["new_key"]
        try:
            seal_secret(key)
        except BadSecret as bad:
            raise forms.ValidationError(translate_sentence(bad.message)) from None
        return key

    def clean(self) -> dict[str, Any]:
        """Check that the key was typed without the word that this program puts before it."""
        data: dict[str, Any] = super().clean() or self.cleaned_data
        is_sent_so = data.get("key_header", _SENT_AS).strip().lower() == _SENT_AS
        if is_sent_so and data.get("new_key", "").lower().startswith("bearer "):
            self.add_error("new_key", gettext("Enter the key alone: the word Bearer is sent before it as it is."))
        return data

    def submitted_key(self) -> str | None:
        """The new key; empty to remove it, None to leave it unchanged."""
        if self.cleaned_data["no_key"]:
            return ""
        return self.cleaned_data["new_key"] or None

    def more(self) -> dict[str, Any]:
        """The fields that servers of this kind have besides name, address and key."""
        return {}


class EnteredServerAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """The servers that agents may use."""

    notes_itself = True
    list_display = ("name", "shown_address", "shown_key", "is_open", "changed_at", "changed_by")
    list_select_related = ("changed_by",)
    ordering = ("archived_at", "name")
    readonly_fields: ClassVar[tuple[str, ...]] = ("shown_key",)
    actions = ("close", "open_again")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Always False, because versions refer to it. A server is closed instead."""
        return False

    @admin.display(description=_("address"))
    def shown_address(self, server: EnteredServer) -> str:
        """The address, masked."""
        return mask_text(server.address)

    @admin.display(description=_("key"))
    def shown_key(self, server: EnteredServer) -> str:
        """The name of the variable that holds the key, or only that there is one."""
        return describe_secret(server.key) or "–"

    @admin.display(description=_("open"), boolean=True)
    def is_open(self, server: EnteredServer) -> bool:
        """Whether agents may use it."""
        return server.archived_at is None

    def save_model(self, request: HttpRequest, obj: EnteredServer, form: Any, change: bool) -> None:
        """Save it."""
        data = form.cleaned_data
        had_key = bool(obj.key)
        server_changes.save_server(
            obj,
            cast(User, request.user),
            name=data["name"],
            address=data["address"],
            key=form.submitted_key(),
            **form.more(),
        )
        if had_key and not obj.key and not data["no_key"]:
            self.message_user(request, gettext("The address is another one, so the key was emptied."), messages.WARNING)

    @admin.action(description=_("Close: agents may ask it no more"), permissions=["change"])
    def close(self, request: HttpRequest, queryset: QuerySet[EnteredServer]) -> None:
        """Close servers: runs of agents that use them fail, and say why."""
        for server in queryset:
            server_changes.close_server(server, cast(User, request.user), closed=True)

    @admin.action(description=_("Open again"), permissions=["change"])
    def open_again(self, request: HttpRequest, queryset: QuerySet[EnteredServer]) -> None:
        """Open servers again."""
        for server in queryset:
            server_changes.close_server(server, cast(User, request.user), closed=False)
