"""The pages' addresses."""

from django.urls import include, path

from chat.web import calls as call_pages
from chat.web import own_data
from chat.web import runs as run_pages
from chat.web import sessions as session_pages
from chat.web import start as start_pages

urlpatterns = [
    path("", session_pages.home, name="home"),
    path("sessions/", session_pages.sessions, name="sessions"),
    path("sessions/new/", start_pages.begin, name="begin"),
    path("sessions/<uuid:session_id>/", session_pages.session, name="session"),
    path("runs/<uuid:run_id>/", run_pages.run, name="run"),
    path("runs/<uuid:run_id>/calls/<int:number>/", call_pages.call, name="call"),
    # Beside the pages of accounts, of which few are served at a time: it may take long.
    path("data/archive/", own_data.send_archive, name="own_archive"),
    path("schedules/", include("chat.web.schedules")),
]
