"""Mirrors that are interrupted, taken over, held up, or whose QEMU or monitor goes away: what goes on, what is taken
back, and what the next command makes of it."""
import contextlib
import signal
import time

import pytest
from test_exec import WORDS
from test_merge_killed import Again, Struck

from support import disks, images, process
from support.chainctl import finish
from support.chains import REGION, assert_sound, fill, reads
from support.merges import await_jobs, unleash
from support.mirrors import assert_copied, await_progress, leaves_nothing
from support.proxy import Proxy

NAMES = ("vda", "vdb")
SLOW = 64 * 1024  # bytes a second
AT_ONCE = 5  # seconds, on a machine that is busy
WINDOW = 10  # seconds, after which a copy of which as much is left as ever is thought never to end


@pytest.fixture
def copies(tmp_path):
    (tmp_path / "copies").mkdir()
    return tmp_path / "copies"


@pytest.fixture
def vm(folder):
    """Two disks; started by `exec` once it is given a ctl."""
    with Again(disks.two(folder)[0], paused=False) as made:
        yield made


@pytest.fixture
def ctl(chainctl, vm):
    ctl = chainctl()
    disks.register(ctl, vm)
    for name in NAMES:
        fill(vm, name, 1, 0, 12)
    return ctl


@contextlib.contextmanager
def started(ctl, vm, copies, *words):
    """A mirror that has begun and would take long; it is ended behind the block at the latest."""
    running = ctl.start("mirror", "vm", "--to", copies, "--speed", str(SLOW), *words)
    try:
        await_jobs(vm, 2, "running")
        yield running
    finally:
        if running.poll() is None:
            running.kill()
        running.communicate()


def assert_all_copied(vm, copies):
    for name in NAMES:
        assert_copied(vm.monitor().chain(name)[0], copies / f"{name}.qcow2")


def states(ctl):
    return [one["state"] for one in ctl.ok("log", "vm")["operations"] if one["verb"] == "mirror"]


# ---- Ctrl-C, job … ----


def test_first_interrupt_lets_it_go_on_and_it_is_waited_for(vm, ctl, copies):
    with leaves_nothing(vm):
        with started(ctl, vm, copies) as running:
            running.send_signal(signal.SIGINT)
            result = finish(running)
        assert result.status == 8, result
        op = result.json["op"]
        assert f"chainctl job wait vm {op[:8]}" in result.json["error"]["hint"]
        assert {mirror["state"] for mirror in result.json["mirrors"]} == {"following"}
        assert states(ctl) == ["detached"] and len(result.json["jobs"]) == 2
        unleash(vm)
        done = ctl.ok("job", "wait", "vm", op)
        assert {mirror["state"] for mirror in done["mirrors"]} == {"finished"}
    assert_all_copied(vm, copies)
    assert states(ctl) == ["done"]


def test_second_interrupt_takes_it_back(vm, ctl, copies):
    with leaves_nothing(vm), started(ctl, vm, copies) as running:
        process.wait_until(lambda: running.poll() is not None or running.send_signal(signal.SIGINT), 60, "its end")
        result = finish(running)
        assert result.status == 1 and "cancelled" in result.json["error"]["message"], result
    assert list(copies.iterdir()) == [] and states(ctl) == ["undone"]
    assert_sound(ctl, vm)


@pytest.mark.parametrize("goal, last, state", [("--finish", "wait", "finished"), ("--pivot", "wait", "pivoted"),
                                               ("--pivot", "complete", "pivoted"), ("--follow", "complete", "finished")])  # fmt: skip
def test_detached_mirror_ends_as_it_was_to_be(vm, ctl, copies, goal, last, state):
    done = ctl.ok("mirror", "vm", "--to", copies, goal, "--detach")
    op = done["op"]
    assert done["consistency"] is None and len(done["jobs"]) == 2
    ended = ctl.ok("job", last, "vm", op)
    assert {mirror["state"] for mirror in ended["mirrors"]} == {state}
    for name in NAMES:
        assert vm.monitor().chain(name)[0].startswith(str(copies)) == (goal == "--pivot")
    assert_sound(ctl, vm)


