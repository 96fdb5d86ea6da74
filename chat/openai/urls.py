"""The addresses of this API, under ``/v1/``."""

from django.urls import path, re_path

from chat.api import docs
from chat.openai import description, views

docs.other_paths.update(description.PATHS)

urlpatterns = [
    path("models", views.list_models, name="v1-models"),
    path("models/<str:name>", views.get_model, name="v1-model"),
    path("chat/completions", views.complete_chat, name="v1-completions"),
    path("responses", views.create_response, name="v1-responses"),
    path("responses/<str:response_id>", views.get_response, name="v1-response"),
    re_path(r"", views.unknown, name="v1-unknown"),
]
