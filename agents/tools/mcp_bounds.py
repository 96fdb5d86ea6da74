"""Limits for requests to MCP servers whose addresses the operator has not named: no redirect, and no private network."""

import asyncio
import ipaddress
import socket
import ssl

import httpx2

from agents.tools.special_addresses import is_public


async def refuse_redirect(response: httpx2.Response) -> None:
    """Raise for an answer that redirects: the key would go along, to a host that the operator has not allowed."""
    if response.is_redirect:
        raise httpx2.RemoteProtocolError("it leads to another address, which is not followed", request=response.request)


class PrivateAddress(httpx2.RequestError):
    """The host's name resolves only to addresses in private networks."""


class PublicTransport(httpx2.AsyncBaseTransport):
    """Connects to no address in a private network, whatever the name. It connects to the very address that it has checked."""

    def __init__(self, certificates: ssl.SSLContext) -> None:
        self._inner = httpx2.AsyncHTTPTransport(verify=certificates)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send the request to the first public address of the host that answers. Raises `httpx2.ConnectError`, or `PrivateAddress`."""
        found = await _addresses(request.url.host)
        public = [address for address in found if is_public(ipaddress.ip_address(address))]
        if found and not public:
            raise PrivateAddress("it is at an address in a private network", request=request)
        failed = httpx2.ConnectError("it is nowhere", request=request)
        for address in public:
            try:
                return await self._inner.handle_async_request(_sent_to(request, address))
            except httpx2.ConnectError as error:
                failed = error
        raise failed

    async def aclose(self) -> None:
        """Close its connections."""
        await self._inner.aclose()


def _sent_to(request: httpx2.Request, address: str) -> httpx2.Request:
    """The request for this address, with ``Host`` and the name for the certificate unchanged."""
    return httpx2.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        stream=request.stream,
        extensions={**request.extensions, "sni_hostname": request.url.host},
    )


async def _addresses(host: str) -> list[str]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(str(each[4][0]).partition("%")[0] for each in found))
