"""The widget on another site's page."""

import re

import pytest
from playwright.async_api import expect

from tests.browser.conftest import held_back, shoot
from tests.browser.playground import axe_source, violations

# One event loop for all, as they share one browser.
pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_snippet_on_a_foreign_page_runs(open_page, site, foreign_site, bundle):
    page = await open_page(site, f"http://127.0.0.1:{foreign_site.server_port}/")
    widget = page.locator("wsrunner-code")
    await expect(widget.locator(".cm-content")).to_contain_text('name = input("Who? ")')
    await widget.get_by_role("button", name="Run").click()
    log = widget.get_by_role("region", name="Program output")
    await expect(log).to_contain_text("Who?")
    # The focus is where input is taken.
    await page.keyboard.type("Ada\n")
    await expect(log).to_contain_text("Hello, Ada")
    await expect(widget.locator(".outcome")).to_contain_text("Finished with exit code 0")
    await shoot(page, "widget")


async def test_run_works_before_the_editor_has_come(open_page, site, foreign_site, bundle):
    page = await open_page(site, "/?")
    come = await held_back(page, "**/dist/bundle.js")
    await page.goto(f"http://127.0.0.1:{foreign_site.server_port}/")
    widget = page.locator("wsrunner-code")
    await widget.get_by_role("button", name="Run").click()
    log = widget.get_by_role("region", name="Program output")
    await expect(log).to_contain_text("Who?")
    come.set()
    await expect(widget.locator(".cm-content")).to_be_visible()
    await widget.get_by_role("button", name="Stop").click()


async def test_a_site_that_is_not_allowed_can_not_run(open_page, one_slot, foreign_site, site):
    page = await open_page(
        site, f"http://127.0.0.1:{foreign_site.server_port}/", expected="WebSocket.*403"
    )
    widget = page.locator("wsrunner-code")
    await widget.evaluate("(w, url) => w.setAttribute('server', url)", f"http://{one_slot.address}")
    await widget.get_by_role("button", name="Run").click()
    await expect(widget.locator(".outcome")).to_contain_text("can't be reached")


async def test_without_its_styles_the_code_stays_until_they_come(open_page, site, foreign_site):
    page = await open_page(site, "/favicon.ico", expected="404|Failed to load")
    await page.route("**/static/style.css", lambda route: route.fulfill(status=503))
    await page.goto(f"http://127.0.0.1:{foreign_site.server_port}/")
    await page.wait_for_event("response", lambda response: "style.css" in response.url)
    await expect(page.get_by_text('name = input("Who? ")')).to_be_visible()
    await page.unroute("**/static/style.css")
    await expect(page.locator("wsrunner-code .frame")).to_be_visible()


async def test_without_scripts_the_code_can_be_read(open_page, site, foreign_site):
    url = f"http://127.0.0.1:{foreign_site.server_port}/"
    page = await open_page(site, url, java_script_enabled=False)
    await expect(page.get_by_text('name = input("Who? ")')).to_be_visible()


async def test_the_code_can_be_opened_in_the_playground(open_page, site, foreign_site, bundle):
    page = await open_page(site, f"http://127.0.0.1:{foreign_site.server_port}/")
    link = page.locator("wsrunner-code").get_by_role("link", name="Open in playground")
    await expect(page.locator("wsrunner-code .cm-content")).to_be_visible()
    await expect(link).to_have_attribute("href", re.compile("#code="))
    other = await open_page(None, await link.get_attribute("href"))
    await expect(other.get_by_role("textbox", name="Code")).to_contain_text('input("Who? ")')
    await expect(other.get_by_role("tab")).to_have_text(["main.py"])


@pytest.mark.parametrize("way", ["click", "keyboard", "tap"])
async def test_the_playground_gets_the_code_as_it_was_changed(
    open_page, site, foreign_site, bundle, way
):
    url = f"http://127.0.0.1:{foreign_site.server_port}/"
    page = await open_page(site, url, has_touch=way == "tap")
    widget = page.locator("wsrunner-code")
    await expect(widget.locator(".cm-content")).to_be_visible()
    await widget.locator(".cm-content").click()
    await page.keyboard.press("Control+a")
    await page.keyboard.insert_text("print('changed')")
    link = widget.get_by_role("link", name="Open in playground")
    async with page.context.expect_page() as opening:
        if way == "keyboard":
            await link.press("Enter")
        else:
            await (link.tap() if way == "tap" else link.click())
    other = await opening.value
    await expect(other.get_by_role("textbox", name="Code")).to_contain_text("print('changed')")


async def test_a_widget_keeps_errors_in_order(open_page, site, foreign_site, bundle):
    page = await open_page(site, f"http://127.0.0.1:{foreign_site.server_port}/")
    widget = page.locator("wsrunner-code")
    await widget.evaluate("(w) => w.setAttribute('merge', '')")
    await widget.locator(".cm-content").click()
    await page.keyboard.press("Control+a")
    lines = "for n in range(99): print('out', n); print('err', n, file=sys.stderr)"
    await page.keyboard.insert_text(f"import sys\n{lines}\n")
    await widget.get_by_role("button", name="Run").click()
    await expect(widget.locator(".outcome")).to_contain_text("exit code 0")
    turns = "".join(f"out {n}\nerr {n}\n" for n in range(99))
    assert turns in await widget.locator(".log").evaluate("(log) => log.textContent")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_serious_in_a_widget(open_page, site, foreign_site, bundle, scheme):
    url = f"http://127.0.0.1:{foreign_site.server_port}/"
    page = await open_page(site, url, color_scheme=scheme, viewport={"width": 360, "height": 740})
    widget = page.locator("wsrunner-code")
    await expect(widget.locator(".cm-content")).to_be_visible()
    assert await violations(page, axe_source()) == []
    await widget.get_by_role("button", name="Run").click()
    await expect(widget.locator(".log")).to_contain_text("Who?")
    assert await violations(page, axe_source()) == []
    # Nothing of its bar is cut on a phone, not even while it runs.
    assert await widget.locator(".bar").evaluate("(bar) => bar.scrollWidth <= bar.clientWidth")
    await widget.get_by_role("button", name="Stop").click()
    await expect(widget.locator(".outcome")).to_contain_text("Stopped by you")
    assert await violations(page, axe_source()) == []
