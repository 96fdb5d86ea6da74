"""The application: sessions, their runs, and all that shows, serves and keeps them. `CONTRIBUTING.md` has the map of its packages."""
