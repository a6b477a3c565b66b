"""Tenants: the file, its tokens, what each may have, and a file that changes under a server."""

import re
import signal

import pytest
from click.testing import CliRunner
from websockets.exceptions import InvalidStatus

from tests.serving import until
from wsrunner import languages, tenants
from wsrunner.commands.main import main
from wsrunner.errors import SetupError

CATALOGUE = languages.load()
SCHOOL, SHOP, ROOT = (f"wsr_{name}" for name in ("school", "shop", "root"))
PEM = "-----BEGIN PUBLIC KEY-----\\nMCowBQYDK2VwAyEA\\n-----END PUBLIC KEY-----"

FILE = f"""
[[tenant]]
name = "school"
tokens = ["{tenants.hash_of(SCHOOL)}"]
languages = ["python"]
slots = 1
runs_per_minute = 3
sockets = 2
kept_runs = 1
workspaces = 7
rooms = 5
origins = ["https://school.example"]
limits = {{ wall_s = 5, memory_mb = 128 }}

[[tenant]]
name = "shop"
tokens = ["{tenants.hash_of(SHOP)}"]
origins = ["https://shop.example"]

[[tenant]]
name = "root"
tokens = ["{tenants.hash_of(ROOT)}"]
operator = true
"""


@pytest.fixture
def write(tmp_path):
    """A function that writes the file at once, as whole as an editor does."""
    path = tmp_path / "tenants.toml"

    def write(text):
        (tmp_path / "new").write_text(text)
        (tmp_path / "new").replace(path)
        return path

    return write


@pytest.fixture
def shared(start_server, write, request):
    """A server that these tenants share."""
    server = start_server(tenants=write(FILE), slots=2, warm_max=0)
    server.token = ROOT
    return server


def token(value, **more):
    return {"additional_headers": {"X-Access-Token": value, **more}}


# The file


def test_a_file_names_whose_a_token_is(write):
    found = tenants.load(write(FILE), CATALOGUE)
    assert [tenant.name for tenant in found] == ["school", "shop", "root"]
    assert found.of_token(SCHOOL).name == "school"
    assert found.of_token(SCHOOL).workspaces == 7
    assert found.of_token("wsr_other") is None
    assert found.of_token("\udcff") is None
    assert found.origins == {"https://school.example", "https://shop.example"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[tenant", "not valid TOML"),
        ("[[tenant]]", "missing required field `name`"),
        ('[[tenant]]\nname = "A"', "name"),
        ('[[tenant]]\nname = "a"\nslots = -1', "$.tenant[0].slots"),
        ('[[tenant]]\nname = "a"\nuser_sockets = -1', "$.tenant[0].user_sockets"),
        ('[[tenant]]\nname = "a"\nslotz = 1', "slotz"),
        ('[[tenant]]\nname = "a"\ntokens = ["secret"]', "$.tenant[0].tokens"),
        ('[[tenant]]\nname = "a"\nlanguages = ["cobol77"]', "tenant a"),
        ('[[tenant]]\nname = "a"\n[[tenant]]\nname = "a"', "tenant a is there 2 times"),
        (
            f'[[tenant]]\nname = "a"\ntokens = ["{tenants.hash_of("x")}"]\n' * 1
            + f'[[tenant]]\nname = "b"\ntokens = ["{tenants.hash_of("x")}"]',
            "the token is there 2 times",
        ),
        (
            '[[tenant]]\nname = "a"\nkeys = [{kid = "k", algorithm = "HS256", key = "short"}]',
            "5 bytes; HS256 needs 32",
        ),
        (
            f'[[tenant]]\nname = "a"\nkeys = [{{kid = "k", algorithm = "HS256", key = "{PEM}"}}]',
            "HS256 needs a secret",
        ),
        (
            '[[tenant]]\nname = "a"\nkeys = [{kid = "k", algorithm = "EdDSA", key = "x"}]',
            "public key in PEM",
        ),
        (
            '[[tenant]]\nname = "a"\nkeys = [{kid = "k", algorithm = "none", key = "x"}]',
            "algorithm",
        ),
        ('[[tenant]]\nname = "a"\nkeys = [{kid = "k", algorithm = "HS256"}]', "either key or file"),
    ],
)
def test_a_wrong_file_is_named_with_the_place(write, text, words):
    path = write(text)
    with pytest.raises(SetupError) as caught:
        tenants.load(path, CATALOGUE)
    assert words in str(caught.value)
    assert str(caught.value).startswith(str(path)) or words == "not valid TOML"


def test_a_new_token_comes_with_its_hash():
    printed = CliRunner().invoke(main, ["token", "new"]).output
    new, hashed = re.fullmatch(r"token  (\S+)\nhash   (\S+)\n", printed).groups()
    assert tenants.hash_of(new) == hashed
    assert len(new) > 40


# What each may have


