"""Model servers in the admin."""

from typing import Any

from django import forms
from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from chat.admin.entered_servers import EnteredServerAdmin, ServerForm
from chat.models import ModelServer


class ModelServerForm(ServerForm):
    """A model server, and which of its models accept pictures."""

    seeing = forms.CharField(
        label=_("Models that see pictures"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, "cols": 60}),
        help_text=_("One a line; * stands for any letters."),
    )

    class Meta(ServerForm.Meta):
        model = ModelServer
        fields = ("name", "address")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.initial.setdefault("seeing", "\n".join(self.instance.seeing_models))

    def more(self) -> dict[str, Any]:
        """Its models that accept pictures."""
        lines = self.cleaned_data["seeing"].splitlines()
        return {"seeing_models": [line.strip() for line in lines if line.strip()]}


@admin.register(ModelServer)
class ModelServerAdmin(EnteredServerAdmin):
    """The model servers that agents may use."""

    form = ModelServerForm
    fields = ("name", "address", "shown_key", "new_key", "no_key", "seeing")
