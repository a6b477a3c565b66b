"""Runs of the playground that outlive its page, and those that a link leads to."""

import re

import pytest
import pytest_asyncio
from playwright.async_api import expect

from tests.browser.playground import Playground, opened
from tests.talk import open_talk

# One event loop for all, as they share one browser.
pytestmark = pytest.mark.asyncio(loop_scope="session")

ASKS = 'print("first")\nname = input("Name? ")\nprint(f"<{name}>")\ninput()\n'


@pytest_asyncio.fixture(loop_scope="session")
async def driver(site):
    """A socket of somebody else."""
    async with open_talk(f"ws://{site.address}") as talk:
        yield talk


async def begun(driver, code, **fields):
    """Begin a kept run; return what it was accepted with."""
    await driver.say("run", id="r", language="python", code=code, keep_s=60, **fields)
    accepted = await driver.hear_kind("accepted", "r")
    await driver.hear_kind("stdout", "r")
    return accepted


def live(accepted, role):
    return f"/#live={accepted['run']}.{accepted[role]}"


async def test_a_link_to_drive_shows_all_output_and_takes_input_and_stop(open_page, site, driver):
    accepted = await begun(driver, ASKS)
    asked = []
    page = await open_page(site, "/favicon.ico", expected="404|Failed to load")
    page.on("request", lambda request: asked.append(request.url))
    await page.goto(f"http://{site.address}{live(accepted, 'drive')}")
    play = await Playground(page).ready()
    await play.says("first\nName? ")
    await expect(play.code).to_contain_text("import time")
    field = page.get_by_label("Input for the program")
    await field.fill("Ada")
    await field.press("Enter")
    await play.says("<Ada>")
    await play.run_button.click()
    await play.ended("Stopped by you")
    assert (await driver.hear_kind("exit", "r"))["reason"] == "cancelled"
    assert not [url for url in asked if accepted["drive"] in url.partition("#")[0]]


async def test_the_input_field_shows_that_the_program_waits_for_input(open_page, site):
    page = await open_page(site)
    play = await Playground(page).ready()
    field = page.locator("#input")
    await play.run("import time\nprint(input('a? '))\ntime.sleep(1)\nprint(input('b? '))")
    for letter in "ab":
        await play.says(f"{letter}? ")
        await expect(field).to_have_class(re.compile("asked"))
        await page.keyboard.type("x")
        await page.keyboard.press("Enter")
        await expect(field).not_to_have_class(re.compile("asked"))
    await expect(play.outcome).to_contain_text("0")


async def test_a_link_to_watch_takes_no_input_and_leaving_ends_nothing(open_page, site, driver):
    accepted = await begun(driver, ASKS)
    play = await Playground(await open_page(site, live(accepted, "view"))).ready()
    await play.says("first\nName? ")
    await expect(play.page.locator("#foot-words")).to_contain_text("Watching")
    await expect(play.page.get_by_label("Input for the program")).to_be_hidden()
    await play.run_button.click()
    await play.ended("You have left this run")
    await driver.say("stdin", id="r", data="Ada\n\n")
    assert (await driver.hear_kind("exit", "r"))["code"] == 0
    await play.page.reload()
    await play.says("<Ada>")
    await play.ended("exit code 0")


async def test_a_link_to_a_terminal_drives_it(open_page, site, driver, bundle):
    # Its question to the terminal was for those who were there then.
    code = 'print("\\x1b[6ntell", flush=True)\nprint(repr(input()))\n'
    accepted = await begun(driver, code, tty={"columns": 80, "rows": 24})
    play = await Playground(await open_page(site, live(accepted, "drive"))).ready()
    rows = play.page.locator(".xterm-rows")
    await expect(rows).to_contain_text("tell")
    await play.page.keyboard.type("Ada\n")
    await expect(rows).to_contain_text("'Ada'")
    await play.ended("exit code 0")


