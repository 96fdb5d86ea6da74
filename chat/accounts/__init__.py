"""The accounts: an application of its own, so that people can be told more about than Django knows of its users. No sessions, no runs."""
