"""The playground, used as a person uses it."""

import re

import pytest
from playwright.async_api import expect

from tests.browser.conftest import shoot
from tests.browser.playground import Playground, axe_source, opened, violations

# One event loop for all, as they share one browser.
pytestmark = pytest.mark.asyncio(loop_scope="session")

# Prints, then waits for a line: what is seen before it is sent was seen before the end.
FIRST_LINE = 'print("first")\ninput()\nprint("last")\n'
ENDLESS = "while True:\n    pass\n"


@pytest.fixture(scope="session")
def axe():
    return axe_source()


async def test_a_typed_program_shows_its_first_line_before_it_ends(open_page, site, bundle):
    play = await opened(open_page, site)
    await play.write("")
    await play.page.keyboard.type('print("first")\ninput()\nprint("last")')
    await play.page.keyboard.press("Control+Enter")
    await play.says("first")
    await expect(play.run_button).to_have_text("Stop")
    assert "last" not in await play.log.inner_text()
    await play.page.get_by_label("Input for the program").press("Enter")
    await play.says("last")
    await play.ended("Finished with exit code 0")
    await expect(play.outcome).to_contain_text("Program's peak memory")
    await expect(play.page.locator("#announce")).to_contain_text("Finished with exit code 0")


async def test_a_prompt_is_answered(open_page, site):
    play = await opened(open_page, site)
    await play.run('name = input("Your name? ")\nprint("Hello,", name)\n')
    await play.says("Your name?")
    await play.page.get_by_label("Input for the program").fill("Ada")
    await play.page.keyboard.press("Enter")
    await play.says("Hello, Ada")
    await play.ended("exit code 0")


async def test_input_ends_and_interrupts_from_the_keyboard(open_page, site):
    play = await opened(open_page, site)
    await play.run("import sys\nprint(len(sys.stdin.read()))\n")
    line = play.page.get_by_label("Input for the program")
    await line.fill("abc")
    await line.press("Enter")
    await line.press("Control+d")
    await play.says("4")
    await play.ended("exit code 0")
    await play.run('print("on")\nimport time\nwhile True: time.sleep(0.05)\n')
    await play.says("on")
    await line.press("Control+c")
    await play.says("KeyboardInterrupt")
    await play.ended("SIGINT")


async def test_an_endless_loop_is_stopped(open_page, site):
    play = await opened(open_page, site)
    await play.run(ENDLESS)
    await expect(play.page.locator("#state")).to_contain_text("Running")
    await play.run_button.click()
    await play.ended("Stopped by you")


async def test_the_second_tab_waits_as_position_1_and_then_runs(open_page, one_slot):
    first = await opened(open_page, one_slot)
    second = await opened(open_page, one_slot)
    await first.run(FIRST_LINE)
    await first.says("first")
    await second.run('print("mine")\n')
    await expect(second.page.locator("#queue-words")).to_have_text("You are next")
    await expect(second.page.get_by_role("progressbar")).to_be_visible()
    await shoot(second.page, "queue")
    await first.page.get_by_label("Input for the program").press("Enter")
    await first.ended("exit code 0")
    await second.says("mine")
    await second.ended("exit code 0")


async def test_a_full_server_is_said_in_words(open_page, one_slot):
    pages = [await opened(open_page, one_slot) for _ in range(2)]
    await pages[0].run(FIRST_LINE)
    await pages[0].says("first")
    async with one_slot.talk() as one, one_slot.talk() as two:
        for talk in (one, two):
            await talk.say("run", language="python", code="")
            await talk.hear_kind("queued")
        await pages[1].run("print()")
        await expect(pages[1].outcome).to_contain_text("The server is full")
    await pages[0].run_button.click()
    await pages[0].ended("Stopped by you")


async def test_a_flood_of_200000_lines_leaves_the_page_responsive(open_page, site):
    play = await opened(open_page, site)
    await play.write(
        'for n in range(100_000):\n    print(n, "bottles of beer")\ninput()\n'
        'for n in range(100_000, 200_000):\n    print(n, "bottles of beer")\n'
    )
    # Frames are drawn while lines arrive: many, if none takes long.
    await play.page.evaluate(
        """() => {
          window.frames_drawn = 0;
          const tick = () => {
            window.frames_drawn++;
            requestAnimationFrame(tick);
          };
          requestAnimationFrame(tick);
        }"""
    )
    await play.run()
    # Typing and clicking work in the middle of it.
    await play.page.get_by_label("Input for the program").press("Enter")
    await play.page.click("#theme")
    await expect(play.page.locator("#theme-name")).to_have_text("Light")
    await play.ended("exit code 0")
    await expect(play.page.locator("#log .block").last).to_contain_text("199999 bottles")
    assert await play.page.evaluate("window.frames_drawn") > 20
    nodes = await play.page.evaluate("document.querySelectorAll('#log *').length")
    assert nodes < 5000, f"{nodes} elements for 200,000 lines"
    lines = await play.page.evaluate(
        "document.querySelector('#log').textContent.split('\\n').length"
    )
    assert lines > 200_000
    await play.page.click("#clear")
    await expect(play.page.get_by_text("Nothing has run yet")).to_be_visible()


