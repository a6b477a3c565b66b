"""The monitor page changes while runs come and go."""

import asyncio
import re

import pytest
from playwright.async_api import expect

from tests.browser.conftest import shoot
from tests.browser.playground import Playground, axe_source, violations
from tests.http_talk import post
from tests.rooms.people import enter, hear_kind, opened_by
from tests.webhooks.receiver import receiving

# One event loop for all, as they share one browser.
pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_runs_come_and_go_and_can_be_cancelled(open_page, site, bundle):
    page = await open_page(site, "/monitor")
    await expect(page.locator("#state")).to_have_text("Live")
    await expect(page.locator("#slots")).to_have_text("of 3")
    await expect(page.locator("#held")).to_have_text("0")
    async with site.talk() as talk:
        await talk.say("run", id="a", language="python", code="import time\ntime.sleep(600)")
        await talk.hear_started(id="a")
        await expect(page.locator("#held")).to_have_text("1")
        await expect(page.locator("#live")).to_contain_text("python")
        await page.get_by_role("button", name=re.compile("Cancel run")).click()
        assert (await talk.hear_kind("exit", "a"))["reason"] == "cancelled"
    first = page.locator("#ended tr").first
    await expect(first).to_contain_text("Cancelled")
    await expect(page.locator("#held")).to_have_text("0")
    await expect(page.locator("#live")).to_contain_text("Nothing runs")
    await expect(page.locator("#runs-words")).to_contain_text("in the last hour")
    await shoot(page, "monitor")
    assert await violations(page, axe_source()) == []


async def test_an_operator_changes_n(open_page, site):
    page = await open_page(site, "/monitor")
    await expect(page.locator("#slots")).to_have_text("of 3")
    for slots in ("2", "3"):
        await page.get_by_label("Slots", exact=True).fill(slots)
        await page.get_by_role("button", name="Change").click()
        await expect(page.locator("#slots")).to_have_text(f"of {slots}")
        await expect(page.locator("#toasts")).to_contain_text(f"{slots} slots now")


async def test_the_monitor_asks_for_the_token(start_server, open_page):
    serving = start_server(token="let-me-in")
    page = await open_page(serving, "/monitor", expected="401|WebSocket")
    field = page.get_by_label("Access token", exact=True)
    await field.fill("wrong")
    await page.get_by_role("button", name="Connect").click()
    await expect(page.locator("#token-words")).to_contain_text("not it")
    await page.get_by_role("button", name="Not now").click()
    await page.get_by_role("button", name="Enter token").click()
    await field.fill("not a token")
    await page.get_by_role("button", name="Connect").click()
    await expect(page.locator("#token-problem")).to_contain_text("a space is in it")
    await field.fill("let-me-in")
    await page.get_by_role("button", name="Connect").click()
    await expect(page.locator("#state")).to_have_text("Live")
    # It is kept for this tab.
    await page.reload()
    await expect(page.locator("#state")).to_have_text("Live")


