"""Logins by an OpenID provider, beside those by password: requests, checks of its answers, and their effect on an account."""
