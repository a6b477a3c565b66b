"""Where the focus is: every key reaches what the person means it for."""

import pytest
from playwright.async_api import expect

from tests.browser.playground import opened

# One event loop for all, as they share one browser.
pytestmark = pytest.mark.asyncio(loop_scope="session")

ECHO = "while True: print('<' + input() + '>')\n"


def field_of(play):
    return play.page.get_by_label("Input for the program")


async def test_after_a_click_on_run_the_answer_reaches_the_program(open_page, site):
    play = await opened(open_page, site)
    await play.run('name = input("Who? ")\nprint("Hello,", name)\ninput()\n')
    await play.says("Who?")
    # Not into any field: to where the focus is.
    await play.page.keyboard.type("Ada\n")
    await play.says("Hello, Ada")
    await expect(play.run_button).to_have_text("Stop")
    await play.page.keyboard.press("Enter")
    await play.ended("exit code 0")


async def test_after_ctrl_enter_the_answer_stays_out_of_the_source(open_page, site, bundle):
    play = await opened(open_page, site)
    await play.write('print("Hello,", input("Who? "))\n')
    await play.page.keyboard.press("Control+Enter")
    await play.says("Who?")
    await play.page.keyboard.type("Ada\n")
    await play.says("Hello, Ada")
    await play.ended("exit code 0")
    # One Enter too many is for nobody.
    await play.page.keyboard.press("Enter")
    await expect(play.run_button).to_have_text("Run")
    editor = play.page.get_by_role("textbox", name="Code")
    assert (await editor.inner_text()).strip() == 'print("Hello,", input("Who? "))'


async def test_a_program_that_asked_nothing_gives_the_focus_back_to_the_editor(
    open_page, site, bundle
):
    play = await opened(open_page, site)
    await play.write("print(1)\n")
    await play.page.keyboard.press("Control+Enter")
    await play.ended("exit code 0")
    await expect(play.page.get_by_role("textbox", name="Code")).to_be_focused()


async def test_what_is_typed_before_the_program_starts_waits_for_it(open_page, one_slot):
    first = await opened(open_page, one_slot)
    second = await opened(open_page, one_slot)
    await first.run(ECHO)
    await expect(first.page.locator("#state")).to_contain_text("Running")
    await second.run(ECHO)
    await expect(second.page.locator("#queue")).to_be_visible()
    await second.page.keyboard.type("early\n")
    await first.run_button.click()
    await second.says("<early>")
    await second.run_button.click()
    await second.ended("Stopped by you")


async def test_lines_from_before_come_back_with_the_arrow_keys(open_page, site):
    play = await opened(open_page, site)
    await play.run(ECHO)
    field = field_of(play)
    await expect(field).to_be_focused()
    for line in ("one", "two"):
        await play.page.keyboard.type(f"{line}\n")
        await play.says(f"<{line}>")
    await play.page.keyboard.type("half")
    for key, shown in (("Up", "two"), ("Up", "one"), ("Up", "one"), ("Down", "two")):
        await play.page.keyboard.press(f"Arrow{key}")
        await expect(field).to_have_value(shown)
    await play.page.keyboard.press("ArrowDown")
    await expect(field).to_have_value("half")
    await play.run_button.click()
    await play.ended("Stopped by you")


async def test_the_terminal_has_every_key_and_can_be_left(open_page, site, need, bundle):
    need("bash")
    play = await opened(open_page, site)
    await play.choose("Bash")
    await play.page.get_by_role("radio", name="Terminal").check()
    await play.run("echo on\nread -r x\necho got\nread -r x\n")
    terminal = play.page.locator("#terminal textarea")
    rows = play.page.locator(".xterm-rows")
    await expect(rows).to_contain_text("on")
    await expect(terminal).to_be_focused()
    # An Enter to the program, not Stop.
    await play.page.keyboard.press("Control+Enter")
    await expect(rows).to_contain_text("got")
    await expect(play.run_button).to_have_text("Stop")
    await play.page.keyboard.press("Shift+Tab")
    await expect(terminal).not_to_be_focused()
    await play.page.keyboard.press("Control+Enter")
    await play.ended("Stopped by you")


async def test_a_new_file_is_written_into_at_once(open_page, site, bundle):
    play = await opened(open_page, site)
    await play.page.get_by_label("Add a file").click()
    await play.page.get_by_label("Name, folders with /").fill("words.txt")
    await play.page.keyboard.press("Enter")
    await expect(play.page.get_by_role("tab", name="words.txt")).to_be_visible()
    await expect(play.page.get_by_role("textbox", name="Code")).to_be_focused()
    await play.page.keyboard.type("typed")
    await expect(play.page.get_by_role("textbox", name="Code")).to_have_text("typed")


async def test_on_a_phone_only_a_prompt_brings_the_keyboard(open_page, site):
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    play = await opened(open_page, site, **phone)
    await play.page.click("#examples")
    await play.page.get_by_role("option", name="Ask and answer").click()
    await play.run_button.tap()
    await play.says("What is your name?")
    await expect(field_of(play)).to_be_focused()
    await play.page.keyboard.type("Ada\n")
    await play.says("Ada, guess")
    await play.run_button.tap()
    await play.ended("Stopped by you")
