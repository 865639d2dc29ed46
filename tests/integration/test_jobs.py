"""`jobs` and `job …` on a running QEMU: what is ours and what is not, and who is told what while one is at work."""
import contextlib
import pathlib
import signal
import time

import pytest

from support import disks, images, process
from support.chainctl import finish
from support.chains import assert_sound, chained, reads
from support.merges import held_up
from support.qmp import Qmp

MERGES = [("commit", "vm", "--pivot"), ("commit", "vm", "--top", "three"), ("stream", "vm")]
OTHERS = [("snapshot", "vm", "late"), ("rollback", "vm", "one", "--reset", "never"), ("commit", "vm", "--pivot"), ("stream", "vm"),
          ("vm", "rescan", "vm", "--accept")]  # fmt: skip


@pytest.fixture
def two(qemu, chainctl, folder):
    """(vm, ctl): two disks with three snapshots."""
    vm, ctl = qemu(disks.two(folder)[0], paused=False), chainctl()
    chained(ctl, vm, count=4)
    return vm, ctl


def assert_data(vm):
    for disk in ("vda", "vdb"):
        reads(vm, disk, *(pattern for pattern in (1, 2, 3, 9) for _ in range(4)))


def jobs(vm):
    return {job["id"]: job["status"] for job in vm.monitor().execute("query-jobs")}


def foreign(vm):
    """A backup of vda that is none of ours, and that takes for ever."""
    monitor = vm.monitor()
    monitor.execute("blockdev-add", driver="null-co", node_name="null", size=8 << 20, read_zeroes=True)
    node = disks.inserted(vm, "vda")["node-name"]
    monitor.execute("blockdev-backup", job_id="theirs", device=node, target="null", sync="full", speed=1)


@pytest.mark.parametrize("words", MERGES, ids=" ".join)
def test_vm_is_held_while_a_merge_of_ours_goes_on_without_a_process(two, folder, words):
    vm, ctl = two
    op = ctl.ok(*words, "--detach", "--speed", "64K")["op"]
    ours = ctl.ok("jobs", "vm")["jobs"]
    assert [(job["disk"], job["op"], job["ours"], job["speed"]) for job in ours] == [("vda", op, True, 65536), ("vdb", op, True, 65536)]
    assert {job["type"] for job in ours} == {words[0]}
    for other in OTHERS:
        error = ctl.fails(6, *other)
        assert error["code"] == "held" and op in error["message"] + (error["hint"] or ""), (other, error)
    assert len(jobs(vm)) == 2
    ctl.ok("job", "cancel", "vm", op)
    assert_data(vm)
    assert_sound(ctl, vm)


@pytest.mark.parametrize("words", MERGES, ids=" ".join)
def test_vm_is_held_while_a_process_merges(two, words):
    vm, ctl = two
    with held_up(ctl, vm, *words, count=2) as held:
        for other in (*OTHERS, ("job", "wait", "vm", next(iter(jobs(vm))))):
            assert ctl.fails(6, *other)["code"] == "held"
    assert held.result.status == 0, held.result
    assert_data(vm)


def test_job_is_paused_goes_on_and_gets_another_speed_under_its_own_name(two):
    vm, ctl = two
    op = ctl.ok("stream", "vm", "--detach", "--speed", "64K")["op"]
    first, second = sorted(jobs(vm))
    ctl.ok("job", "pause", "vm", first)
    assert jobs(vm) == {first: "paused", second: "running"}
    assert [job["status"] for job in ctl.ok("jobs", "vm")["jobs"]] == ["paused", "running"]
    ctl.ok("job", "resume", "vm", first)
    assert jobs(vm) == {first: "running", second: "running"}
    ctl.ok("job", "speed", "vm", second, "128K")
    assert [job["speed"] for job in ctl.ok("jobs", "vm")["jobs"]] == [65536, 131072]
    assert {job["device"]: job["speed"] for job in vm.monitor().execute("query-block-jobs")} == {first: 65536, second: 131072}
    ctl.ok("job", "pause", "vm", op)
    assert set(jobs(vm).values()) <= {"paused", "standby"}
    ctl.ok("job", "resume", "vm", op[:8])
    ctl.ok("job", "speed", "vm", op, "0")
    ctl.ok("job", "wait", "vm", op)
    assert len(vm.monitor().chain("vda")) == len(vm.monitor().chain("vdb")) == 1
    assert_data(vm)
    assert_sound(ctl, vm)


def test_member_that_is_completed_or_cancelled_takes_the_whole_operation_with_it(two):
    vm, ctl = two
    op = ctl.ok("commit", "vm")["op"]
    first, second = sorted(jobs(vm))
    done = ctl.ok("job", "complete", "vm", second)
    assert [merge["pivoted"] for merge in done["merges"]] == [True, True] and jobs(vm) == {}
    assert ctl.fails(3, "job", "wait", "vm", op)["code"] == "no-such-job"
    ctl.ok("snapshot", "vm", "next")
    ctl.ok("commit", "vm")
    ctl.ok("job", "cancel", "vm", sorted(jobs(vm))[0])
    assert jobs(vm) == {} and len(vm.monitor().chain("vdb")) == 2
    assert_data(vm)
    assert_sound(ctl, vm)


