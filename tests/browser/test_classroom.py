"""The example of a page of one's own: a classroom, with two people in it."""

import pytest
from playwright.async_api import expect

from tests.browser.conftest import EXAMPLES

# One event loop for all, as they share one browser.
pytestmark = pytest.mark.asyncio(loop_scope="session")

LINES_MAX = 60


async def test_a_lecturer_and_a_student_share_text_run_and_input(open_page, site, foreign_site):
    there = f"http://127.0.0.1:{foreign_site.server_port}/classroom.html"
    ada = await open_page(site, f"{there}?name=Ada")
    link = ada.get_by_role("link")
    await expect(link).to_contain_text("#")
    bob = await open_page(site, (await link.get_attribute("href")).replace("Ada", "Bob"))
    await expect(ada.locator("#people")).to_contain_text("Ada: own")
    await expect(ada.locator("#people")).to_contain_text("Bob: watch")
    await ada.get_by_label("Program").fill("print('Hello,', input('Who? '))")
    code = bob.get_by_label("Program")
    await expect(code).to_have_value("print('Hello,', input('Who? '))")
    await expect(code).to_be_disabled()
    await ada.get_by_role("button", name="Run").click()
    for page in (ada, bob):
        await expect(page.locator("#output")).to_have_text("Who? ")
    await bob.get_by_role("button", name="Raise hand").click()
    await ada.get_by_role("button", name="Bob: watch, hand up").click()
    await bob.get_by_label("Input").fill("Bob")
    await bob.get_by_label("Input").press("Enter")
    for page in (ada, bob):
        await expect(page.locator("#output")).to_contain_text("Hello, Bob")
    await code.fill("print(6 * 7)")
    await expect(ada.get_by_label("Program")).to_have_value("print(6 * 7)")
    await bob.get_by_role("button", name="Run").click()
    for page in (ada, bob):
        await expect(page.locator("#output")).to_have_text("42\n")


async def test_it_is_a_page_of_sixty_lines():
    text = (EXAMPLES / "classroom.html").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LINES_MAX
