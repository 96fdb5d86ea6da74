"""Files with a message, in a browser: chosen, pasted, refused, removed, sent, and shown with the message and the result."""

import json
import re

from playwright.async_api import expect

from tests import documents
from tests.e2e.conftest import Enter
from tests.e2e.conversation import Conversation
from tests.e2e.watch import Watch

PASTE = """(bytes) => {
  const data = new DataTransfer();
  data.items.add(new File([new Uint8Array(bytes)], "pasted.png", { type: "image/png" }));
  document.querySelector("#message").dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true }));
}"""


def payload(name: str, content: bytes) -> dict[str, object]:
    return {"name": name, "mimeType": "application/octet-stream", "buffer": content}


async def test_files_go_with_the_first_message_and_are_read(enter: Enter, watch: Watch) -> None:
    watch.allow("415")
    home = await enter("/")
    page = home.page
    files = page.get_by_role("list", name="Files").get_by_role("listitem")
    async with page.expect_file_chooser() as chooser:
        await page.get_by_role("button", name="Attach files").click()
    await (await chooser.value).set_files([payload("notes.txt", b"Tea: 3\nMilk: 1"), payload("bad.pdf", b"no PDF")])  # type: ignore[list-item]
    await expect(files).to_have_count(2)
    await expect(files.nth(1)).to_contain_text("is not what its name says")
    call = json.dumps({"file": "notes.txt"})
    await home.ask(f"Look [call=read_file:{call}]")
    await expect(page.get_by_role("alert")).to_have_text("Remove the files that could not be sent first.")
    await page.get_by_role("button", name="Remove “bad.pdf”").press("Enter")
    await expect(files).to_have_count(1)
    await expect(page.get_by_role("alert")).to_be_hidden()
    await page.evaluate(PASTE, list(documents.picture()))
    await expect(files.nth(1)).to_contain_text("The model cannot see pictures.")
    await home.message.press("Enter")
    await page.wait_for_url(re.compile(r"/sessions/[0-9a-f-]{36}/$"))
    await home.ended()
    await sent_files_are_shown(home)
    await page.reload()
    await sent_files_are_shown(home)


async def test_a_file_that_a_proxy_does_not_pass_is_told_as_that(talk: Conversation, watch: Watch) -> None:
    watch.allow("413")
    await talk.page.route(
        "**/api/files/", lambda route: route.fulfill(status=413, body="<h1>413 Request Entity Too Large</h1>")
    )
    async with talk.page.expect_file_chooser() as chooser:
        await talk.page.get_by_role("button", name="Attach files").click()
    await (await chooser.value).set_files([payload("notes.txt", b"Tea: 3")])  # type: ignore[list-item]
    files = talk.page.get_by_role("list", name="Files").get_by_role("listitem")
    await expect(files).to_contain_text("the proxy in front of the server takes no file this large")


async def sent_files_are_shown(talk: Conversation) -> None:
    """With the message, live and after a reload; the result cites its lines."""
    files = talk.runs.locator("header").get_by_role("listitem")
    await expect(files).to_have_text([re.compile("notes.txt.*14.bytes"), re.compile("pasted.png")])
    picture = files.nth(1).locator("img")
    await expect(picture).to_have_js_property("naturalWidth", 8)
    await expect(talk.page.get_by_role("button", name=re.compile("^Remove"))).to_have_count(0)
    await talk.open_steps()
    await expect(talk.step("call").locator("[data-slot=content]")).to_contain_text("lines 1–2")
