"""What is common to the addresses of servers."""


class AddressRefused(ValueError):
    """An address that cannot be used. The text goes on where the variable's name ends: "must start with …"."""
