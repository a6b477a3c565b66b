"""What the playground keeps safe: code, and a run while its server and its page change."""

import base64
import json
import re
import zlib

import pytest
from playwright.async_api import expect

from tests.browser.conftest import held_back, shoot
from tests.browser.playground import Playground, opened

# One event loop for all, as they share one browser.
pytestmark = pytest.mark.asyncio(loop_scope="session")

FIRST_LINE = 'print("first")\ninput()\nprint("last")\n'
LOST_CONNECTION = "WebSocket|ERR_CONNECTION|Failed to load"
BLOCKED_STORAGE = """for (const name of ["localStorage", "sessionStorage"]) {
  Object.defineProperty(window, name, { get() { throw new DOMException("no", "SecurityError"); } });
}"""


def link(program):
    """Return the fragment that holds a program."""
    packer = zlib.compressobj(wbits=-15)
    packed = packer.compress(json.dumps(program).encode()) + packer.flush()
    return "#code=" + base64.urlsafe_b64encode(packed).decode().rstrip("=")


def code_of(play):
    return play.page.get_by_role("textbox", name="Code")


async def example(play, name):
    await play.page.click("#examples")
    await play.page.get_by_role("option", name=name).first.click()


async def undo(play):
    await play.page.get_by_role("button", name="Undo").click()


async def blank(open_page, serving, **options):
    """Open a page that holds nothing of ours yet, so that it can be prepared."""
    return await open_page(serving, "/favicon.ico", expected="404|Failed to load", **options)


async def count_runs(page):
    """Return a function that tells how many runs the page has asked for since."""
    await page.evaluate(
        """() => {
          const send = WebSocket.prototype.send;
          window.runs_sent = 0;
          WebSocket.prototype.send = function (text) {
            if (JSON.parse(text).type === "run") window.runs_sent++;
            return send.call(this, text);
          };
        }"""
    )
    return lambda: page.evaluate("window.runs_sent")


async def test_an_example_can_be_undone_and_what_was_there_stays_in_the_list(open_page, site):
    play = await opened(open_page, site)
    await play.write('print("mine")\n')
    await example(play, "Ask and answer")
    await expect(code_of(play)).to_contain_text("guess")
    await undo(play)
    await expect(code_of(play)).to_contain_text('print("mine")')
    await example(play, "Ask and answer")
    await expect(code_of(play)).to_contain_text("guess")
    await play.page.reload()
    await play.ready()
    await play.open_program('print("mine")')
    await expect(code_of(play)).to_contain_text('print("mine")')


async def test_a_removed_file_comes_back(open_page, site):
    play = await opened(open_page, site)
    await play.page.get_by_label("Add a file").click()
    await play.page.get_by_label("Name, folders with /").fill("words.txt")
    await play.page.get_by_role("button", name="Save").click()
    await play.write("precious")
    tab = play.page.get_by_role("tab", name="words.txt")
    await tab.focus()
    await play.page.keyboard.press("Delete")
    await expect(tab).to_be_hidden()
    await undo(play)
    await expect(tab).to_have_attribute("aria-selected", "true")
    await expect(code_of(play)).to_contain_text("precious")


async def test_a_changed_link_leaves_the_own_program_alone(open_page, site):
    play = await opened(open_page, site)
    await play.write('print("mine")\n')
    await expect(code_of(play)).to_contain_text("mine")
    program = {"language": "python", "files": [{"name": "main.py", "content": "print('theirs')"}]}
    await play.page.evaluate("(hash) => { location.hash = hash; }", link(program))
    await expect(code_of(play)).to_contain_text("theirs")
    await play.write("print('changed')")
    # Saving drops the link from the address bar.
    await play.page.wait_for_function("() => !location.hash")
    back = play.page.get_by_role("button", name="Back to my code")
    await shoot(play.page, "link")
    await back.click()
    await expect(code_of(play)).to_contain_text('print("mine")')
    await play.page.reload()
    await play.ready()
    await expect(code_of(play)).to_contain_text('print("mine")')
    await play.open_program("print('changed')")
    await expect(code_of(play)).to_contain_text("changed")


