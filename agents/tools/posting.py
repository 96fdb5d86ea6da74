"""Sends requests to public web addresses that people have entered, with the checks of `fetch_page`; redirects are not followed."""

import http.client
from collections.abc import Mapping

from agents.addresses import BadAddress, host_and_port, request_target, split_address
from agents.cancellation import CancelToken
from agents.sentence import Sentence
from agents.tools.fetch_page import FetchPageTool, failure_words, web_ports_only
from agents.tools.tool import ToolError


def refusal_of_page_address(url: str) -> str | None:
    """Why this cannot be the address of a public page, as far as the address itself shows; None if it can."""
    try:
        _, _, port = split_address(url)
    except BadAddress as bad:
        return str(bad)
    return (
        None
        if web_ports_only(port)
        else Sentence("Port %(port)d is not asked: web pages are on ports 80 and 443.", port=port)
    )


class Poster(FetchPageTool):
    """Sends requests to addresses that people have entered. Its policies are those of `FetchPageTool`."""

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """Send a POST request, and return the status of the answer, whose body is not read. Blocks.

        Raises `ToolError`, with a text for people, if the address is not public, or does not answer in time.
        """
        with self._deadline(CancelToken()) as transfer:
            try:
                target = self._vet(url, transfer)
                connection = http.client.HTTPConnection(target.host, target.port)
                connection.sock = self._connect(target, transfer)
                place = host_and_port(target.parts.scheme, target.host, target.port)
                path = request_target(target.parts)
                forwards = target.proxy is not None and target.parts.scheme == "http"
                sent = {"Host": place, "User-Agent": "Thinkaloud", "Connection": "close", **headers}
                if target.proxy is not None and forwards and target.proxy.authorization:
                    sent["Proxy-Authorization"] = target.proxy.authorization
                connection.request("POST", f"http://{place}{path}" if forwards else path, body, sent)
                with connection.getresponse() as response:
                    transfer.check()
                    return response.status
            except ToolError:
                transfer.check()
                raise
            except (OSError, http.client.HTTPException) as error:
                transfer.check()
                raise ToolError(failure_words(error)) from error
