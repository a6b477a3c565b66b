"""The API's page shows what the document says, and sends what is filled in."""

import pytest
from playwright.async_api import expect

from tests.browser.conftest import shoot
from tests.browser.playground import axe_source, violations

# One event loop for all, as they share one browser.
pytestmark = pytest.mark.asyncio(loop_scope="session")


def part(page, path):
    """Return the section of an operation."""
    exact = page.get_by_text(path, exact=True)
    return page.locator("#operations > section").filter(has=exact)


async def test_a_request_is_tried_and_its_answer_shown(open_page, site):
    page = await open_page(site, "/docs")
    run = part(page, "/v1/run")
    await run.get_by_label("Body").fill('{"language": "python", "code": "print(6 * 7)"}')
    await expect(run.locator("pre").first).to_contain_text("print(6 * 7)")
    await run.get_by_role("button", name="Send").click()
    await expect(run.locator(".status")).to_have_text("200 OK")
    await expect(run.locator("pre").last).to_contain_text('"stdout":"42\\n"')
    await run.get_by_label("Accept").select_option("text/event-stream")
    await run.get_by_role("button", name="Send").click()
    await expect(run.locator("pre").last).to_contain_text("event: exit")
    await shoot(page, "docs")
    assert await violations(page, axe_source()) == []


async def test_plain_source_is_sent_with_its_query(open_page, site):
    page = await open_page(site, "/docs")
    plain = part(page, "/v1/run/{language}")
    await plain.get_by_label("language").fill("bash")
    await plain.get_by_label("status").select_option("line")
    await plain.get_by_label("stdin").fill("it's me")
    await plain.get_by_label("Body").fill("cat; exit 3")
    await plain.get_by_role("button", name="Send").click()
    await expect(plain.locator("pre").last).to_have_text("it's me\nexit 3\n")


async def test_a_mistake_is_answered_and_the_messages_are_listed(open_page, site):
    page = await open_page(site, "/docs", expected="404")
    run = part(page, "/v1/run")
    await run.get_by_label("Body").fill('{"language": "pyton", "code": ""}')
    await run.get_by_role("button", name="Send").click()
    await expect(run.locator(".status")).to_have_text("404 Not Found")
    await expect(run.locator("pre").last).to_contain_text("did you mean 'python'")
    await expect(page.locator("#PostedRun")).to_contain_text("list of File")


async def test_it_asks_with_the_token_that_is_filled_in(start_server, open_page):
    page = await open_page(start_server(token="let-me-in"), "/docs", expected="401")
    languages = part(page, "/v1/languages")
    await languages.get_by_role("button", name="Send").click()
    await expect(languages.locator(".status")).to_have_text("401 Unauthorized")
    await page.get_by_label("Access token").fill("let-me-in")
    await languages.get_by_role("button", name="Send").click()
    await expect(languages.locator("pre").last).to_contain_text('"id":"python"')
