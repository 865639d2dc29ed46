"""A person at a terminal: asked before snapshots cease to exist, and told what Ctrl-C did; a script is asked nothing."""
import re
import signal

import pytest

from terminal import Terminal

SLOW = ["--speed", "1M", "--disk", "vda"]


@pytest.fixture
def filled(vm):
    """vda has a snapshot and 48 MiB above it; a merge at SLOW does not end within a test."""
    vm.chainctl.ok("snapshot", "vm1", "monday")
    vm.qemu.qemu_io("vda", "write -P 7 0 48M")
    return vm


def names(vm):
    return [one["name"] for one in vm.chainctl.ok("list", "vm1")["snapshots"]]


@pytest.mark.parametrize("answer", ["n", "", "yesterday", "nay"])
def test_anything_but_yes_is_a_no_and_nothing_is_begun(filled, answer):
    before = filled.untouched()
    with Terminal(filled.chainctl, "commit", "vm1", "--pivot") as shown:
        shown.wait(r"'monday' will cease to exist.*\[y/N\] ")
        shown.type(answer)
        assert shown.end() == 1
    assert filled.untouched() == before and "nothing was merged" in shown.text


@pytest.mark.parametrize("answer", ["y", "YES"])
def test_yes_is_a_yes(filled, answer):
    with Terminal(filled.chainctl, "commit", "vm1", "--pivot") as shown:
        shown.wait(r"\[y/N\] ")
        shown.type(answer)
        assert shown.end() == 0
    assert names(filled) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_question_can_be_left(filled, number):
    before = filled.untouched()
    with Terminal(filled.chainctl, "commit", "vm1", "--pivot") as shown:
        shown.wait(r"\[y/N\] ")
        shown.interrupt(number)
        assert shown.end() == 1
    assert filled.untouched() == before


def test_nobody_is_asked_where_no_snapshot_is_overwritten(filled):
    filled.chainctl.ok("snapshot", "vm1", "tuesday")
    with Terminal(filled.chainctl, "commit", "vm1", "--base", "monday", "--top", "tuesday") as shown:
        shown.end()
    assert "[y/N]" not in shown.text


@pytest.mark.parametrize("words", [["--yes"], ["--json"], ["--progress=json"], ["--dry-run"]])
def test_nobody_is_asked_with(filled, words):
    with Terminal(filled.chainctl, "commit", "vm1", "--pivot", *words) as shown:
        assert shown.end() == 0
    assert "[y/N]" not in shown.text


@pytest.mark.parametrize("answer, status", [("n", 1), ("y", 0)])
def test_what_a_rollback_discards_is_asked_about(filled, answer, status):
    with Terminal(filled.chainctl, "rollback", "vm1", "monday", "--discard") as shown:
        shown.wait(r"will be lost.*\[y/N\] ")
        shown.type(answer)
        assert shown.end() == status
    assert names(filled) == ["monday"]
    filled.qemu.qemu_io("vda", f"read -P {0 if answer == 'y' else 7} 0 48M")


def test_a_rollback_that_discards_nothing_asks_nothing(filled):
    with Terminal(filled.chainctl, "rollback", "vm1", "monday") as shown:
        assert shown.end() == 0
    assert "[y/N]" not in shown.text


def test_nobody_is_asked_without_a_terminal(filled):
    result = filled.chainctl.run("commit", "vm1", "--pivot", input="n\n", json_output=False)
    assert result.status == 0 and "[y/N]" not in result.err
    assert names(filled) == []


def interrupted(vm, *words):
    shown = Terminal(vm.chainctl, "commit", "vm1", "--pivot", "--yes", *SLOW, *words)
    shown.wait(r" \d+ %" if not words else r"goes on|.")
    shown.interrupt()
    shown.wait(r"Left to QEMU: `chainctl job wait vm1 [0-9a-f]{8}` .* within 2 s cancels it\.\n")
    return shown


def test_first_ctrl_c_leaves_the_merge_to_qemu_and_job_goes_on_with_it(filled):
    with interrupted(filled) as shown:
        assert shown.end(10) == 8
    (job,) = filled.chainctl.ok("jobs", "vm1")["jobs"]
    assert (job["type"], job["status"], job["ours"]) == ("commit", "running", True)
    assert f"`chainctl job cancel vm1 {job['op'][:8]}` ends it" in shown.text
    assert job["op"] not in shown.text, "all the digits of an id are for scripts"
    assert shown.text.count("chainctl job wait vm1") == 2, "at once, and in the end; not a third time in between"
    assert filled.chainctl.fails(6, "snapshot", "vm1")["hint"].count(job["op"][:8]) == 3
    log = filled.chainctl.run("log", "vm1", json_output=False).out
    assert f"chainctl job cancel vm1 {job['op'][:8]}" in log and "detached" in log
    assert "⇣ commit" in filled.chainctl.run("tree", "vm1", json_output=False).out
    tree = {one["path"]: one["job"] for one in filled.chainctl.ok("tree", "vm1")["disks"][0]["images"]}
    assert tree[str(filled.paths["vda"])]["op"] == job["op"] and list(tree.values()).count(None) == len(tree) - 1
    filled.chainctl.ok("job", "speed", "vm1", job["job"], "0")
    done = filled.chainctl.ok("job", "wait", "vm1", job["op"][:8])
    assert done["merges"][0]["pivoted"] and done["active"][0]["after"] == str(filled.paths["vda"])
    filled.qemu.qemu_io("vda", "read -P 7 0 48M")


def test_second_ctrl_c_cancels(filled):
    with interrupted(filled) as shown:
        shown.interrupt()
        assert shown.end() == 10
    assert "cancelled" in shown.text and filled.chainctl.ok("jobs", "vm1")["jobs"] == []
    filled.qemu.qemu_io("vda", "read -P 7 0 48M")
    assert names(filled) == [] and filled.chainctl.ok("check", "vm1")["problems"] == []


def test_what_ends_a_service_twice_is_no_second_ctrl_c(filled):
    """systemd sends SIGTERM, and SIGHUP behind it where it was told so."""
    started = filled.chainctl.start("commit", "vm1", "--pivot", *SLOW, "--progress=json", json_output=False)
    assert re.match(r'\{"op":', started.stderr.readline())
    started.send_signal(signal.SIGTERM)
    started.send_signal(signal.SIGHUP)
    started.communicate(timeout=60)
    assert started.returncode == 8
    (job,) = filled.chainctl.ok("jobs", "vm1")["jobs"]
    assert job["status"] == "running"
    done = filled.chainctl.ok("job", "cancel", "vm1", job["op"])
    assert [merge["merged"] for merge in done["merges"]] == [False]
