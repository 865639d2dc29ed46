"""What scripts and people see of merges, jobs and rollbacks: documents, progress, questions, Ctrl-C."""
import json
import re
import signal

import documents
import pytest
from test_terminal import on_terminal

from support import disks, images, process
from support.chainctl import finish

DATA = 4 << 20
SLOW = ["--speed", "1M"]


@pytest.fixture
def merged(qemu, chainctl, tmp_path):
    """(vm, ctl): vda with a snapshot 'one', and 4 MiB above it."""
    path = images.create(tmp_path / "vda.qcow2", "8M")
    vm, ctl = qemu(disks.blockdev("vda", path), paused=False), chainctl()
    disks.register(ctl, vm)
    ctl.ok("snapshot", "vm", "one")
    vm.qemu_io("vda", f"write -P 7 0 {DATA}")
    return vm, ctl


def assert_data(vm):
    vm.qemu_io("vda", f"read -P 7 0 {DATA}")


@pytest.mark.parametrize("words", [["commit", "vm", "--pivot"], ["commit", "vm"], ["stream", "vm"], ["jobs"], ["jobs", "vm"],
                                   ["rollback", "vm", "one", "--reset", "never"]], ids=" ".join)  # fmt: skip
def test_documents_have_the_keys_of_the_contract(merged, words):
    vm, ctl = merged
    document = ctl.ok(*words)
    documents.assert_success(words[0], document)
    if words == ["commit", "vm"]:
        assert documents.matches(document["jobs"], [documents.JOB]) and documents.uuid(document["op"])
        listed = ctl.ok("jobs")
        documents.assert_success("jobs", listed)
        assert [job["op"] for job in listed["jobs"]] == [document["op"]]


def test_progress_in_json_is_a_line_at_least_every_second(merged):
    vm, ctl = merged
    result = ctl.run("commit", "vm", "--pivot", "--progress=json", *SLOW)
    lines = [json.loads(line) for line in result.err.splitlines()]
    assert result.status == 0 and len(lines) >= 5
    assert {"op", "vm", "disk", "phase", "current", "total", "rate"} == set(lines[0])
    assert {line["phase"] for line in lines} >= {"copy", "done"}
    amounts = [line["current"] for line in lines]
    assert amounts == sorted(amounts) and lines[-1]["total"] >= DATA
    assert_data(vm)


def test_bar_is_drawn_on_a_terminal_in_one_place_and_within_its_width(merged):
    vm, ctl = merged
    status, text = on_terminal(ctl, "commit", "vm", "--pivot", "--yes", *SLOW, columns=72)
    assert status == 0 and "100 %" in text and "iB/s" in text
    drawn = re.split(r"\r|\n", re.sub(r"\x1b\[[0-9;]*[AKm]", "", text))
    assert all(len(line) < 72 for line in drawn if "%" in line)
    assert text.count("\x1b[1A") >= 3


def test_nothing_is_drawn_where_nobody_looks(merged):
    vm, ctl = merged
    result = ctl.run("commit", "vm", "--pivot", *SLOW)
    assert result.status == 0 and result.err == ""


@pytest.mark.parametrize("answer, status, left", [("n\n", 1, ["one"]), ("y\n", 0, [])])
def test_a_person_is_asked_before_a_snapshot_ceases_to_exist(merged, answer, status, left):
    vm, ctl = merged
    code, text = on_terminal(ctl, "commit", "vm", "--pivot", typed=answer)
    assert code == status and "'one'" in text and "[y/N]" in text
    assert [one["name"] for one in ctl.ok("list", "vm")["snapshots"]] == left


def interrupted(ctl, vm, times):
    """A slow commit, interrupted so often once its job is at work."""
    started = ctl.start("commit", "vm", "--pivot", "--speed", "4K")
    process.wait_until(lambda: vm.monitor().execute("query-jobs"), 60, "the job")
    for _ in range(times):
        started.send_signal(signal.SIGINT)
        process.wait_until(lambda: True, 1, "")
    return finish(started)


def test_first_interrupt_lets_it_go_on_and_says_how_to_go_on_with_it(merged):
    vm, ctl = merged
    result = interrupted(ctl, vm, 1)
    assert result.status == 8, result
    op = result.json["op"]
    assert f"chainctl job wait vm {op[:8]}`" in result.json["error"]["hint"]
    assert ctl.fails(6, "snapshot", "vm", "late")["code"] == "held"
    assert [one["state"] for one in ctl.ok("log", "vm")["operations"]][-1] == "detached"
    [job] = ctl.ok("jobs", "vm")["jobs"]
    ctl.ok("job", "speed", "vm", job["job"], "0")
    assert ctl.ok("job", "wait", "vm", op)["merges"][0]["pivoted"]
    assert_data(vm)
    assert ctl.ok("check", "vm")["problems"] == []


def test_second_interrupt_cancels(merged):
    vm, ctl = merged
    started = ctl.start("commit", "vm", "--pivot", "--speed", "4K")
    process.wait_until(lambda: vm.monitor().execute("query-jobs"), 60, "the job")
    started.send_signal(signal.SIGINT)
    process.wait_until(lambda: started.poll() is not None or started.send_signal(signal.SIGINT) or
                       not vm.monitor().execute("query-jobs"), 60, "its end")  # fmt: skip
    result = finish(started)
    assert result.status == 10 and result.json["error"]["code"] == "partly", result
    assert not result.json["merges"][0]["merged"]
    assert_data(vm)
    assert ctl.ok("jobs", "vm")["jobs"] == [] and ctl.ok("check", "vm")["problems"] == []


@pytest.mark.parametrize("speed", ["fast", "10X", "-1", "1KK", ""])
def test_speed_that_is_none_is_a_wrong_command_line(merged, speed):
    vm, ctl = merged
    assert "bytes a second" in ctl.fails(2, "commit", "vm", "--pivot", f"--speed={speed}")["message"] or speed == ""


def test_jobs_that_are_not_there_are_told_apart(merged):
    vm, ctl = merged
    assert ctl.fails(3, "job", "wait", "vm", "nothing")["code"] == "no-such-job"
    assert ctl.fails(3, "job", "pause", "vm", "nothing")["code"] == "no-such-job"
    assert ctl.fails(2, "job", "speed", "vm", "nothing")["code"] == "usage"
    assert ctl.fails(2, "job", "dance", "vm", "nothing")["code"] == "usage"