async def test_a_link_that_cannot_be_read_is_told(open_page, site):
    bomb = {"language": "python", "files": [{"name": "main.py", "content": "0" * 20_000_000}]}
    for fragment in ("#code=zzz%%", link(bomb)):
        play = await Playground(await open_page(site, f"/{fragment}")).ready()
        await expect(play.page.get_by_text("holds no program that can be read")).to_be_visible()
        await expect(code_of(play)).to_contain_text("import time")


async def test_a_link_with_a_language_that_is_none_is_only_a_refused_run(open_page, site):
    program = {"language": "constructor", "files": [{"name": "a", "content": "1"}]}
    page = await open_page(site, f"/{link(program)}")
    play = Playground(page)
    await expect(code_of(play)).to_contain_text("1")
    await play.run()
    await play.ended("The server does not know this language")
    # Said once: by the outcome.
    await expect(play.log).to_be_hidden()


async def test_a_retry_that_is_no_longer_needed_ends_no_run(open_page, site):
    page = await blank(open_page, site)
    await page.clock.install()
    await page.route("**/v1/languages", lambda route: route.abort())
    await page.goto(f"http://{site.address}/")
    await expect(page.locator("#banner")).to_contain_text("can't be reached")
    await page.unroute("**/v1/languages")
    await page.get_by_role("button", name="Try now").click()
    play = await Playground(page).ready()
    await play.run(FIRST_LINE)
    await play.says("first")
    looks = []
    page.on("request", lambda request: looks.append(request.url))
    await page.clock.run_for(60_000)
    assert not looks
    await page.get_by_label("Input for the program").press("Enter")
    await play.says("last")
    await play.ended("exit code 0")


async def test_a_token_that_a_restarted_server_wants_is_asked_for(start_server, open_page):
    serving = start_server(drain_s=0)
    play = await opened(open_page, serving, expected=LOST_CONNECTION)
    serving.stop()
    await expect(play.page.locator("#banner")).to_contain_text("Trying again")
    serving.options |= {"port": serving.address.rpartition(":")[2], "token": "let-me-in"}
    serving.token = "let-me-in"
    serving.start()
    field = play.page.get_by_label("Access token", exact=True)
    await field.fill("let me in")
    await play.page.get_by_role("button", name="Connect").click()
    await expect(play.page.locator("#token-problem")).to_contain_text("a space is in it")
    await field.fill("let-me-in")
    await play.page.get_by_role("button", name="Connect").click()
    await expect(play.page.locator("#banner")).to_be_hidden()
    await play.run('print("in")')
    await play.says("in")
    await play.ended("exit code 0")


async def test_what_is_installed_is_looked_up_again_after_a_restart(start_server, open_page):
    serving = start_server(drain_s=0)
    play = await opened(open_page, serving, expected=LOST_CONNECTION)
    await expect(play.page.locator("#language .mark")).to_have_class("mark ready")
    serving.stop()
    await expect(play.page.locator("#banner")).to_contain_text("Trying again")
    facts = {"id": "python", "name": "Python", "aliases": [], "file": "main.py", "present": False}
    await play.page.route("**/v1/languages", lambda route: route.fulfill(json=[facts]))
    serving.options["port"] = serving.address.rpartition(":")[2]
    serving.start()
    await expect(play.page.locator("#language .mark")).to_have_class("mark absent")


async def test_the_last_lines_stay_in_sight_when_the_outcome_comes(open_page, site):
    play = await opened(open_page, site)
    await play.page.get_by_role("radio", name="Text").check()
    await play.run("for n in range(300): print(n)")
    await play.ended("exit code 0")
    await play.page.wait_for_function(
        "(log) => log.textContent.includes('299') && "
        "log.scrollHeight - log.scrollTop - log.clientHeight < 2",
        arg=await play.log.element_handle(),
    )


async def test_two_quick_clicks_are_a_start_and_a_stop(open_page, site, need, bundle):
    need("bash")
    play = await opened(open_page, site)
    await play.choose("Bash")
    await play.page.get_by_role("radio", name="Terminal").check()
    await play.write("echo hi")
    sent = await count_runs(play.page)
    await play.run_button.evaluate("(button) => { button.click(); button.click(); }")
    await expect(play.run_button).to_have_text("Run")
    await play.run()
    await play.ended("exit code 0")
    assert await sent() == 1


