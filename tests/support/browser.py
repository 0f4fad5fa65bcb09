"""A person at the console: Debian's Chromium, driven by Playwright, and watched all the time.

Nothing may show up in the browser's console, nothing may be asked of another host, and the page may
break neither its Content-Security-Policy nor its layout.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
WIDE, NARROW = (1280, 800), (360, 740)
_PATIENCE_MS = 60_000
_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@contextmanager
def running_browser() -> Iterator[Browser]:
    """A headless browser."""
    expect.set_options(timeout=_PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@dataclass
class Visit:
    """One person's tab. `refusals` are the statuses that this visit expects among the answers."""

    page: Page
    url: str
    hosts: frozenset[str]
    refusals: tuple[int, ...] = ()
    faults: list[str] = field(default_factory=list)

    def watch(self) -> None:
        """Note from now on what must not happen."""
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.faults.append(f"{error}\n{error.stack}"))
        self.page.on("request", self._see)
        self.page.set_default_timeout(_PATIENCE_MS)

    def _hear(self, message: ConsoleMessage) -> None:
        refused = any(f"status of {status}" in message.text for status in self.refusals)
        if message.type in ("error", "warning") and not refused:
            self.faults.append(f"{message.type}: {message.text} {message.location}")

    def _see(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and parts.netloc not in self.hosts:
            self.faults.append(f"a request to {parts.netloc}")

    def go(self, place: str) -> None:
        """Follow a link to a page, such as `events?status=FAILED`, and wait for its heading."""
        self.page.evaluate("hash => { location.hash = hash }", f"#/{place}")
        expect(self.page.get_by_role("heading", level=1)).to_be_visible()

    def settle(self) -> None:
        """Wait until what the page shows at first is there."""
        expect(self.page.locator(".skeleton")).to_have_count(0)
        expect(self.page.locator(".tile").filter(has_text="…")).to_have_count(0)

    def press(self, name: str, *, exact: bool = True) -> None:
        """Press the button of that name."""
        self.page.get_by_role("button", name=name, exact=exact).click()

    def confirm(self, name: str) -> None:
        """Press the button of that name in the dialog."""
        self.page.get_by_role("dialog").get_by_role("button", name=name).click()

    def fill(self, label: str, text: str) -> None:
        """Type into the field of that label, and leave it."""
        box = self.page.get_by_label(label, exact=True)
        box.fill(text)
        box.blur()

    def sees(self, text: str) -> None:
        """The text is in sight."""
        expect(self.page.get_by_text(text).first).to_be_visible()

    def overflow(self) -> int:
        """By how many pixels the page is wider than its window."""
        wider: int = self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        return wider

    def violations(self) -> list[str]:
        """What axe-core finds, of WCAG 2.2 AA and its own best practices."""
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate((files("axe_playwright_python") / "axe.min.js").read_text())
        found: list[dict[str, Any]] = self.page.evaluate(
            "rules => axe.run({runOnly: rules}).then(result => result.violations)", _RULES
        )
        return [
            f"{one['id']}: {node['html'][:200]} {node['failureSummary']}"
            for one in found
            for node in one["nodes"]
        ]

    def check(self) -> None:
        """Nothing happened that must not."""
        assert not self.faults, "\n".join(self.faults)
        assert self.overflow() <= 0


@contextmanager
def visiting(
    browser: Browser,
    url: str,
    token: str = "",
    *,
    others: str = "",
    size: tuple[int, int] = WIDE,
    scheme: Any = "light",
    refusals: tuple[int, ...] = (),
) -> Iterator[Visit]:
    """A new tab at the console of the API at `url`, signed in with `token`; only that host may be
    asked, and that of the URL `others`."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme=scheme,
        accept_downloads=True,
        timezone_id="Europe/Berlin",
    )
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    hosts = frozenset(urlsplit(one).netloc for one in (url, others) if one)
    visit = Visit(context.new_page(), url, hosts, refusals)
    visit.watch()
    visit.page.goto(f"{url}/console" + (f"#token={token}" if token else ""))
    expect(visit.page.get_by_role("heading", level=1)).to_be_visible()
    try:
        yield visit
        visit.check()
    finally:
        context.close()
