"""Which report means which reason: pure."""

import signal

import pytest

from wsrunner.engines.base import Report
from wsrunner.runs.verdict import Verdict, of_report, signal_name


def report(code=None, number=None, cpu_s=0.0, oom_kills=0):
    return Report(
        stage="run",
        code=code,
        signal=number,
        wall_s=None,
        cpu_s=cpu_s,
        peak_bytes=None,
        oom_kills=oom_kills,
    )


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (report(code=0), Verdict("exited", code=0)),
        (report(code=139), Verdict("exited", code=139)),
        (report(number=signal.SIGSEGV), Verdict("signaled", signal="SIGSEGV")),
        (report(number=signal.SIGRTMIN + 3), Verdict("signaled", signal="SIGRTMIN+3")),
        (report(number=signal.SIGXCPU), Verdict("cpu_limit")),
        (report(number=signal.SIGKILL, cpu_s=2.0), Verdict("cpu_limit")),
        (report(number=signal.SIGKILL, cpu_s=1.9), Verdict("signaled", signal="SIGKILL")),
        (report(code=152, cpu_s=1.7), Verdict("cpu_limit")),
        (report(code=152, cpu_s=0.1), Verdict("exited", code=152)),
        (report(number=signal.SIGKILL, oom_kills=1), Verdict("out_of_memory")),
        (report(code=1, oom_kills=1), Verdict("out_of_memory")),
        (report(code=0, oom_kills=1), Verdict("exited", code=0)),
        (report(number=signal.SIGKILL, cpu_s=None), Verdict("signaled", signal="SIGKILL")),
    ],
)
def test_a_report_gives_one_reason(told, expected):
    assert of_report(told, ending=None, cpu_limit_s=2.0) == expected


def test_what_the_server_ended_is_told_as_that_whatever_the_report_says():
    told = report(number=signal.SIGKILL, oom_kills=1, cpu_s=9.0)
    assert of_report(told, ending="timeout", cpu_limit_s=2.0) == Verdict("timeout")


def test_signals_without_a_name_get_their_number():
    assert signal_name(33) == "SIG33"