async def test_a_key_that_is_held_down_starts_once(open_page, site, bundle):
    play = await opened(open_page, site)
    await play.write(FIRST_LINE)
    sent = await count_runs(play.page)
    await play.page.keyboard.down("Control")
    for _ in range(4):
        await play.page.keyboard.down("Enter")
    await play.page.keyboard.up("Enter")
    await play.page.keyboard.up("Control")
    await play.says("first")
    assert await sent() == 1
    await play.page.get_by_label("Input for the program").press("Enter")
    await play.ended("exit code 0")


async def test_a_touch_keyboard_lacks_no_key(open_page, site, need, bundle):
    need("bash")
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    play = await opened(open_page, site, **phone)
    await play.choose("Bash")
    await play.page.get_by_role("radio", name="Terminal").check()
    await play.run(
        "trap 'echo caught; exit 3' INT\nstty -echo\nread -rsn 3 x; echo got ${x@Q}\nread -r x\n"
    )
    rows = play.page.locator(".xterm-rows")
    await play.page.get_by_role("button", name="Up").tap()
    await expect(rows).to_contain_text("got $'\\E[A'")
    await shoot(play.page, "phone-terminal")
    await play.page.get_by_role("button", name="Ctrl-C").last.tap()
    await expect(rows).to_contain_text("caught")
    await play.ended("exit code 3")


async def test_run_works_before_the_editor_has_come(open_page, site, bundle):
    page = await blank(open_page, site)
    come = await held_back(page, "**/dist/bundle.js")
    await page.goto(f"http://{site.address}/")
    play = Playground(page)
    await play.run()
    await play.says("mix the flour")
    await play.ended("exit code 0")
    come.set()
    await expect(page.locator(".cm-content")).to_contain_text("mix the flour")


@pytest.mark.parametrize("path", ["/", "/monitor"])
async def test_a_browser_that_stores_nothing_is_served_too(open_page, site, path):
    page = await blank(open_page, site)
    await page.add_init_script(BLOCKED_STORAGE)
    await page.goto(f"http://{site.address}{path}")
    if path == "/monitor":
        await expect(page.locator("#state")).to_have_text("Live")
        return
    play = await Playground(page).ready()
    await play.run('print("here")')
    await play.says("here")
    await play.ended("exit code 0")


async def test_pasted_lines_are_typed_one_by_one(open_page, site):
    play = await opened(open_page, site)
    await play.run("while True: print('<' + input() + '>')\n")
    field = play.page.get_by_label("Input for the program")
    await field.fill("A")
    await field.evaluate(
        """(field) => {
          const clipboardData = new DataTransfer();
          clipboardData.setData("text/plain", "da\\r\\nBob\\nCy");
          const paste = { clipboardData, bubbles: true, cancelable: true };
          field.dispatchEvent(new ClipboardEvent("paste", paste));
        }"""
    )
    await play.says("<Ada>")
    await play.says("<Bob>")
    await expect(field).to_have_value("Cy")
    await play.run_button.click()
    await play.ended("Stopped by you")
    # What was half typed is not for the next program.
    await play.run(FIRST_LINE)
    await play.says("first")
    await expect(field).to_have_value("")
    await play.run_button.click()
    await play.ended("Stopped by you")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_colours_by_number_can_be_read(open_page, site, scheme):
    play = await opened(open_page, site, color_scheme=scheme)
    await play.run(
        'print("".join(f"\\033[38;5;{n}mtext{n} \\033[0m" for n in (15, 16, 226, 232, 255)))\n'
        'print("\\033[48;5;17mnavy\\033[0m \\033[48;5;226myellow\\033[0m \\033[97mwhite\\033[0m")\n'
        'print("\\033[7;38;5;226minverse\\033[0m \\033[7mplain\\033[0m \\033[4:3mcurly\\033[0m")\n'
    )
    await play.ended("exit code 0")
    await play.says("curly")
    await expect(play.page.locator("#log .a-underline")).to_have_text("curly")
    await expect(play.page.locator("#log .a-italic")).to_have_count(0)
    inverse = play.page.get_by_text("inverse", exact=True)
    assert (
        await inverse.evaluate("(e) => getComputedStyle(e).backgroundColor") == "rgb(255, 255, 0)"
    )
    worst = await play.log.evaluate(
        """(log) => {
          const context = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
          const brightness = (...layers) => {
            for (const layer of layers) {
              context.fillStyle = layer;
              context.fillRect(0, 0, 1, 1);
            }
            const parts = [...context.getImageData(0, 0, 1, 1).data.slice(0, 3)].map((part) => {
              const share = part / 255;
              return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
            });
            return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
          };
          const page = getComputedStyle(log.closest(".pane")).backgroundColor;
          return Math.min(...[...log.querySelectorAll("span")].map((span) => {
            const { color, backgroundColor } = getComputedStyle(span);
            const ground = brightness(page, backgroundColor);
            const text = brightness(page, backgroundColor, color);
            return (Math.max(ground, text) + 0.05) / (Math.min(ground, text) + 0.05);
          }));
        }"""
    )
    # WCAG 2.2, 1.4.3.
    assert worst >= 4.5


