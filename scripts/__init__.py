"""What makes the environment and brings what the project needs: no part of the application."""
