"""How far a copy is: a bar on a terminal, JSON lines for scripts, plain lines for logs, and nothing where nobody asks."""
import json
import re
import time

import pytest

from terminal import Terminal, screen

SLOW = ["--speed", "8M"]
LENGTH = "48M"


@pytest.fixture
def filled(vm):
    """Two disks with a snapshot each; a merge of what was written since takes some seconds at SLOW."""
    vm.chainctl.ok("snapshot", "vm1", "s")
    vm.qemu.qemu_io("vda", f"write -P 7 0 {LENGTH}")
    vm.qemu.qemu_io("vdb", "write -P 7 0 24M")
    return vm


def commit(*words):
    return ["commit", "vm1", "--pivot", "--yes", *words]


def json_lines(text):
    lines = [json.loads(line) for line in text.splitlines()]
    assert all(isinstance(line, dict) for line in lines)
    return lines


def test_a_line_for_each_disk_is_redrawn_in_its_place(filled):
    with Terminal(filled.chainctl, *commit(*SLOW)) as shown:
        assert shown.end() == 0
    drawn, merged, told = shown.text.partition("vm1: merged")
    lines = screen(drawn, 80)
    assert [line.split()[1] for line in lines[:2]] == ["vda", "vdb"]
    assert all(re.fullmatch(r"vm1 vd[ab]  \[#{20}\] 100 %  \d+ MiB of \d+ MiB  done", line) for line in lines[:2]), lines
    assert lines[2:] == [""] and merged and "%" not in told, lines
    assert re.search(r" [1-9]\d? %  \S+ MiB of 48 MiB  \S+ [KM]iB/s  \d+:\d\d left", re.sub(r"\x1b\[[0-9;]*m", "", shown.text))


@pytest.mark.parametrize("columns", [12, 30, 45, 60])
def test_narrow_terminal_gets_narrow_lines(filled, columns):
    with Terminal(filled.chainctl, *commit("--speed", "32M", "-q", "--progress=bar"), columns=columns) as shown:
        assert shown.end() == 0
    lines = screen(shown.text, columns)
    assert all("vd" in line and "100 %" in line for line in lines[:2]), lines


def test_no_color_and_a_dumb_terminal_get_no_colours(filled):
    with Terminal(filled.chainctl, "stream", "vm1", "--disk", "vda", "--speed", "32M", env={"NO_COLOR": "1"}) as shown:
        assert shown.end() == 0
    assert "\x1b[K" in shown.text and not re.search(r"\x1b\[[0-9;]*m", shown.text)
    filled.chainctl.ok("snapshot", "vm1", "t")
    filled.qemu.qemu_io("vda", "write -P 8 0 8M")
    with Terminal(filled.chainctl, *commit("--disk", "vda"), env={"TERM": "dumb"}) as shown:
        assert shown.end() == 0
    assert "\x1b" not in shown.text and "vm1 vda 100 %" in shown.text


@pytest.mark.parametrize("words", [["--progress=none"], ["-q"]])
def test_nothing_is_drawn_where_that_is_asked_for(filled, words):
    with Terminal(filled.chainctl, *commit(*words)) as shown:
        assert shown.end() == 0
    assert "%" not in shown.text and "\x1b[K" not in shown.text


def test_json_is_an_object_a_line_at_least_every_second(filled):
    started = filled.chainctl.start(*commit(*SLOW, "--progress=json"))
    lines, seen = [], []
    for line in started.stderr:
        lines += json_lines(line)
        seen.append(time.monotonic())
    assert started.wait(60) == 0 and json.loads(started.stdout.read())["ok"]
    started.stdout.close(), started.stderr.close()
    assert {tuple(line) for line in lines} == {("op", "vm", "disk", "phase", "current", "total", "rate")}
    assert {line["disk"] for line in lines} == {"vda", "vdb"} and {line["vm"] for line in lines} == {"vm1"}
    assert {line["phase"] for line in lines} >= {"copy", "ready", "switch", "done"} and len({line["op"] for line in lines}) == 1
    assert lines[0]["rate"] is None and any(isinstance(line["rate"], int) for line in lines)
    assert all(0 <= line["current"] <= line["total"] for line in lines)
    assert max(after - before for before, after in zip(seen, seen[1:])) < 1.5
    assert [line["current"] for line in lines if line["phase"] == "done"] == [48 << 20, 24 << 20]


def test_every_line_on_stderr_is_json_then(filled):
    result = filled.chainctl.run("commit", "vm1", "--top", "nonsense", "--progress=json", json_output=False)
    assert result.status == 3 and "nonsense" in json_lines(result.err)[0]["error"]


def test_where_it_is_no_terminal_nothing_is_said_but_with_v(filled):
    quiet = filled.chainctl.run("stream", "vm1", "--disk", "vda", json_output=False)
    assert (quiet.status, quiet.err) == (0, "")
    told = filled.chainctl.run(*commit("--disk", "vdb", "-v"), json_output=False)
    assert told.status == 0 and "\x1b" not in told.err
    assert all(re.fullmatch(r"vm1 vdb +\d+ %  .* of 24 MiB .*", line) for line in told.err.splitlines()), told.err
    assert "100 %" in told.err


def test_plain_lines_come_every_ten_seconds(filled):
    started = filled.chainctl.start(*commit("--speed", "2M", "--disk", "vda", "-v"), json_output=False)
    seen = [(time.monotonic(), line) for line in started.stderr if "copy" in line or "left" in line]
    assert started.wait(60) == 0
    started.stdout.close(), started.stderr.close()
    gaps = [after - before for (before, _), (after, _) in zip(seen, seen[1:])]
    assert gaps and all(7 < gap < 12 for gap in gaps), seen


def test_bar_into_a_file_is_lines(filled):
    told = filled.chainctl.run(*commit("--progress=bar"), json_output=False)
    assert told.status == 0 and "\x1b" not in told.err and "100 %" in told.err
