"""The accounts: an application of its own, with a user model that can have more columns than Django's. No sessions and no runs."""