async def test_a_terminal_program_has_a_terminal(open_page, site, need, bundle):
    need("bash")
    play = await opened(open_page, site)
    await play.choose("Bash")
    await play.page.get_by_role("radio", name="Terminal").check()
    await play.run(
        'stty size\nread -r -p "say> " words\necho "you said $words"\n'
        "trap 'echo caught; exit 3' INT\necho waiting\nwhile :; do read -r x; done\n"
    )
    rows = play.page.locator(".xterm-rows")
    await expect(rows).to_contain_text("say>")
    shown = re.search(r"(\d+) (\d+)", await rows.inner_text())
    assert int(shown[1]) > 10
    assert int(shown[2]) > 40
    await play.page.keyboard.type("hi there\n")
    await expect(rows).to_contain_text("you said hi there")
    await expect(rows).to_contain_text("waiting")
    await shoot(play.page, "terminal")
    await play.page.keyboard.press("Control+c")
    await expect(rows).to_contain_text("caught")
    await play.ended("exit code 3")


async def test_a_terminal_follows_the_size_of_the_window(open_page, site, need, bundle):
    need("bash")
    play = await opened(open_page, site)
    await play.choose("Bash")
    await play.page.get_by_role("radio", name="Terminal").check()
    await play.run("trap 'stty size' WINCH\necho on\nwhile :; do read -r -t 0.1 x; done\n")
    rows = play.page.locator(".xterm-rows")
    await expect(rows).to_contain_text("on")
    await play.page.set_viewport_size({"width": 1000, "height": 600})
    await expect(rows).to_contain_text(re.compile(r"\d+ \d+"))
    await play.run_button.click()
    await play.ended("Stopped by you")


async def test_colours_overwritten_lines_and_streams_are_told_apart(open_page, site):
    play = await opened(open_page, site)
    await play.run(
        'import sys\nprint("\\033[31mred\\033[0m plain")\n'
        'print("10%", end="\\r", flush=True)\nprint("done")\n'
        'print("wrong", file=sys.stderr)\n'
    )
    await play.ended("exit code 0")
    await expect(play.page.locator("#log .a-c1")).to_have_text("red")
    await expect(play.page.locator("#log .stderr")).to_contain_text("wrong")
    assert "10%" not in await play.log.inner_text()


async def test_files_arguments_and_text_input_reach_the_program(open_page, site):
    play = await opened(open_page, site)
    await play.page.get_by_label("Add a file").click()
    await play.page.get_by_label("Name, folders with /").fill("data/words.txt")
    await play.page.get_by_role("button", name="Save").click()
    await play.write("from a file")
    await play.page.get_by_role("tab", name="main.py").click()
    await play.page.get_by_label("Arguments").fill("one 'two three'")
    await play.page.get_by_role("radio", name="Text").check()
    await play.page.get_by_label("Text for standard input").fill("from stdin")
    await play.run("import sys\nprint(open('data/words.txt').read(), sys.argv[1:], input())\n")
    await play.says("from a file ['one', 'two three'] from stdin")
    await play.ended("exit code 0")


async def test_a_language_whose_colours_can_t_be_had_can_be_edited(open_page, site, bundle):
    play = await opened(open_page, site, expected="ERR_FAILED")
    asked = []

    async def refuse(route):
        asked.append(route.request.url)
        await route.abort()

    await play.page.route("**/dist/chunks/**", refuse)
    async with play.page.expect_event("requestfailed"):
        await play.choose("javascript")
    await play.run('console.log("plain")')
    await play.says("plain")
    assert asked


async def test_code_outlives_a_reload_and_travels_in_a_link(open_page, site):
    play = await opened(open_page, site)
    await play.write('print("kept")\n')
    await play.page.reload()
    await play.ready()
    code = play.page.get_by_role("textbox", name="Code")
    await expect(code).to_contain_text('print("kept")')
    await play.page.get_by_role("button", name="Share", exact=True).click()
    await play.page.wait_for_url("**/#code=*")
    other = Playground(await open_page(None, play.page.url))
    await other.ready()
    await expect(other.page.get_by_role("textbox", name="Code")).to_contain_text('print("kept")')
    await other.page.get_by_role("button", name="Back to my code").click()
    await expect(other.page.get_by_role("textbox", name="Code")).to_contain_text("import time")


