"""Sets up the environment and what the project needs: no part of the application."""
