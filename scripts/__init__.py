"""Scripts that set up the environment and the project: no part of the application."""
