"""What a program may ask of the kernel and see of the machine."""

import json

import pytest

from wsrunner.engines.docker import sandbox
from wsrunner.errors import SetupError

ATTEMPTS = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static void attempt(const char *name, long result) {
  if (result >= 0) printf("%s: done\n", name);
  else printf("%s: %s\n", name, strerrorname_np(errno));
}

int main(void) {
  char params[256] = {0};
  attempt("io_uring_setup", syscall(SYS_io_uring_setup, 4, params));
  attempt("io_setup", syscall(SYS_io_setup, 4, params));
  attempt("userfaultfd", syscall(SYS_userfaultfd, 1));
  attempt("add_key", syscall(SYS_add_key, "user", "a", "b", 1, -3));
  attempt("request_key", syscall(SYS_request_key, "user", "a", 0, -3));
  attempt("keyctl", syscall(SYS_keyctl, 0, -3, 1));
  attempt("bpf", syscall(SYS_bpf, 0, params, sizeof params));
  attempt("perf_event_open", syscall(SYS_perf_event_open, params, 0, -1, -1, 0));
  attempt("process_vm_readv", syscall(SYS_process_vm_readv, getpid(), 0, 0, 0, 0, 0));
  attempt("kcmp", syscall(SYS_kcmp, getpid(), getpid(), 0, 0, 0));
  attempt("name_to_handle_at", syscall(SYS_name_to_handle_at, -100, "/", params, params, 0));
  attempt("fanotify_init", syscall(SYS_fanotify_init, 0x200, 0));
  attempt("unshare user", unshare(CLONE_NEWUSER));
  attempt("unshare files", unshare(CLONE_FILES));
  attempt("clone user", syscall(SYS_clone, CLONE_NEWUSER | 17, 0, 0, 0, 0));
  attempt("clone3", syscall(SYS_clone3, params, 88));
  attempt("AF_ALG", socket(38, SOCK_SEQPACKET, 0));
  attempt("AF_VSOCK", socket(40, SOCK_STREAM, 0));
  attempt("AF_PACKET", socket(17, SOCK_RAW, 0));
  attempt("AF_BLUETOOTH", socket(31, SOCK_RAW, 1));
  attempt("AF_TIPC", socket(30, SOCK_RDM, 0));
  attempt("netlink of others", socket(AF_NETLINK, SOCK_RAW, 12));
  return 0;
}
"""
WITHOUT = ("io_uring_setup", "io_setup", "clone3")
"""Programs are told that the kernel does not have these, and take others."""

ORDINARY = """
import os, socket, threading
for family in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6):
    socket.socket(family).close()
socket.socketpair()
socket.if_nameindex()
socket.getaddrinfo("127.0.0.1", 80, flags=socket.AI_ADDRCONFIG)
thread = threading.Thread(target=print, args=("a thread",))
thread.start()
thread.join()
if os.fork() == 0:
    os._exit(0)
print(os.WEXITSTATUS(os.wait()[1]), os.cpu_count() > 0)
os.memfd_create("x")
os.mkfifo("fifo")
os.sync()
"""

LOOK = """
import pathlib, sys
for name in sys.stdin.read().split():
    path = pathlib.Path(name)
    try:
        seen = list(path.iterdir()) if path.is_dir() else path.read_bytes()
    except OSError:
        seen = None
    if seen:
        print(name)
