"""Many logins at the same time: they wait for one another, and slow nobody else down and use bounded memory."""

import asyncio
from collections import Counter
from collections.abc import Iterator

import aiohttp
import pytest

from tests.faults.conftest import Record
from tests.faults.probe import probed
from tests.faults.world import USUAL, Database
from tests.serving import Server, serving

pytestmark = pytest.mark.xdist_group("logins")

LOGIN, SIGN_UP = "/accounts/login/", "/accounts/signup/"
MOST_MEMORY = 300 * 1024 * 1024


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The product as a process, with the user ada."""
    with serving(tmp_path_factory.mktemp("logins"), "ada", ALLOW_SIGNUP="true", **USUAL) as server:
        yield server
        assert "Traceback" not in "".join(server.output), "".join(server.output)


class Flood:
    """Clients without an account who submit a form, each with a cookie and a token of its own."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self._url = url
        self._http = http
        self.statuses: Counter[int] = Counter()

    async def send(self, where: str, name: str, address: str) -> int:
        """Submit a form from this address; the test is a trusted proxy, because it is on this machine."""
        token = "a" * 32
        password = "correct horse 17"
        form = {"username": name, "password": password, "password1": password, "password2": "another one 18"}
        headers = {"Cookie": f"csrftoken={token}", "X-Forwarded-For": address}
        form["csrfmiddlewaretoken"] = token
        async with self._http.post(f"{self._url}{where}", data=form, headers=headers, allow_redirects=False) as answer:
            await answer.read()
            self.statuses[answer.status] += 1
            return answer.status


def addresses(number: int) -> str:
    """A different address for each number."""
    return f"203.{number // 65536 % 256}.{number // 256 % 256}.{number % 256}"


@pytest.mark.parametrize("where", [LOGIN, pytest.param(SIGN_UP, marks=pytest.mark.long)])
@pytest.mark.parametrize("burst", [150, pytest.param(500, marks=pytest.mark.long)])
async def test_a_burst_of_logins_costs_nobody_else(
    product: Server, where: str, burst: int, record_property: Record
) -> None:
    """Hundreds at once with invented names, each from its own address: the health check is answered at once, and memory stays bounded."""
    product.loaded.wait()
    product.rest()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as http:
        flood = Flood(product.url, http)
        offset = 10 * burst + {LOGIN: 0, SIGN_UP: 20_000}[where]
        async with probed(product) as probe:
            await asyncio.gather(
                *(flood.send(where, f"nobody{number}", addresses(offset + number)) for number in range(burst))
            )
    record_property("/healthz meanwhile", probe.words)
    record_property("memory", f"{product.most_taken / 1024 / 1024:.0f} MiB")
    record_property("answers", dict(flood.statuses))
    assert set(flood.statuses) <= {200, 429, 503}
    assert flood.statuses[200] > 0
    assert product.most_taken < MOST_MEMORY, "a burst of logins took too much memory"
    probe.assert_soon()


async def test_hashes_are_few_and_small(product: Server) -> None:
    """With the default settings: OWASP's parameters, with which a hash takes 19 MiB."""
    ((password,),) = Database(str(product.data_dir / "thinkaloud.sqlite3")).rows("SELECT password FROM auth_user")
    assert password.startswith("argon2$argon2id$v=19$m=19456,t=2,p=1$")


#: Failed logins that have the name, the address or both in common, and how many of them are allowed. The numbers are repeated here, because
#: a product without limits would be asked for ever.
GUESSES = {
    "by address": (50, lambda number: (f"nobody{number}", "198.51.100.1")),
    "by address, of IPv6": (
        50,
        lambda number: (f"nobody{number}", f"2001:db8::{number + 1:x}"),
    ),
    "by name": (100, lambda number: ("victim", addresses(3000 + number))),
}


@pytest.mark.parametrize("common", GUESSES)
async def test_guesses_are_limited(product: Server, common: str) -> None:
    """Only the name, the address or both are the same in all the attempts."""
    limit, guess = GUESSES[common]
    async with aiohttp.ClientSession() as http:
        flood = Flood(product.url, http)
        for number in range(limit):
            await flood.send(LOGIN, *guess(number))
        assert await flood.send(LOGIN, *guess(limit)) == 429, "guessing goes on and on"