def test_job_of_somebody_else_is_shown_as_theirs_and_left_alone(two, folder):
    vm, ctl = two
    foreign(vm)
    [job] = ctl.ok("jobs")["jobs"]
    assert (job["vm"], job["disk"], job["job"], job["op"], job["type"], job["ours"]) == ("vm", None, "theirs", None, "backup", False)
    for words in OTHERS:
        error = ctl.fails(9, *words)
        assert error["code"] == "refused" and "'theirs'" in error["message"], (words, error)
    assert ctl.ok("recover", "vm")["recovered"] == []
    assert list(jobs(vm)) == ["theirs"]
    assert_data(vm)


def rooted(vm, disk):
    return disks.inserted(vm, disk)["node-name"]


THEIRS = {
    "backup": lambda vm, chain: vm.monitor().execute("blockdev-backup", job_id="theirs", device=rooted(vm, "vdb"), target="null", sync="full", speed=1),
    "mirror": lambda vm, chain: vm.monitor().execute("blockdev-mirror", job_id="theirs", device=rooted(vm, "vdb"), target="null", sync="full", speed=1),
    "stream": lambda vm, chain: vm.monitor().execute("block-stream", job_id="theirs", device=rooted(vm, "vdb"), speed=1),
    "commit": lambda vm, chain: vm.monitor().execute("block-commit", job_id="theirs", device=rooted(vm, "vdb"), top=chain[1], base=chain[2], speed=1),
    "commit of the active image": lambda vm, chain: vm.monitor().execute("block-commit", job_id="theirs", device=rooted(vm, "vdb"), speed=1),
}  # fmt: skip
AT = {"commit": 2, "commit of the active image": 3}  # how far below the active image it is shown; else there
ARROWS = {"stream": "⇡", "commit": "⇣"}


@pytest.mark.parametrize("kind", THEIRS)
def test_tree_shows_a_job_of_somebody_else_at_the_image_that_it_works_on(two, kind):
    vm, ctl = two
    vm.monitor().execute("blockdev-add", driver="null-co", node_name="null", size=8 << 20, read_zeroes=True)
    chain, type_ = vm.monitor().chain("vdb"), kind.split()[0]
    at = chain[AT.get(kind, 0)]
    assert ctl.ok("tree", "vm")["jobs_of_others"] == []
    THEIRS[kind](vm, chain)
    before = vm.monitor().execute("query-jobs"), disks.nodes(vm)
    told = ctl.ok("tree", "vm")
    [job] = told["jobs_of_others"]
    assert [job[key] for key in ("vm", "disk", "path", "job", "op", "type", "ours")] == ["vm", "vdb", at, "theirs", None, type_, False]
    assert all(image["job"] is None for tree in told["disks"] for image in tree["images"])
    drawn = [line for line in ctl.run("tree", "vm", json_output=False).out.splitlines() if "not ours" in line]
    [line] = drawn
    assert f"{ARROWS.get(type_, '⇢')} {type_}" in line and pathlib.Path(at).name[:12] in line
    jobs_now, nodes_now = vm.monitor().execute("query-jobs"), disks.nodes(vm)
    assert [one["id"] for one in jobs_now] == [one["id"] for one in before[0]] and nodes_now == before[1]


def test_tree_shows_a_job_of_somebody_else_beside_one_of_ours(two):
    vm, ctl = two
    op = ctl.ok("commit", "vm", "--disk", "vda")["op"]
    monitor = vm.monitor()
    monitor.execute("blockdev-add", driver="null-co", node_name="null", size=8 << 20, read_zeroes=True)
    monitor.execute("blockdev-backup", job_id="theirs", device=rooted(vm, "vdb"), target="null", sync="full", speed=1)
    told = ctl.ok("tree", "vm")
    assert {image["job"]["op"] for tree in told["disks"] for image in tree["images"] if image["job"]} == {op}
    assert [(job["job"], job["disk"]) for job in told["jobs_of_others"]] == [("theirs", "vdb")]
    monitor.execute("block-job-cancel", device="theirs", force=True)
    ctl.ok("job", "complete", "vm", op)


def test_tree_tells_of_a_job_that_is_at_no_image(two, folder):
    vm, ctl = two
    options = {"driver": "file", "filename": str(folder / "new"), "size": 0}
    vm.monitor().execute("blockdev-create", job_id="theirs", options=options)
    [job] = ctl.ok("tree", "vm")["jobs_of_others"]
    assert (job["job"], job["type"], job["disk"], job["path"]) == ("theirs", "create", None, None)
    assert ctl.run("tree", "vm", json_output=False).out.splitlines()[-1].startswith("theirs: ⇢ create")


