"""Where servers may be that staff enter, by the operator's lists; and the messages about one that may not be used."""

from django.conf import settings

from agents.models.address_list import AddressList
from agents.sentence import Sentence
from chat.models import EnteredServer, McpServer, ModelServer

#: The variables with the lists of allowed addresses.
VARIABLES: dict[type[EnteredServer], str] = {
    ModelServer: "MODEL_SERVER_ADDRESSES",
    McpServer: "MCP_SERVER_ADDRESSES",
}


def addresses_for(kind: type[EnteredServer]) -> AddressList:
    """The operator's list for servers of this kind."""
    found: AddressList = getattr(settings, VARIABLES[kind])
    return found


def refusal_of_address(kind: type[EnteredServer], address: str) -> str:
    """Why no server may be at this address, as a sentence; empty if one may."""
    allowed, variable = addresses_for(kind), VARIABLES[kind]
    if not allowed:
        return Sentence(
            "The operator has allowed no addresses of such servers: %(variable)s names those that may be entered.",
            variable=variable,
        )
    if not allowed.allows(address):
        return Sentence(
            "The operator has not allowed this address. %(variable)s names those that may be entered.",
            variable=variable,
        )
    return ""