async def test_a_run_stopped_in_the_queue_printed_nothing_and_nobody_says_so(open_page, one_slot):
    first = await opened(open_page, one_slot)
    second = await opened(open_page, one_slot)
    await first.run(FIRST_LINE)
    await first.says("first")
    await second.run("print()")
    await expect(second.page.locator("#queue-words")).to_have_text("You are next")
    await second.run_button.click()
    await second.ended("Stopped by you")
    await expect(second.log).not_to_contain_text("printed nothing")
    await expect(second.page.locator("#copy")).to_be_disabled()
    await first.run_button.click()
    await first.ended("Stopped by you")


async def test_who_stopped_a_run_is_told(open_page, site):
    play = await opened(open_page, site)
    await play.run(FIRST_LINE)
    await play.says("first")
    monitor = await open_page(site, "/monitor")
    await monitor.get_by_role("button", name=re.compile("Cancel run")).click()
    await play.ended("Stopped by the server's operator")


async def test_a_tab_that_was_clicked_has_the_focus_and_dialogs_start_nothing(open_page, site):
    play = await opened(open_page, site)
    await play.page.get_by_label("Add a file").click()
    await play.page.get_by_label("Name, folders with /").fill("words.txt")
    await play.page.keyboard.press("Control+Enter")
    await expect(play.run_button).to_have_text("Run")
    if await play.page.locator("#name-dialog").is_visible():
        await play.page.get_by_role("button", name="Save").click()
    main = play.page.get_by_role("tab", name="main.py")
    await main.click()
    await expect(main).to_be_focused()
    await expect(play.outcome).to_be_hidden()


@pytest.mark.parametrize("refusing", [{"keep_s": 0}, {"kept_max": 0}])
async def test_a_reload_that_ends_a_run_says_so_and_shows_its_last_output(
    start_server, open_page, refusing
):
    play = await opened(open_page, start_server(**refusing))
    await play.run("for n in range(20_000): print('line', n)\ninput()\n")
    await play.says("line 19999")
    await play.page.reload()
    await play.ended("The reload ended this run")
    await play.says("line 19999")
    # Said once.
    await play.page.reload()
    await play.ready()
    await expect(play.page.get_by_text("Nothing has run yet")).to_be_visible()


async def test_only_an_answered_run_that_ends_with_the_page_is_asked_about(start_server, open_page):
    play = await opened(open_page, start_server(keep_s=0))
    asked = []

    async def accept(dialog):
        asked.append(dialog.type)
        await dialog.accept()

    play.page.on("dialog", accept)
    await play.run("while True: print('<' + input() + '>')\n")
    await expect(play.page.locator("#state")).to_contain_text("Running")
    await play.page.reload()
    await play.ready()
    assert not asked
    await play.run()
    await expect(play.page.get_by_label("Input for the program")).to_be_focused()
    await play.page.keyboard.type("Ada\n")
    await play.says("<Ada>")
    await play.page.reload()
    await play.says("<Ada>")
    assert asked == ["beforeunload"]