def test_tree_does_not_wait_for_a_monitor_that_somebody_else_holds(two):
    vm, ctl = two
    foreign(vm)
    with contextlib.closing(Qmp(vm.qmp)):
        begun = time.monotonic()
        assert ctl.ok("tree", "vm", "--timeout", "30")["jobs_of_others"] == []
        assert time.monotonic() - begun < 5
    assert [job["disk"] for job in ctl.ok("tree", "vm")["jobs_of_others"]] == ["vda"]


def test_job_of_somebody_else_is_steered_where_it_is_named(two):
    vm, ctl = two
    foreign(vm)
    [paused] = ctl.ok("job", "pause", "vm", "theirs")["jobs"]
    assert jobs(vm) == {"theirs": "paused"} and paused["status"] == "paused"
    assert [job["status"] for job in ctl.ok("job", "resume", "vm", "theirs")["jobs"]] == ["running"]
    assert [job["speed"] for job in ctl.ok("job", "speed", "vm", "theirs", "2M")["jobs"]] == [2 << 20]
    ctl.ok("job", "wait", "vm", "theirs")
    assert jobs(vm) == {}
    ctl.ok("snapshot", "vm", "next")


def test_jobs_of_all_vms_are_listed_and_one_that_does_not_answer_is_told(two, folder, tmp_path):
    vm, ctl = two
    path = images.create(folder / "other.qcow2", "8M")
    ctl.ok("vm", "add", "other", "--qmp", tmp_path / "nobody", "--disk", f"vda={path}")
    ctl.ok("commit", "vm")
    listed = ctl.ok("jobs")
    assert {job["vm"] for job in listed["jobs"]} == {"vm"} and listed["warnings"] == []
    assert ctl.ok("jobs", "other")["jobs"] == []
    vm.process.send_signal(signal.SIGSTOP)
    try:
        listed = ctl.ok("jobs", "--timeout", "1")
        assert listed["jobs"] == [] and [warning["code"] for warning in listed["warnings"]] == ["not-asked"]
    finally:
        vm.process.send_signal(signal.SIGCONT)


def test_end_of_qemu_ends_the_waiting_at_once(two):
    vm, ctl = two
    op = ctl.ok("commit", "vm", "--pivot", "--detach", "--speed", "1K")["op"]
    started = ctl.start("job", "wait", "vm", op)
    process.wait_until(lambda: ctl.ok("log", "vm")["operations"][-1]["state"] == "open", 60, "it to be waited for")
    vm.kill()
    result = finish(started, timeout=10)
    assert result.status == 8 and result.json["op"] == op, result
    assert "QEMU is gone" in result.json["error"]["message"], result
    ctl.ok("recover", "vm")
    assert ctl.ok("jobs", "vm")["jobs"] == []


WHOLE = [("wait",), ("complete",), ("cancel",)]
STEPS = [("pause",), ("resume",), ("speed", "1M")]


@pytest.mark.parametrize("words", [*MERGES, ("commit", "vm")], ids=" ".join)
def test_dry_run_tells_what_would_be_said_to_jobs_and_says_nothing(two, words):
    vm, ctl = two
    op = ctl.ok(*words, "--detach", "--speed", "64K")["op"]
    before, log = vm.monitor().execute("query-jobs"), ctl.ok("log", "vm")["operations"]
    for verb, *more in WHOLE + STEPS:
        plan = ctl.ok("job", verb, "vm", op, *more, "--dry-run")["plan"]
        named = [entry for entry in plan if {op[:8] in str(value) or "cc-" in str(value) for value in entry["arguments"].values()} & {True}]
        assert len(named) == (0 if words == ("commit", "vm") and verb == "wait" else 2), (verb, plan)
        assert {job["id"]: job["status"] for job in before} == jobs(vm), verb
    assert ctl.ok("log", "vm")["operations"] == log
    ctl.ok("job", "cancel", "vm", op)
    assert_data(vm)


def test_dry_run_leaves_the_job_of_somebody_else_alone(two):
    vm, ctl = two
    foreign(vm)
    for verb, *more in WHOLE + STEPS:
        ctl.ok("job", verb, "vm", "theirs", *more, "--dry-run")
        assert jobs(vm) == {"theirs": "running"}, verb
    assert [job["speed"] for job in vm.monitor().execute("query-block-jobs")] == [1]


def test_job_of_somebody_else_that_is_over_is_in_nobodys_way_and_can_be_forgotten(two, folder):
    vm, ctl = two
    vm.monitor().execute("blockdev-create", job_id="made", options={"driver": "file", "filename": str(folder / "it.raw"), "size": 1 << 20})
    process.wait_until(lambda: jobs(vm) == {"made": "concluded"}, 60, "its end")
    ctl.ok("snapshot", "vm", "next")
    assert jobs(vm) == {"made": "concluded"}
    assert ctl.ok("job", "cancel", "vm", "made")["jobs"] == [] and jobs(vm) == {}
