"""Settings: one declaration feeds option, variable, file and help."""

import re
import subprocess

import pytest

from tests.serving import COMMAND, environment
from wsrunner import settings
from wsrunner.errors import SetupError

DECLARED = list(settings.declared())
OTHER = {str: "other", int: 17, float: 3.5, tuple: ("https://a.example",)}


def other(setting):
    """Return a valid value that is not the default."""
    if setting.type is bool:
        return not setting.default
    special = {
        "log_level": "debug",
        "memory_mb": 64,
        "uids": "70000-79999",
        "ahead": "all",
        "preload": ("python=numpy",),
    }
    special["proxies"] = ("10.0.0.0/8", "fd00::1")
    special["webhook_hosts"] = ("ci.example", "*.ci.example:8443")
    return special.get(setting.name, OTHER[setting.type])


def as_text(value):
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def as_toml(value):
    if isinstance(value, tuple):
        return "[" + ", ".join(f'"{item}"' for item in value) + "]"
    return f'"{value}"' if isinstance(value, str) else as_text(value)


def refusal(**given):
    with pytest.raises(SetupError) as caught:
        settings.load(**given)
    return str(caught.value)


@pytest.fixture
def config(tmp_path):
    """A function that writes a TOML file."""

    def write(text):
        path = tmp_path / "wsrunner.toml"
        path.write_text(text)
        return path

    return write


def test_nothing_given_means_the_defaults():
    assert settings.load() == settings.Settings()
    assert settings.load().host == "127.0.0.1"
    assert settings.load().port == 8001


@pytest.mark.parametrize("setting", DECLARED, ids=lambda setting: setting.name)
def test_each_is_read_from_option_variable_and_file(setting, config, tmp_path, monkeypatch):
    value = other(setting)
    # What is read as a file is one.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").write_text("t0ken\n")
    assert value != setting.default
    by_option = settings.load(options={setting.name: as_text(value)})
    by_variable = settings.load(environ={setting.variable: as_text(value)})
    by_file = settings.load(config=config(f"{setting.name} = {as_toml(value)}\n"))
    for loaded in (by_option, by_variable, by_file):
        assert getattr(loaded, setting.name) == value
        assert type(getattr(loaded, setting.name)) is setting.type


@pytest.mark.parametrize("setting", DECLARED, ids=lambda setting: setting.name)
def test_each_has_a_help_sentence(setting):
    assert re.fullmatch(r"[A-Z].{10,}\.", setting.help)
    assert setting.variable == f"WSRUNNER_{setting.name.upper()}"
    assert setting.option == f"--{setting.name.replace('_', '-')}"


def test_a_proxy_that_is_no_address_is_refused():
    message = refusal(options={"proxies": ("10.0.0.1/8",)})
    assert message == "--proxies: 10.0.0.1/8 has host bits set"


def test_options_win_over_variables_over_the_file(config):
    path = config("port = 1\nslots = 1\nqueue_max = 1\n")
    environ = {"WSRUNNER_SLOTS": "2", "WSRUNNER_QUEUE_MAX": "2"}
    loaded = settings.load(options={"queue_max": "3", "port": None}, environ=environ, config=path)
    assert (loaded.port, loaded.slots, loaded.queue_max) == (1, 2, 3)


def test_the_file_may_be_named_by_a_variable(config):
    path = config("slots = 5\n")
    assert settings.load(environ={"WSRUNNER_CONFIG": str(path)}).slots == 5


def test_an_unknown_variable_is_refused_with_the_closest():
    assert "WSRUNNER_PROT; did you mean WSRUNNER_PORT?" in refusal(environ={"WSRUNNER_PROT": "1"})


def test_the_client_s_variables_and_foreign_ones_are_let_pass():
    environ = {"WSRUNNER_URL": "ws://x", "PORT": "1", "WS_RUNNER_X": "1", "wsrunner_y": "1"}
    assert settings.load(environ=environ) == settings.Settings()


