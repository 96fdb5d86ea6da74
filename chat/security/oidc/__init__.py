"""Logins by an OpenID provider, besides those by password: requests, checks of its answers, and their effect on an account."""