def test_jobs_are_shown_slowed_paused_and_gone_on_with(vm, ctl, copies):
    with leaves_nothing(vm):
        op = ctl.ok("mirror", "vm", "--to", copies, "--speed", str(SLOW), "--detach")["op"]
        rows = ctl.ok("jobs", "vm")["jobs"]
        assert {(row["op"], row["type"], row["speed"], row["ours"]) for row in rows} == {(op, "mirror", SLOW, True)}
        assert {row["disk"] for row in rows} == set(NAMES)
        ctl.ok("job", "pause", "vm", op)
        process.wait_until(lambda: {row["status"] for row in ctl.ok("jobs", "vm")["jobs"]} == {"paused"}, 60, "a pause")
        ctl.ok("job", "resume", "vm", op)
        ctl.ok("job", "speed", "vm", op, "0")
        ctl.ok("job", "wait", "vm", op)
    assert_all_copied(vm, copies)


def test_no_other_verb_comes_between(vm, ctl, copies):
    with started(ctl, vm, copies) as running:
        for words in (("snapshot", "vm", "late"), ("commit", "vm", "--pivot"), ("mirror", "vm", "--to", copies, "--existing")):
            assert ctl.fails(6, *words)["code"] == "held"
        tree = ctl.ok("tree", "vm")
        assert {one["disk"] for one in tree["disks"]} == set(NAMES)
        unleash(vm)
        assert finish(running).status == 0
    assert_all_copied(vm, copies)


def test_member_that_somebody_else_cancels_takes_all_back(vm, ctl, copies):
    with leaves_nothing(vm), started(ctl, vm, copies) as running:
        job = vm.monitor().execute("query-jobs")[0]["id"]
        vm.monitor().execute("block-job-cancel", device=job, force=True)
        unleash(vm)
        result = finish(running)
        assert result.status == 1, result
    assert list(copies.iterdir()) == []
    assert_sound(ctl, vm)


def test_check_and_doctor_have_nothing_against_a_mirror_that_is_followed(vm, ctl, copies):
    op = ctl.ok("mirror", "vm", "--to", copies, "--follow")["op"]
    assert ctl.ok("check", "vm")["problems"] == []
    assert not [one for one in ctl.run("doctor", "vm").json["problems"] if one["severity"] == "error"]
    assert ctl.ok("recover", "vm")["recovered"] == []
    ctl.ok("job", "complete", "vm", op)
    assert_all_copied(vm, copies)


# ---- deaths ----


def again(ctl, vm):
    """The QEMU that `exec` starts, of a command line that is never edited."""
    vm.start_again(ctl)
    assert WORDS
    assert ctl.ok("recover", "vm")["recovered"] == []
    assert ctl.ok("check", "vm")["problems"] == []


@pytest.mark.parametrize("goal", ["--finish", "--pivot"])
def test_qemu_killed_mid_copy_is_where_it_was_and_the_copies_are_gone(vm, ctl, copies, folder, goal):
    with started(ctl, vm, copies, goal) as running:
        fill(vm, "vda", 9, 20)
        vm.kill()
        result = finish(running)
    assert result.status == 8, result
    again(ctl, vm)
    assert [vm.monitor().chain(name) for name in NAMES] == [[str(folder / f"{name}.qcow2")] for name in NAMES]
    reads(vm, "vda", *[1] * 12)
    vm.qemu_io("vda", f"read -P 9 {20 * REGION} {REGION}")
    assert list(copies.iterdir()) == [] and states(ctl) == ["undone"]


def test_qemu_killed_while_copies_are_followed_leaves_them(vm, ctl, copies):
    ctl.ok("mirror", "vm", "--to", copies, "--follow")
    vm.kill()
    again(ctl, vm)
    assert_all_copied(vm, copies)
    assert all(not images.check(copies / f"{name}.qcow2").get("corruptions") for name in NAMES)
    assert states(ctl) == ["done"]