def test_an_unknown_key_is_refused_with_file_and_closest(config):
    path = config("prot = 1\n")
    message = refusal(config=path)
    assert str(path) in message
    assert "'prot'; did you mean port?" in message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "x"),
        ("port", "-1"),
        ("port", "65536"),
        ("port", ""),
        ("slots", "0"),
        ("slots", "1.5"),
        ("wall_s", "0"),
        ("wall_s", "nan"),
        ("wall_s", "inf"),
        ("memory_mb", "1"),
        ("pids", "1"),
        ("log_level", "loud"),
        ("warm_max", "-1"),
        ("open", "maybe"),
    ],
)
def test_a_wrong_value_is_refused_with_its_origin(name, value, config):
    variable = f"WSRUNNER_{name.upper()}"
    message = refusal(environ={variable: value})
    assert message.startswith(f"{variable}: ")
    assert repr(value) in message
    option = f"--{name.replace('_', '-')}"
    assert refusal(options={name: value}).startswith(f"{option}: ")
    path = config(f"{name} = {as_toml(value)}\n")
    assert refusal(config=path).startswith(f"{path}: {name}: ")


@pytest.mark.parametrize(
    "origin", ["*", "ide.example", "null\n", "https://", "https://ide.example/path"]
)
def test_an_origin_that_no_browser_sends_is_refused(origin):
    message = refusal(options={"origin": (origin,)})
    assert message.startswith("--origin: ")
    assert "https://ide.example" in message


@pytest.mark.parametrize("origin", ["https://ide.example/", "http://[::1]:5173", "null"])
def test_an_origin_that_a_browser_sends_is_taken(origin):
    assert settings.load({"origin": (origin,)}).origin == (origin,)


@pytest.mark.parametrize("name", ["token", "operator_token"])
@pytest.mark.parametrize("token", ["abc\n", "abc/def==", "two words", "h\xe9", "a,b"])
def test_a_token_that_a_subprotocol_can_t_carry_is_refused_and_not_shown(name, token):
    message = refusal(options={name: token})
    assert message.startswith(f"--{name.replace('_', '-')}: ")
    assert token not in message


@pytest.fixture
def secret(tmp_path):
    """A function that writes a file of a token."""

    def write(content, mode=0o600):
        path = tmp_path / "secret"
        path.write_bytes(content)
        path.chmod(mode)
        return path

    return write


TOKEN_NAMES = pytest.mark.parametrize("name", ["token", "operator_token"])


@TOKEN_NAMES
@pytest.mark.parametrize("content", [b"s3cret", b"s3cret\n", b"s3cret\r\n"])
def test_a_token_may_come_from_a_file(name, content, secret):
    file = str(secret(content))
    assert getattr(settings.load({f"{name}_file": file}), name) == "s3cret"
    assert getattr(settings.load(environ={f"WSRUNNER_{name.upper()}_FILE": file}), name) == "s3cret"


@TOKEN_NAMES
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"\n", "empty"),
        (b"one\ntwo\n", "2 lines"),
        (b"first\n\n", "2 lines"),
        (b"\xff", "no text"),
        (b"two words\n", "matching"),
    ],
)
def test_a_file_that_holds_no_token_is_refused_and_not_shown(name, content, reason, secret):
    file = secret(content)
    message = refusal(options={f"{name}_file": str(file)})
    assert str(file) in message
    assert reason in message
    assert not content.strip() or content.strip().decode(errors="replace") not in message


@TOKEN_NAMES
def test_a_token_s_file_that_can_t_be_read_is_refused(name, tmp_path):
    missing = str(tmp_path / "none")
    message = refusal(options={f"{name}_file": missing})
    assert missing in message
    assert "No such file" in message
    assert "directory" in refusal(options={f"{name}_file": str(tmp_path)})


@TOKEN_NAMES
def test_a_token_and_its_file_are_not_both_given(name, secret):
    option = f"--{name.replace('_', '-')}"
    file = str(secret(b"s3cret"))
    message = refusal(options={f"{name}_file": file}, environ={f"WSRUNNER_{name.upper()}": "x"})
    assert f"{option} and {option}-file" in message


def test_a_server_guards_by_the_token_of_a_file_and_warns_where_all_can_read_it(
    start_server, secret
):
    file = secret(b"s3cret\n", 0o644)
    server = start_server(token_file=str(file), warm_max=0)
    assert server.status("/metrics") == 401
    server.token = "s3cret"
    assert server.status("/metrics") == 200
    log = server.log.read_text()
    assert f"{file} can be read by everybody" in log
    assert "s3cret" not in log
    file.chmod(0o600)
    server = start_server(token_file=str(file), warm_max=0)
    server.token = "s3cret"
    assert server.status("/metrics") == 200
    assert "can be read by everybody" not in server.log.read_text()