async def test_operators_may_have_a_token_of_their_own(start_server, open_page):
    serving = start_server(token="let-me-in", operator_token="operators-only")
    page = await open_page(serving, expected="401|WebSocket")
    field = page.get_by_label("Access token", exact=True)
    await field.fill("let-me-in")
    await page.get_by_role("button", name="Connect").click()
    await Playground(page).ready()
    await page.goto(f"http://{serving.address}/monitor")
    await field.fill("operators-only")
    await page.get_by_role("button", name="Connect").click()
    await expect(page.locator("#state")).to_have_text("Live")
    # The playground keeps its own.
    await page.goto(f"http://{serving.address}/")
    await Playground(page).ready()
    await expect(page.locator("#banner")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_it_fits_a_phone(open_page, site, scheme):
    phone = {"width": 360, "height": 740}
    page = await open_page(site, "/monitor", viewport=phone, color_scheme=scheme)
    await expect(page.locator("#state")).to_have_text("Live")
    async with site.talk() as talk:
        await talk.say("run", id="b", language="python", code="raise SystemExit(3)")
        await talk.hear_kind("exit", "b")
        await expect(page.locator("#ended")).to_contain_text("exit code 3")
        # It must outlast all that is looked at, on a busy machine too.
        code = "import time\ntime.sleep(600)"
        await talk.say("run", id="a", language="python", code=code, limits={"wall_s": 60})
        await talk.hear_started(id="a")
        cancel = page.get_by_role("button", name=re.compile("Cancel run"))
        await cancel.scroll_into_view_if_needed()
        await expect(cancel).to_be_in_viewport(ratio=1)
        await shoot(page, "monitor-phone")
        assert await page.evaluate("document.documentElement.scrollWidth") == 360
        # Neither is anything of the two lists out of sight to the right.
        for table in await page.locator(".scroll").all():
            assert await table.evaluate("(t) => t.scrollWidth <= t.clientWidth")
        assert await violations(page, axe_source()) == []
        await cancel.click()
        assert (await talk.hear_kind("exit", "a"))["reason"] == "cancelled"


async def test_attempts_to_send_a_callback_are_shown(start_server, open_page):
    with receiving() as receiver:
        receiver.answers.append((503, {"Retry-After": "600"}))
        serving = start_server(webhook_hosts=receiver.host, webhook_private=True)
        page = await open_page(serving, "/monitor")
        await expect(page.locator("#state")).to_have_text("Live")
        await expect(page.locator("#webhooks-card")).to_be_hidden()
        fields = {"language": "python", "code": "", "callback": {"url": receiver.url}}
        assert (await asyncio.to_thread(post, serving, "/v1/run", fields))[0] == 202
        row = page.locator("#webhooks tr").first
        await expect(row).to_contain_text("Failed: status 503; again after 10 min")
        await expect(row).to_contain_text("127.0.0.1")
        await expect(page.locator("#webhooks-words")).to_have_text("1 waiting")
        assert await violations(page, axe_source()) == []


@pytest.mark.parametrize("width", [1200, 360])
async def test_kept_runs_and_rooms_are_shown_and_ended(start_server, open_page, width):
    serving = start_server(slots=2)
    page = await open_page(serving, "/monitor", viewport={"width": width, "height": 800})
    await expect(page.locator("#state")).to_have_text("Live")
    for card in ("#kept-card", "#rooms-card"):
        await expect(page.locator(card)).to_be_hidden()
    async with serving.talk() as ada, serving.talk() as bob:
        opened, _ = await opened_by(ada, id="r")
        await enter(bob, opened, "watch", "Bob", id="r")
        await ada.say("run", id="a", language="python", code="input()", room=opened["room"])
        run = (await ada.hear_kind("accepted", "a"))["run"]
        room = page.locator("#rooms tr")
        await expect(room.locator("td").nth(2)).to_have_text("2")
        await expect(room.locator("td").nth(3)).to_have_text("1")
        kept = page.locator("#kept tr")
        await expect(kept).to_contain_text("Goes on")
        assert await page.evaluate("document.documentElement.scrollWidth") == width
        for table in await page.locator(".scroll:visible").all():
            assert await table.evaluate("(t) => t.scrollWidth <= t.clientWidth")
        assert await violations(page, axe_source()) == []
        await shoot(page, f"monitor-rooms-{width}")
        body = await page.locator("main").inner_text()
        assert not [key for key in ("own", "work", "watch") if opened[key] in body]
        assert "Bob" not in body
        await page.get_by_role("button", name=f"Cancel kept run {run}").click()
        assert (await ada.hear_kind("exit", "a"))["reason"] == "cancelled"
        await expect(kept).to_contain_text("Over, to be read for")
        await page.get_by_role("button", name=f"Forget kept run {run}").click()
        await expect(page.locator("#kept-card")).to_be_hidden()
        await page.get_by_role("button", name=f"Close room {opened['room']}").click()
        assert (await hear_kind(bob, "left"))["reason"] == "closed"
        await expect(page.locator("#rooms-card")).to_be_hidden()
