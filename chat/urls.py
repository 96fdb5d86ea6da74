"""The pages' addresses."""

from django.urls import include, path

from chat import views

urlpatterns = [
    path("", views.home, name="home"),
    path("sessions/", views.sessions, name="sessions"),
    path("sessions/<uuid:session_id>/", views.session, name="session"),
    path("runs/<uuid:run_id>/", views.run, name="run"),
    path("schedules/", include("chat.schedule_pages")),
]
