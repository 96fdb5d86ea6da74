"""Logins by an OpenID provider, beside those by password: what it is asked, what its answers must be, and what they make of an account."""
