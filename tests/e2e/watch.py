"""What must never happen on a page, whatever a test is about; and the notifications that a browser was asked to show."""

import re
from urllib.parse import urlsplit

from playwright.async_api import BrowserContext, ConsoleMessage, Dialog, Request, WebError

#: What a browser logs for an answer that is not 200, which is no error of a page.
ANSWERED = r"Failed to load resource: the server responded with a status of {status}"
NO_SOCKET = r"WebSocket connection to '\S+' failed"
NO_NETWORK = (
    r"Failed to load resource: net::ERR_(INTERNET_DISCONNECTED|CONNECTION_REFUSED|CONNECTION_RESET|EMPTY_RESPONSE)"
)
#: The browser's notifications are recorded in the page: a headless one shows none, and never allows them.
KEEP_SHOWN = """const Real = Notification;
globalThis.Notification = class extends Real {
  static permission = "granted";
  static async requestPermission() {
    return "granted";
  }
  constructor(title, options) {
    super(title, options);
    document.documentElement.dataset.shown = `${document.documentElement.dataset.shown ?? ""}${title}: ${options.body};`;
  }
};"""
#: Waits until nothing moves that ends by itself. An animation that is cancelled, because its element left or it starts
#: anew, is over too.
AT_REST = """() => Promise.allSettled(
  document.getAnimations().filter(a => a.effect.getComputedTiming().endTime !== Infinity).map(a => a.finished)
)"""
UNSEEN = "Object.defineProperty(document, 'visibilityState', { get: () => 'hidden', configurable: true })"


class Watch:
    """Collects errors and warnings of consoles (such as violations of the content policy), exceptions, and requests to other hosts."""

    def __init__(self, origin: str) -> None:
        self.origins = {origin}
        self.requests: list[str] = []
        self._problems: list[str] = []
        self._allowed: list[re.Pattern[str]] = []

    def allow(self, *patterns: str) -> None:
        """Allow messages that a test provokes."""
        self._allowed += [re.compile(pattern) for pattern in patterns]

    def observe(self, context: BrowserContext) -> None:
        """Watch every page of a browser."""
        context.on("console", self._on_console)
        context.on("weberror", self._failed)
        context.on("request", self._requested)
        context.on("dialog", self._asked)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self._problems.append(f"console {message.type}: {message.text} ({message.location.get('url')})")

    def _failed(self, error: WebError) -> None:
        self._problems.append(f"exception: {error.error}")

    async def _asked(self, dialog: Dialog) -> None:
        self._problems.append(f"dialog: {dialog.message}")
        await dialog.dismiss()

    def _requested(self, request: Request) -> None:
        self.requests.append(request.url)
        address = urlsplit(request.url)
        if address.scheme in {"data", "blob"} or f"{address.scheme}://{address.netloc}" in self.origins:
            return
        self._problems.append(f"request to {request.url}")

    def assert_nothing_happened(self) -> None:
        """Fail with everything that was recorded and not allowed."""
        left = [problem for problem in self._problems if not any(pattern.search(problem) for pattern in self._allowed)]
        assert not left, "\n".join(left)