@pytest.mark.parametrize("command, count, moved", [("stop", 1, False), ("job-complete", 1, False), ("job-complete", 2, False),
                                                   ("cont", 1, True), ("job-dismiss", 1, True)])  # fmt: skip
def test_qemu_killed_at_the_pivot_all_disks_are_on_this_side_of_it_or_on_the_other(vm, ctl, copies, tmp_path, command, count, moved):
    before = {name: ctl.ok("path", "vm", name)["path"] for name in NAMES}
    struck = Struck(vm, tmp_path, command, count)
    with struck.proxy():
        ctl.ok("vm", "set", "vm", "--qmp", struck.path)
        result = ctl.run("mirror", "vm", "--to", copies, "--pivot")
    assert struck.left <= 0 and result.status in ((0, 8) if moved else (1, 8, 10)), result
    vm.kill()
    vm.start_again(ctl)
    after = {name: str(copies / f"{name}.qcow2") for name in NAMES} if moved else before
    assert {name: vm.monitor().chain(name)[0] for name in NAMES} == after
    for name in NAMES:
        reads(vm, name, *[1] * 12)
        fill(vm, name, 6, 12)
    assert [path.exists() for path in (copies / "vda.qcow2", copies / "vdb.qcow2")] == [moved, moved]
    with struck.proxy():
        assert ctl.ok("check", "vm")["problems"] == []


def test_qemu_killed_after_the_pivot_goes_on_on_its_copies(vm, ctl, copies):
    ctl.ok("mirror", "vm", "--to", copies, "--pivot")
    for name in NAMES:
        fill(vm, name, 8, 13)
    vm.kill()
    again(ctl, vm)
    for name in NAMES:
        assert vm.monitor().chain(name) == [str(copies / f"{name}.qcow2")]
        reads(vm, name, *[1] * 12, 0, 8)


@pytest.mark.parametrize("last", ["wait", "cancel", "recover"])
def test_monitor_that_is_cut_off_leaves_it_to_the_next_command(vm, ctl, copies, tmp_path, last):
    address = tmp_path / "address"
    with leaves_nothing(vm):
        with Proxy(tmp_path / "tap", vm.qmp, []) as proxy:
            address.symlink_to(proxy.path)
            ctl.ok("vm", "set", "vm", "--qmp", address)
            with started(ctl, vm, copies) as running:
                begun = time.monotonic()
                proxy.hang_up()
                result = finish(running)
        address.unlink()
        address.symlink_to(vm.qmp)
        assert time.monotonic() - begun < AT_ONCE and result.status == 8, result
        assert len(vm.monitor().execute("query-jobs")) == 2
        op = result.json["op"]
        if last == "recover":
            assert ctl.ok("recover", "vm")["recovered"] == [], "it is no work for recover: it goes on"
        unleash(vm)
        ctl.ok("job", "cancel" if last == "cancel" else "wait", "vm", op)
    if last == "cancel":
        assert list(copies.iterdir()) == []
    else:
        assert_all_copied(vm, copies)


def test_chainctl_killed_mid_copy_is_taken_back_by_the_next_command(vm, ctl, copies):
    with leaves_nothing(vm):
        with started(ctl, vm, copies) as running:
            running.kill()
            running.wait()
        [entry] = ctl.ok("recover", "vm")["recovered"]
        assert (entry["verb"], entry["outcome"]) == ("mirror", "undone")
    assert list(copies.iterdir()) == []
    ctl.ok("mirror", "vm", "--to", copies)
    assert_all_copied(vm, copies)


def test_progress_is_told_while_it_copies(vm, ctl, copies):
    running = ctl.start("mirror", "vm", "--to", copies, "--speed", "256K", "--progress=json")
    await_progress(vm, 2)
    unleash(vm)
    result = finish(running)
    assert result.status == 0 and '"disk":"vdb"' in result.err.replace(" ", ""), result