def test_a_work_directory_must_hold_a_message_s_files():
    message = refusal(options={"disk_mb": 16, "message_kb": 16 * 1024})
    assert "16 MiB" in message
    assert "16384 KiB" in message
    assert "17 MiB" in message
    assert settings.load({"disk_mb": 17, "message_kb": 16 * 1024}).disk_mb == 17


@pytest.mark.parametrize(
    ("uids", "reason"),
    [
        ("", "regex"),
        ("many", "regex"),
        ("-5", "regex"),
        ("5-", "regex"),
        ("0", "user 0 is root"),
        ("0-9", "user 0 is root"),
        ("9-5", "the first number is larger than the last"),
        ("50000-2147483648", "the largest number is 2147483647"),
    ],
)
def test_users_that_no_run_can_have_are_refused(uids, reason):
    message = refusal(options={"uids": uids})
    assert message.startswith("--uids: ")
    assert reason in message


def test_there_must_be_a_user_for_each_container_that_there_may_be():
    few = {"uids": "70000-70009", "slots": 8, "warm_max": 3}
    message = refusal(options=few)
    assert "70000-70009 are 10 users" in message
    assert "8 runs at once (--slots)" in message
    assert "3 containers kept ready (--warm-max)" in message
    assert "(--engine-slots)" in refusal(options={**few, "engine_slots": 9})
    assert settings.load({**few, "engine_slots": 7}).uids == "70000-70009"
    assert settings.load({**few, "warm_max": 2}).uids == "70000-70009"
    # Shared by all.
    assert settings.load({**few, "uids": "1000"}).uids == "1000"


def test_a_token_of_the_wrong_type_is_not_shown(config):
    assert "987654" not in refusal(config=config("token = [987654]\n"))


@pytest.mark.parametrize("text", ["port = ", "= 3", "\x00"])
def test_a_file_that_is_no_toml_is_refused(text, config):
    path = config(text)
    assert f"{path} is not valid TOML" in refusal(config=path)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    assert "can't read" in refusal(config=tmp_path / "none.toml")


# The command line.


def serve(*arguments, **variables):
    return subprocess.run(
        [COMMAND, "serve", *arguments],
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_serve_help_shows_every_option_and_variable():
    text = serve("--help", COLUMNS="200").stdout
    for setting in DECLARED:
        assert setting.option in text
        assert setting.variable in text


@pytest.mark.parametrize(
    ("arguments", "variables", "shown"),
    [
        (["--port", "x"], {}, "--port"),
        ([], {"WSRUNNER_PORT": "x"}, "WSRUNNER_PORT"),
        ([], {"WSRUNNER_SLOT": "1"}, "WSRUNNER_SLOTS"),
        (["--warm", "python"], {}, "LANGUAGE=NUMBER"),
        (["--warm", "nolanguage=1"], {}, "nolanguage"),
        (["--warm", "²"], {}, "LANGUAGE=NUMBER"),
        (["--languages", "/nonexistent.toml"], {}, "/nonexistent.toml"),
        (["--host", "0.0.0.0"], {}, "--open"),
        (["--host", "::"], {}, "--token"),
        (["--host", "no.such.host.invalid", "--open"], {}, "no.such.host.invalid"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_a_start_that_can_t_be_is_one_clear_line(arguments, variables, shown):
    done = serve(*arguments, **variables)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("wsrunner: ")
    assert done.stderr.count("\n") == 1
    assert shown in done.stderr


def test_a_redis_that_can_t_be_reached_is_one_clear_line(server):
    done = serve("--redis-url", "redis://127.0.0.1:1", "--port", "0")
    assert done.returncode == 2
    assert done.stderr.startswith("wsrunner: ")
    assert done.stderr.count("\n") == 1
    assert "127.0.0.1:1" in done.stderr


def test_a_port_that_is_taken_is_one_clear_line(server):
    done = serve("--port", server.address.rpartition(":")[2])
    assert done.returncode == 2
    assert "--port" in done.stderr
    assert done.stderr.count("\n") == 1
