"""What the output looks like: colours, clearing, binary, and a bar that keeps its height."""

import pytest
from playwright.async_api import expect

from tests.browser.playground import opened

# One event loop for all, as they share one browser.
pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_red_ground_is_red_in_both_themes_without_stripes(open_page, site, scheme):
    play = await opened(open_page, site, color_scheme=scheme)
    await play.run('for n in range(2): print("\\033[41m" + " " * 20 + "\\033[0m")\n')
    await play.ended("exit code 0")
    rows = play.page.locator("#log .a-colour")
    await expect(rows).to_have_count(2)
    first, second = [await rows.nth(n).bounding_box() for n in range(2)]
    assert first["y"] + first["height"] >= second["y"]
    colour = await rows.first.evaluate("(e) => getComputedStyle(e).backgroundColor")
    assert colour == "rgb(196, 53, 43)"


async def test_clearing_the_screen_clears(open_page, site):
    play = await opened(open_page, site)
    await play.run('print("before")\nprint("\\033[2J\\033[Hafter")\n')
    await play.ended("exit code 0")
    await expect(play.log).to_have_text("after\n")


async def test_binary_output_is_told_as_such(open_page, site):
    play = await opened(open_page, site)
    await play.run("import os\nos.write(1, bytes(range(256)) * 40)\n")
    await play.says("10 KB of binary output")
    await play.ended("exit code 0")


@pytest.mark.parametrize("width", [390, 820, 1280])
async def test_the_bar_below_the_output_keeps_its_height(open_page, site, width):
    play = await opened(open_page, site, viewport={"width": width, "height": 844})
    await play.run("input('? ')\n")
    await play.says("?")
    asking = await play.page.locator("#foot").bounding_box()
    assert asking["y"] + asking["height"] <= 844
    await play.page.keyboard.press("Enter")
    await play.ended("exit code 0")
    assert await play.page.locator("#foot").bounding_box() == asking


async def test_a_phone_shows_one_pane_and_goes_back_to_the_code(open_page, site):
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    play = await opened(open_page, site, **phone)
    await play.run_button.tap()
    await play.ended("exit code 0")
    await expect(play.code).to_be_hidden()
    await play.page.get_by_role("button", name="Code", exact=True).tap()
    await expect(play.code).to_be_visible()
    await expect(play.log).to_be_hidden()