def test_copy_that_is_only_slow_keeps_its_limit_and_nothing_is_said(vm, ctl, copies):
    with started(ctl, vm, copies) as running:
        time.sleep(WINDOW + 1)
        assert {job["speed"] for job in vm.monitor().execute("query-block-jobs")} == {SLOW}
        unleash(vm)
        result = finish(running)
        assert result.status == 0 and result.json["warnings"] == [], result


def test_pivot_that_qemu_refuses_for_one_disk_is_recorded_for_the_other(vm, ctl, copies, tmp_path):
    def cancel_the_other(command, document):
        job = document.get("arguments", {}).get("id", "")
        if command == "job-complete" and job.endswith("-0j"):
            other = job.removesuffix("-0j") + "-1j"
            vm.monitor().execute("block-job-cancel", device=other, force=True)
            process.wait_until(lambda: [one for one in vm.monitor().execute("query-jobs")
                                        if one["id"] == other and one["status"] == "concluded"], 60, "the job to end")  # fmt: skip

    before = vm.monitor().chain("vdb")
    with Proxy(tmp_path / "tap", vm.qmp, [], before=cancel_the_other) as proxy:
        ctl.ok("vm", "set", "vm", "--qmp", proxy.path)
        result = ctl.run("mirror", "vm", "--to", copies, "--pivot")
        assert (result.status, result.json["error"]["code"]) == (10, "partly"), result
        ctl.ok("vm", "set", "vm", "--qmp", vm.qmp)
    assert [one["disk"] for one in result.json["active"]] == ["vda"]
    assert vm.monitor().chain("vda") == [str(copies / "vda.qcow2")] and vm.monitor().chain("vdb") == before
    assert vm.monitor().execute("query-jobs") == [] and not (copies / "vdb.qcow2").exists()
    assert vm.monitor().execute("query-status")["running"]
    assert ctl.ok("check", "vm")["problems"] == []
    kept = ctl.ok("list", "vm")["snapshots"][-1]
    assert kept["automatic"] and [disk["disk"] for disk in kept["disks"]] == ["vda"]
    for name in NAMES:
        reads(vm, name, *[1] * 12)


@pytest.mark.parametrize("goal, ends", [("--finish", "block-job-cancel"), ("--pivot", "job-complete"), ("--follow", "block-job-cancel")])
def test_dry_run_tells_what_would_be_said_to_jobs_and_says_nothing(vm, ctl, copies, goal, ends):
    op = ctl.ok("mirror", "vm", "--to", copies, goal, "--detach", "--speed", str(SLOW))["op"]
    before = {job["id"]: job["status"] for job in vm.monitor().execute("query-jobs")}
    for verb, said in (("wait", ends if goal != "--follow" else None), ("complete", ends), ("cancel", "block-job-cancel"),
                       ("pause", "job-pause"), ("resume", "job-resume")):  # fmt: skip
        plan = ctl.ok("job", verb, "vm", op, "--dry-run")["plan"]
        assert [entry["execute"] for entry in plan if entry["arguments"]] == [said] * 2 if said else plan == [], verb
        assert {job["id"]: job["status"] for job in vm.monitor().execute("query-jobs")} == before, verb
    assert sorted(path.name for path in copies.iterdir()) == ["vda.qcow2", "vdb.qcow2"]
    ctl.ok("job", "cancel", "vm", op)


def test_progress_says_that_somebody_has_paused_it(vm, ctl, copies):
    with started(ctl, vm, copies, "--progress=json") as running:
        job = vm.monitor().execute("query-jobs")[0]["id"]
        vm.monitor().execute("job-pause", id=job)
        process.wait_until(lambda: '"paused"' in running.stderr.readline(), 60, "the phase")
        vm.monitor().execute("job-resume", id=job)
        unleash(vm)
        assert finish(running).status == 0