async def test_tenants_have_what_the_file_says(shared):
    async with shared.talk(**token(SCHOOL)) as talk:
        assert (await talk.run("python", "print(1)")).stdout == "1\n"
        refused = await talk.run("c", "int main() {}")
        assert refused.error["code"] == "not_allowed"
        assert refused.error["path"] == "$.language"
        assert "python" in refused.error["message"]
        refused = await talk.run("python", "1", limits={"wall_s": 6})
        assert refused.error["code"] == "limit_out_of_range"
        assert "5 s" in refused.error["message"]
        refused = await talk.run("python", "1")
        assert refused.error["code"] == "rate_limited"
        assert "tenant school" in refused.error["message"]
        assert refused.error["retry_after_s"] > 0
        async with shared.talk(**token(SCHOOL)):
            with pytest.raises(InvalidStatus) as full:
                async with shared.talk(**token(SCHOOL)):
                    pass
            assert full.value.response.status_code == 429
    async with shared.talk(**token(SHOP)) as talk:
        assert (await talk.run("python", "print(2)", limits={"wall_s": 30})).stdout == "2\n"
    for wrong in ("", "wsr_nobody", tenants.hash_of(SCHOOL)):
        with pytest.raises(InvalidStatus) as refused:
            async with shared.talk(**token(wrong)):
                pass
        assert refused.value.response.status_code == 401
    log = shared.log.read_text()
    assert "for tenant school" in log
    assert not any(secret in log for secret in (SCHOOL, SHOP, ROOT))


async def test_a_tenant_has_no_more_than_its_share_of_slots(shared):
    async with shared.talk(**token(SCHOOL)) as talk, shared.talk(**token(SHOP)) as other:
        for name in ("one", "two"):
            await talk.say("run", id=name, language="python", code="print(input())")
        await talk.hear_started(id="one")
        await talk.hear_kind("queued", id="two")
        await other.say("run", language="python", code="print(input())")
        await other.hear_started()
        await talk.say("stdin", id="one", data="x\n")
        await talk.hear_started(id="two")
        for each, name in ((talk, "two"), (other, None)):
            await each.say("stdin", id=name, data="x\n")
            await each.finish(id=name)
    metrics = shared.metrics()
    assert metrics['wsrunner_tenant_runs_total{reason="exited",tenant="school"}'] == 2


async def test_kept_runs_of_a_tenant_are_counted(shared):
    async with shared.talk(**token(SCHOOL)) as talk:
        await talk.say("run", id="a", language="python", code="print(input())", keep_s=5)
        await talk.hear_started(id="a")
        await talk.say("run", id="b", language="python", code="1", keep_s=5)
        error = await talk.hear_error_of("b")
        assert (error["code"], "tenant school" in error["message"]) == ("kept_full", True)
        await talk.say("cancel", id="a")
        await talk.finish(id="a")


async def test_kept_runs_of_a_tenant_that_begin_at_once_are_counted_too(shared):
    async with shared.talk(**token(SCHOOL)) as talk:
        run = {"type": "run", "language": "python", "code": "print(input())", "keep_s": 5}
        await talk.say_together({"id": "a", **run}, {"id": "b", **run})
        error = await talk.hear_error_of("b")
        assert (error["code"], "tenant school" in error["message"]) == ("kept_full", True)
        await talk.hear_started(id="a")
        await talk.say("cancel", id="a")
        await talk.finish(id="a")


@pytest.mark.parametrize(
    ("whose", "origin", "status"),
    [
        (SCHOOL, "https://school.example", 101),
        (SHOP, "https://shop.example", 101),
        (SCHOOL, "https://shop.example", 403),
        (SCHOOL, "https://evil.example", 403),
    ],
)
async def test_a_page_is_let_in_with_its_own_tenants_token(shared, whose, origin, status):
    try:
        async with shared.talk(**token(whose, Origin=origin)):
            opened = 101
    except InvalidStatus as exc:
        opened = exc.response.status_code
    assert opened == status


def test_figures_of_all_tenants_are_for_operators(shared):
    assert shared.status("/metrics") == 200
    shared.token = SHOP
    assert shared.status("/metrics") == 403
    assert shared.languages()


# A file that changes


async def test_a_changed_file_counts_and_a_broken_one_does_not(shared, write):
    new = "wsr_new"
    for how in ("by itself", "on SIGHUP"):
        write(f'[[tenant]]\nname = "later"\ntokens = ["{tenants.hash_of(new)}"]\n')
        if how == "on SIGHUP":
            shared.signal(signal.SIGHUP)
        shared.token = new
        until(lambda: shared.status("/v1/languages") == 200, f"the new token works, {how}")
        shared.token = SCHOOL
        until(lambda: shared.status("/v1/languages") == 401, "the old one does not")
        before = shared.log.read_text().count("the tenants stay as")
        write("[[tenant]]\nname = 7\n")
        until(
            lambda before=before: shared.log.read_text().count("the tenants stay as") > before,
            "the log tells of the broken file",
        )
        shared.token = new
        assert shared.status("/v1/languages") == 200
    assert "$.tenant[0].name" in shared.log.read_text()
