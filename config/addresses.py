"""The exception of all parsers of servers' addresses."""


class AddressRefused(ValueError):
    """An address that cannot be used. The message continues after the variable's name: "must start with …"."""