async def test_all_is_reachable_from_the_keyboard(open_page, site, need):
    need("bash")
    play = await opened(open_page, site)
    await play.page.locator("#language").focus()
    await play.page.keyboard.press("Enter")
    await play.page.keyboard.type("bash")
    await play.page.keyboard.press("Enter")
    await expect(play.page.get_by_role("tab", name="main.sh")).to_be_visible()
    await expect(play.page.get_by_role("textbox", name="Code")).to_be_focused()
    await play.page.keyboard.press("Escape")
    await play.page.keyboard.press("Tab")
    await expect(play.page.get_by_label("Arguments")).to_be_focused()


async def test_the_languages_that_are_not_there_are_marked(open_page, site):
    play = await opened(open_page, site)
    await play.page.click("#language")
    group = play.page.get_by_role("group", name="Not installed on this server")
    await expect(group.get_by_role("option", name="Idris")).to_be_visible()
    await play.page.keyboard.press("Escape")
    await expect(play.page.locator("#language")).to_be_focused()


async def test_a_token_is_asked_for_and_kept(start_server, open_page):
    serving = start_server(token="let-me-in")
    page = await open_page(serving, expected="401")
    await page.get_by_label("Access token", exact=True).fill("wrong")
    await page.get_by_role("button", name="Connect").click()
    await expect(page.locator("#token-words")).to_contain_text("not it")
    await page.get_by_label("Access token", exact=True).fill("let-me-in")
    await page.get_by_role("button", name="Connect").click()
    play = await Playground(page).ready()
    await play.run('print("in")')
    await play.says("in")
    await play.ended("exit code 0")


async def test_a_server_that_goes_away_is_said_and_comes_back(start_server, open_page):
    serving = start_server(drain_s=0)
    play = await opened(open_page, serving, expected="WebSocket|ERR_CONNECTION")
    await play.run(FIRST_LINE)
    await play.says("first")
    serving.stop()
    await expect(play.page.locator("#banner")).to_contain_text("Trying again in")
    await expect(play.outcome).to_contain_text(re.compile("shutting down|going away|lost"))
    await shoot(play.page, "away")
    serving.options["port"] = serving.address.rpartition(":")[2]
    serving.start()
    await expect(play.page.locator("#banner")).to_be_hidden()
    await play.run('print("again")')
    await play.says("again")
    await play.ended("exit code 0")


async def test_without_the_bundle_there_is_a_plain_text_area(open_page, site, chromium):
    page = await open_page(site, "/favicon.ico", expected="404|Failed to load|dist/")
    await page.route("**/static/dist/**", lambda route: route.fulfill(status=404))
    await page.goto(f"http://{site.address}/")
    play = await Playground(page).ready()
    await expect(page.get_by_text("This is a plain text area")).to_be_visible()
    await page.locator(".plain-editor").fill('print("plain")')
    await page.keyboard.press("Control+Enter")
    await play.says("plain")
    await play.ended("exit code 0")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_serious(open_page, site, axe, scheme, bundle):
    play = await opened(open_page, site, color_scheme=scheme)
    await shoot(play.page, f"first-{scheme}")
    assert await violations(play.page, axe) == []
    await play.page.click("#examples")
    await play.page.get_by_role("option", name="Colours and errors").click()
    await play.run()
    await play.ended("exit code 1")
    await play.page.get_by_label("Add a file").click()
    await play.page.get_by_label("Name, folders with /").fill("words.txt")
    await play.page.get_by_role("button", name="Save").click()
    await play.page.get_by_role("tab", name="main.py").click()
    await shoot(play.page, f"ended-{scheme}")
    assert await violations(play.page, axe) == []
    await play.page.click("#language")
    await shoot(play.page, f"languages-{scheme}")
    assert await violations(play.page, axe) == []


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_serious_in_search_and_programs(
    open_page, site, scheme, width, bundle
):
    viewport = {"width": width, "height": 740}
    play = await opened(open_page, site, color_scheme=scheme, viewport=viewport)
    await play.code.click()
    await play.page.keyboard.press("Control+f")
    await play.page.keyboard.type("step")
    await expect(play.page.locator(".cm-searchMatch").first).to_be_visible()
    await shoot(play.page, f"search-{scheme}-{width}")
    assert await violations(play.page, axe_source()) == []
    await play.page.keyboard.press("Escape")
    await play.save_as("Bread")
    await play.page.click("#programs")
    await expect(play.page.get_by_role("dialog", name="Programs")).to_be_visible()
    await shoot(play.page, f"programs-{scheme}-{width}")
    assert await violations(play.page, axe_source()) == []


async def test_it_fits_a_phone(open_page, site, axe):
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    play = await opened(open_page, site, **phone)
    await shoot(play.page, "phone-first")
    await play.run()
    await play.ended("exit code 0")
    await expect(play.outcome).to_be_in_viewport()
    await shoot(play.page, "phone-ended")
    width = await play.page.evaluate("document.documentElement.scrollWidth")
    assert width == 390
    assert await violations(play.page, axe) == []
