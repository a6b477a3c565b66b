"""Output in the order in which it was written, and what shows before a line has ended."""

import re

import pytest
from playwright.async_api import expect

from tests.browser.playground import Playground, opened

# One event loop for all, as they share one browser.
pytestmark = pytest.mark.asyncio(loop_scope="session")

TURNS = """import sys
for n in range(200):
    print("out", n)
    print("err", n, file=sys.stderr)
print("main.py:1 is where it began")
"""
IN_TURN = "".join(f"out {n}\nerr {n}\n" for n in range(200))


async def in_order(play):
    await play.page.get_by_role("radio", name="In order").check()
    await expect(play.page.get_by_role("radio", name="In order")).to_be_checked()


async def test_errors_stand_exactly_where_they_were_written(open_page, site, bundle):
    play = await opened(open_page, site)
    await in_order(play)
    await play.run(TURNS)
    await play.ended("exit code 0")
    assert IN_TURN in await play.log.evaluate("(log) => log.textContent")
    await expect(play.page.locator("#log .stderr")).to_have_count(0)
    # What names a line of a program that did not fail is a link, but no mark.
    await expect(play.log.get_by_role("link", name="main.py:1")).to_be_visible()
    await expect(play.page.locator(".cm-lint-marker")).to_have_count(0)


async def test_errors_in_order_are_links_and_marks_too(open_page, site, bundle):
    play = await opened(open_page, site)
    await in_order(play)
    await play.run('print("Error: not this one")\n\nx = 0\nprint(1 / x)\n')
    await play.ended("exit code 1")
    marks = play.page.locator(".cm-lint-marker-error")
    await expect(marks).to_have_count(1)
    await marks.hover()
    await expect(play.page.locator(".cm-tooltip")).to_contain_text("ZeroDivisionError")
    await play.log.get_by_role("link", name='main.py", line 4').click()
    await expect(play.page.locator(".cm-lineNumbers .cm-activeLineGutter")).to_have_text("4")


async def test_a_warning_of_a_compiler_in_order_is_a_mark_though_all_went_well(
    open_page, site, need, bundle
):
    need("c")
    play = await opened(open_page, site)
    await play.choose("C")
    await play.page.keyboard.press("Escape")
    await in_order(play)
    await play.run('#include <stdio.h>\nint main(void) {\n  return printf("%d", 1L) - 1;\n}\n')
    await play.ended("exit code 0")
    await expect(play.page.locator(".cm-lint-marker-warning")).to_have_count(1)


async def test_the_order_is_kept_with_the_program_and_travels_in_a_link(open_page, site):
    play = await opened(open_page, site)
    await play.write("print(1)\n")
    await in_order(play)
    await play.page.reload()
    await play.ready()
    await expect(play.page.get_by_role("radio", name="In order")).to_be_checked()
    await play.page.get_by_role("button", name="Share", exact=True).click()
    await play.page.wait_for_url("**/#code=*")
    other = await Playground(await open_page(None, play.page.url)).ready()
    await expect(other.page.get_by_role("radio", name="In order")).to_be_checked()
    await other.page.get_by_role("button", name="Back to my code").click()
    await expect(other.page.get_by_role("radio", name="In red")).to_be_checked()


async def test_a_terminal_has_one_stream_and_no_choice(open_page, site, bundle):
    play = await opened(open_page, site)
    await in_order(play)
    await play.page.get_by_role("radio", name="Terminal").check()
    await expect(play.page.get_by_role("group", name="Errors")).to_be_hidden()
    await play.run("import sys\nprint(sys.stdout.isatty())\n")
    await expect(play.page.locator(".xterm-rows")).to_contain_text("True")
    await play.ended("exit code 0")


async def test_where_a_prompt_shows_late_the_page_says_so(open_page, site):
    play = await opened(open_page, site)
    note = play.page.locator("#live-note")
    await expect(note).to_be_hidden()
    # Whether its image is there or not, the server's catalogue knows it.
    await play.choose("Rust")
    await expect(note).to_have_text(re.compile("In Rust, a prompt shows once its line has ended"))
    await play.page.get_by_role("radio", name="Text").check()
    await expect(note).to_be_hidden()
    await play.page.get_by_role("radio", name="Type it").check()
    await expect(note).to_be_visible()
    await play.choose("Ruby")
    await expect(note).to_be_hidden()