async def test_a_link_to_no_run_is_told_and_the_page_is_as_ever(open_page, site):
    play = await Playground(await open_page(site, "/#live=ce9f4363140dd92c.nokey")).ready()
    await play.ended("The server has no such run")
    await play.run('print("mine")')
    await play.says("mine")
    await play.ended("exit code 0")
    # From now on the page is about the own run.
    assert await play.page.evaluate("location.hash") == ""


async def test_output_that_is_not_kept_any_more_is_told(start_server, open_page):
    serving = start_server(journal_kb=1)
    async with open_talk(f"ws://{serving.address}") as driver:
        accepted = await begun(driver, 'print("x" * 9000)\nprint("end")\ninput()\n')
        await driver.hear_output("end", "r")
        play = await Playground(await open_page(serving, live(accepted, "view"))).ready()
        await play.says("of the output is not kept any more")


async def test_a_reload_goes_on_with_the_run_and_its_input(open_page, site):
    play = await opened(open_page, site)
    await play.run(ASKS)
    await play.says("Name? ")
    await play.page.reload()
    await play.says("Name? ")
    field = play.page.get_by_label("Input for the program")
    await expect(field).to_be_focused()
    await play.page.keyboard.type("Ada\n")
    await play.says("<Ada>")
    await play.page.reload()
    await play.says("<Ada>")
    # Each thing once, and what was typed where it was typed.
    assert await play.log.inner_text() == "first\nName? Ada\n<Ada>\n"
    await expect(play.run_button).to_have_text("Stop")
    await play.run_button.click()
    await play.ended("Stopped by you")
    await play.page.reload()
    await play.ready()
    await expect(play.page.get_by_text("Nothing has run yet")).to_be_visible()


async def test_a_lost_connection_ends_no_run(open_page, site):
    page = await open_page(site, "/favicon.ico", expected="404|Failed to load")
    await page.add_init_script(
        """window.WebSocket = class extends WebSocket {
          constructor(...args) { super(...args); window.lastSocket = this; }
        };"""
    )
    await page.goto(f"http://{site.address}/")
    play = await Playground(page).ready()
    await play.run(ASKS)
    await play.says("Name? ")
    await page.evaluate("window.lastSocket.close()")
    await page.keyboard.type("Ada\n")
    await play.says("<Ada>")
    assert await play.log.inner_text() == "first\nName? Ada\n<Ada>\n"


async def test_a_reload_goes_on_with_the_terminal(open_page, site, bundle):
    play = await opened(open_page, site)
    await play.page.get_by_role("radio", name="Terminal").check()
    # It asks the terminal where its cursor is: answered again, this would be the second line.
    await play.run(
        'import sys, tty\ntty.setcbreak(0)\nprint("\\x1b[6n", end="", flush=True)\n'
        'while sys.stdin.read(1) != "R": pass\nprint("asked", flush=True)\n'
        "print(repr(sys.stdin.read(3)))\n"
    )
    rows = play.page.locator(".xterm-rows")
    await expect(rows).to_contain_text("asked")
    await play.page.reload()
    await expect(rows).to_contain_text("asked")
    await expect(play.page.locator(".xterm-helper-textarea")).to_be_focused()
    await play.page.keyboard.type("Ada")
    await expect(rows).to_contain_text("'Ada'")
    await play.ended("exit code 0")


async def test_a_reload_in_the_queue_keeps_the_place(start_server, open_page):
    serving = start_server(slots=1)
    async with open_talk(f"ws://{serving.address}") as driver:
        await driver.say("run", id="r", language="python", code="print(1)\ninput()")
        await driver.hear_kind("stdout", "r")
        play = await opened(open_page, serving)
        await play.run('print("mine")')
        await expect(play.page.locator("#queue")).to_contain_text("You are next")
        await play.page.reload()
        await expect(play.page.locator("#queue")).to_contain_text("You are next")
        await driver.say("stdin", id="r", data="\n")
        await play.says("mine")
        await play.ended("exit code 0")
