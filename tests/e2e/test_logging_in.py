"""Other ways to log in: with a passkey, and by an identity provider that revokes the access while a user is logged in."""

import os
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from playwright.async_api import Page, expect

from tests.e2e.conftest import READER, NewBrowser
from tests.e2e.watch import ANSWERED, AT_REST, Watch
from tests.oidc import OidcProvider
from tests.serving import PASSWORD, Server


@pytest.fixture(scope="module")
def provider() -> Iterator[OidcProvider]:
    """Not started yet, because it has to know the product's address."""
    provider = OidcProvider()
    yield provider
    provider.stop()


@pytest.fixture(scope="module")
def settings_of_server(provider: OidcProvider) -> dict[str, str]:
    return {**provider.environment, "OIDC_RECHECK_S": "1"}


async def give_password(page: Page) -> None:
    await page.goto("/accounts/login/")
    await page.get_by_label("Username").fill(READER)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Log in", exact=True).click()


async def log_out(page: Page) -> None:
    await page.goto("/accounts/")
    await page.get_by_role("button", name="Log out").click()
    await expect(page.get_by_label("Username")).to_be_visible()


async def picture(page: Page, name: str) -> None:
    """With ``SHOTS=FOLDER``: save screenshots of a page in both widths and themes."""
    if "SHOTS" not in os.environ:
        return
    size = page.viewport_size
    for width in (1440, 360):
        for scheme in ("light", "dark"):
            await page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            await page.set_viewport_size({"width": width, "height": 800})
            await page.evaluate(AT_REST)
            path = Path(os.environ["SHOTS"]) / f"{name}-{width}-{scheme}.png"
            await page.screenshot(path=path, full_page=True)
    await page.emulate_media(color_scheme="light")
    await page.set_viewport_size(size or {"width": 1280, "height": 800})


async def test_a_passkey_lets_in_alone_and_after_a_password(
    server: Server, new_browser: NewBrowser, watch: Watch
) -> None:
    # A passkey belongs to a host name, and not to an IP address.
    base_url = server.url.replace("127.0.0.1", "localhost")
    watch.origins.add(base_url)
    page = await (await new_browser(base_url=base_url)).new_page()
    devtools = await page.context.new_cdp_session(page)
    await devtools.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    added = await devtools.send("WebAuthn.addVirtualAuthenticator", {"options": options})

    await give_password(page)
    await page.goto("/accounts/security/")
    await picture(page, "security-without")
    await page.get_by_role("link", name="Set up").click()
    await expect(page.get_by_role("img", name="The code to scan")).to_be_visible()
    await picture(page, "app")
    await page.goto("/accounts/security/passkeys/add/")
    await picture(page, "passkey-add")
    await page.get_by_label("Name").fill("This laptop")
    await page.get_by_role("button", name="Add a passkey").click()
    await expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()
    await picture(page, "codes")
    await page.get_by_role("link", name="Back").click()
    await expect(page.get_by_text("This laptop")).to_be_visible()
    await picture(page, "security")

    await log_out(page)
    await page.goto("/accounts/login/?next=/schedules/")
    await picture(page, "login")
    await page.get_by_role("button", name="Log in with a passkey").click()
    await expect(page).to_have_url(f"{base_url}/schedules/")

    await log_out(page)
    await give_password(page)
    await expect(page.get_by_role("heading", name="Second factor")).to_be_visible()
    await picture(page, "second-factor")
    await devtools.send(
        "WebAuthn.setUserVerified", {"authenticatorId": added["authenticatorId"], "isUserVerified": False}
    )
    await page.get_by_role("button", name="Use a passkey").click()
    await expect(page.get_by_role("alert").first).to_contain_text("did not work")
    await page.goto("/sessions/")
    await expect(page.get_by_label("Username")).to_be_visible()
    await devtools.send(
        "WebAuthn.setUserVerified", {"authenticatorId": added["authenticatorId"], "isUserVerified": True}
    )
    await give_password(page)
    await page.get_by_role("button", name="Use a passkey").click()
    await expect(page).to_have_url(f"{base_url}/")

    await page.goto("/accounts/security/")
    await page.get_by_role("button", name="Remove This laptop").click()
    await expect(page.get_by_text("Removed.")).to_be_visible()
    await expect(page.get_by_text("This laptop")).to_have_count(0)


async def test_a_user_revoked_by_the_provider_is_logged_out_at_once(
    server: Server, provider: OidcProvider, new_browser: NewBrowser, watch: Watch
) -> None:
    watch.origins.add(provider.issuer)
    watch.allow(ANSWERED.format(status="401"), ANSWERED.format(status="403"), "WebSocket connection to")
    provider.lead_back_to(server.url)
    provider.start()
    page = await (await new_browser()).new_page()
    await page.goto("/accounts/login/?next=/sessions/")
    provider.cancel_next()
    await page.get_by_role("link", name="Continue with Example ID").click()
    await expect(page.get_by_text("You did not log in at Example ID")).to_be_visible()
    await picture(page, "refused")
    provider.know("grace", preferred_username="grace", name="Grace H")
    await page.get_by_role("link", name="Log in").click()
    await page.get_by_role("link", name="Continue with Example ID").click()
    await expect(page.get_by_role("button", name="Grace H")).to_be_visible()
    cookies = {each["name"]: each["value"] for each in await page.context.cookies()}
    headers = {"X-CSRFToken": cookies["csrftoken"], "Referer": f"{server.url}/"}
    async with aiohttp.ClientSession(server.url, cookies=cookies) as http, aiohttp.ClientSession(server.url) as program:
        made = await http.post("/api/tokens/", json={"name": "t", "scope": "read"}, headers=headers)
        token = (await made.json())["token"]
        session = await (await http.post("/api/sessions/", json={}, headers=headers)).json()
        bearer = {"Authorization": f"Bearer {token}"}
        assert (await program.get("/api/sessions/", headers=bearer)).status == 200
        await page.goto(f"/sessions/{session['id']}/")
        await expect(page.get_by_label("Message", exact=True)).to_be_enabled()
        async with (
            http.ws_connect(f"/ws/chat/{session['id']}/", origin=server.url) as own,
            program.ws_connect(f"/ws/chat/{session['id']}/", headers=bearer) as by_token,
        ):
            assert (await own.receive_json())["type"] == (await by_token.receive_json())["type"] == "session"
            provider.forget("grace")
            for socket in (own, by_token):
                while (await socket.receive(20)).type is aiohttp.WSMsgType.TEXT:
                    pass
                assert socket.close_code == 4401
        assert (await program.get("/api/sessions/", headers=bearer)).status == 401
        assert (await http.get("/api/sessions/")).status == 401
    await page.goto("/sessions/")
    await expect(page.get_by_label("Username")).to_be_visible()