print("cores:", pathlib.Path("/sys/devices/system/cpu/online").read_text() != "")
"""


async def attempts(talk, need):
    need("c")
    outcome = await talk.run("c", ATTEMPTS)
    assert outcome.reason == "exited", outcome
    return dict(line.split(": ") for line in outcome.stdout.splitlines())


async def test_a_program_may_not_ask_the_kernel_for_more_than_programs_need(talk, need):
    tried = await attempts(talk, need)
    assert tried == {name: "ENOSYS" if name in WITHOUT else "EPERM" for name in tried}


async def test_the_engine_s_own_list_is_there_for_who_wants_it(start_server, need):
    server = start_server(seccomp="unconfined", warm_max=0)
    async with server.talk() as talk:
        tried = await attempts(talk, need)
    # Else the test above would show nothing.
    assert tried["unshare files"] == "done"
    server.settle()


async def test_what_programs_do_every_day_works(talk):
    outcome = await talk.run("python", ORDINARY)
    assert (outcome.stdout, outcome.stderr) == ("a thread\n0 True\n", "")


async def test_of_the_machine_there_is_little_to_see(talk):
    outcome = await talk.run("python", LOOK, stdin="\n".join(sandbox.MASKED))
    assert (outcome.stdout, outcome.stderr) == ("cores: True\n", "")


async def test_a_profile_of_one_s_own_is_taken(start_server, tmp_path):
    profile = tmp_path / "profile.json"
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 30}
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
    server = start_server(seccomp=profile, warm_max=0)
    async with server.talk() as talk:
        outcome = await talk.run("python", "import os\nos.mkdir('x')")
    assert "Read-only file system" in outcome.stderr
    server.settle()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "can't read the profile"),
        ("{", "is no seccomp profile"),
        ("[]", "is no seccomp profile"),
        ('{"syscalls": []}', "it has no 'defaultAction'"),
        ('{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [1]}', "is no seccomp profile"),
    ],
)
def test_what_is_no_profile_stops_the_start_with_its_name(tmp_path, content, words):
    path = tmp_path / "profile.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SetupError, match=words) as raised:
        sandbox.seccomp_profile(str(path))
    assert str(path) in str(raised.value)


def test_the_engine_s_list_is_asked_for_by_naming_none():
    assert sandbox.security_options("default") == ["no-new-privileges"]
    assert sandbox.security_options("unconfined")[1:] == ["seccomp=unconfined"]


ESCAPES = """
import os, pathlib, stat

def refused(what, act):
    try:
        act()
        print(what, "worked")
    except OSError:
        pass

def write(path):
    return lambda: os.close(os.open(path, os.O_WRONLY))

refused("overwrite what started this", write("/proc/1/exe"))
refused("have core dumps run something", write("/proc/sys/kernel/core_pattern"))
refused("have the kernel run something", write("/proc/sys/kernel/modprobe"))
refused("a reboot", write("/proc/sysrq-trigger"))
for folder, _, names in os.walk("/sys/fs/cgroup"):
    for name in names:
        if name in ("release_agent", "notify_on_release", "cgroup.procs", "devices.allow"):
            refused(name, write(f"{folder}/{name}"))
refused("a disk", lambda: os.mknod("disk", stat.S_IFBLK | 0o600, os.makedev(8, 0)))
refused("a mount", lambda: os.stat("/var/run/docker.sock"))
refused("the host's processes", lambda: os.kill(2**21, 0))
for pid in ("1", "self"):
    for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        try:
            if stat.S_ISDIR(fd.stat().st_mode) and str(fd.readlink()) != f"/proc/{os.getpid()}/fd":
                print("an open folder", fd.readlink())
        except FileNotFoundError:
            pass
for line in pathlib.Path("/proc/mounts").read_text().splitlines():
    device, at, kind, options, *_ = line.split()
    options = options.split(",")
    if "rw" in options and kind != "devpts" and at != "/dev" and "nosuid" not in options:
        print("programs may become another user on", at)
print("done", len(os.listdir("/dev")) < 25)
"""
"""What the published escapes from containers begin with."""


async def test_what_escapes_begin_with_is_refused(talk):
    outcome = await talk.run("python", ESCAPES)
    assert (outcome.stdout, outcome.stderr) == ("done True\n", "")


async def test_a_plan_s_links_and_names_write_nothing_outside(talk, need):
    """Judge0's submissions could be written to through a link that an earlier step had made."""
    need("bash")
    first = await talk.run("bash", "ln -s /etc/passwd main.sh 2>&1; ln -sf / root; echo made")
    assert first.stdout.endswith("made\n")
    # Each run has a folder of its own, made with its container.
    assert (await talk.run("bash", "ls -A")).stdout == "main.sh\n"
    for name in ("../x", "/etc/x", "a/../../x"):
        await talk.say("run", id="x", language="bash", files=[{"name": name, "content": ""}])
        assert (await talk.hear_error_of("x"))["path"] == "$.files[0].name"
