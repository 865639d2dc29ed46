"""What `doctor` says of jobs: copies that nobody waits for, that stand still or get nowhere, what was left behind, and
jobs of somebody else. Each finding names what is to be done, and that is done."""
import os
import re
import shlex
import signal
import time

import pytest
from test_merge_killed import Again
from test_merge_room import RESERVE

from support import disks, images, process
from support.chainctl import finish
from support.chains import assert_sound, fill
from support.mirrors import assert_copied, await_progress, leaves_nothing
from support.mounts import ext4, occupy
from support.nbd import Nbdkit, QemuNbd
from support.proxy import Proxy

NAMES = ("vda", "vdb")
# What is always so with the rig's QEMU and host, and not of jobs.
OURS = {"busy", "mirror-followed", "mirror-server-away", "operation-ready", "operation-detached", "operation-over",
        "operation-unfinished", "job-without-room", "job-paused", "job-ended", "not-converging", "file-left-over",
        "node-left-over"}  # fmt: skip


@pytest.fixture
def copies(tmp_path):
    (tmp_path / "copies").mkdir()
    return tmp_path / "copies"


@pytest.fixture
def vm(folder):
    """Two disks of 8 MiB; it can be started again by `exec`."""
    with Again(disks.two(folder)[0], paused=False) as made:
        yield made


@pytest.fixture
def ctl(chainctl, vm):
    ctl = chainctl()
    disks.register(ctl, vm)
    for name in NAMES:
        fill(vm, name, 1, 0, 12)
    return ctl


def found(ctl, *words):
    """{code: problem} of what `doctor` says of jobs; each code once."""
    result = ctl.run("doctor", "vm", *words)
    assert result.status in (0, 7), result
    problems = [problem for problem in result.json["problems"] if problem["code"] in OURS]
    assert len(problems) == len({problem["code"] for problem in problems}), problems
    assert (result.status == 7) == any(problem["severity"] == "error" for problem in result.json["problems"])
    return {problem["code"]: problem for problem in problems}


def follow(ctl, problem, what):
    """Runs the command of that finding's repair in which the word `what` is."""
    [words] = [shlex.split(words) for words in re.findall("`([^`]*)`", problem["repair"]) if what in words.split()]
    assert words[0] == "chainctl"
    return ctl.ok(*words[1:])


def statuses(vm):
    return {job["status"] for job in vm.monitor().execute("query-jobs")}


def await_status(vm, *status):
    process.wait_until(lambda: statuses(vm) == set(status), 60, " ".join(status))


# ---- copies that nobody waits for ----


def test_followed_mirror_is_told_with_since_when_and_how_it_ends(vm, ctl, copies):
    op = ctl.ok("mirror", "vm", "--to", copies, "--follow")["op"]
    told = found(ctl)
    assert set(told) == {"mirror-followed"}
    problem = told["mirror-followed"]
    assert problem["severity"] == "warning" and (problem["disk"], problem["path"]) == (None, None)
    assert op in problem["message"] and "'vda', 'vdb'" in problem["message"]
    assert re.search(r"in step since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}, \d+ s ago", problem["message"])
    ended = follow(ctl, problem, "complete")
    assert {mirror["state"] for mirror in ended["mirrors"]} == {"finished"}
    for name in NAMES:
        assert_copied(vm.monitor().chain(name)[0], copies / f"{name}.qcow2")
    assert found(ctl) == {}


def test_followed_mirror_of_one_disk_names_disk_and_copy_and_can_be_given_up(vm, ctl, copies):
    with leaves_nothing(vm):
        ctl.ok("mirror", "vm", "--to", copies / "copy.qcow2", "--follow", "--disk", "vdb")
        problem = found(ctl)["mirror-followed"]
        assert (problem["disk"], problem["path"]) == ("vdb", str(copies / "copy.qcow2"))
        follow(ctl, problem, "cancel")
    assert list(copies.iterdir()) == [] and found(ctl) == {}


def test_detached_operation_is_told_while_it_copies_and_once_it_is_ready(vm, ctl, copies):
    for name in NAMES:
        fill(vm, name, 2, 0, 64)
    op = ctl.ok("mirror", "vm", "--to", copies, "--detach", "--speed", "64K")["op"]
    told = found(ctl)
    assert set(told) == {"operation-detached"} and op in told["operation-detached"]["message"]
    ctl.ok("job", "speed", "vm", op, "0")
    await_status(vm, "ready")
    told = found(ctl)
    assert set(told) == {"operation-ready"} and op in told["operation-ready"]["message"]
    ended = follow(ctl, told["operation-ready"], "complete")
    assert {mirror["state"] for mirror in ended["mirrors"]} == {"finished"}


def test_commit_that_waits_to_be_ended_is_told(vm, ctl):
    ctl.ok("snapshot", "vm", "one")
    fill(vm, "vda", 2)
    ctl.ok("commit", "vm")
    told = found(ctl)
    assert set(told) == {"operation-ready"} and "commit" in told["operation-ready"]["message"]
    assert all(merge["pivoted"] for merge in follow(ctl, told["operation-ready"], "complete")["merges"])
    assert_sound(ctl, vm)


# ---- a server that is away ----


def test_server_that_is_away_is_told_and_back_it_is_not(vm, ctl, copies):
    images.create(copies / "vda", "8M", "raw")
    with Nbdkit("file", f"dir={copies}") as server, leaves_nothing(vm):
        op = ctl.ok("mirror", "vm", "--nbd", f"unix:{server.socket}/%d", "--follow", "--disk", "vda")["op"]
        assert set(found(ctl)) == {"mirror-followed"}
        server.kill()
        told = found(ctl)
        assert set(told) == {"mirror-followed", "mirror-server-away"}
        away = told["mirror-server-away"]
        assert (away["severity"], away["disk"]) == ("error", "vda")
        assert str(server.socket) in away["message"] and f"chainctl job cancel vm {op[:8]}" in away["repair"]
        server.start()
        assert set(found(ctl)) == {"mirror-followed"}
        ctl.ok("job", "complete", "vm", op)
    assert_copied(vm.monitor().chain("vda")[0], copies / "vda", "raw")


def test_server_that_serves_one_client_alone_goes_on_serving_it(vm, ctl, copies):
    with QemuNbd(images.create(copies / "one.raw", "8M", "raw")) as server:
        op = ctl.ok("mirror", "vm", "--nbd", server.nbd, "--follow", "--disk", "vda")["op"]
        for _ in range(3):
            assert set(found(ctl)) == {"mirror-followed"}
        fill(vm, "vda", 7, 3)
        ctl.ok("job", "complete", "vm", op)
        assert_copied(vm.monitor().chain("vda")[0], server.image, "raw")


def test_copy_that_failed_is_told_and_taken_back(vm, ctl, copies):
    flag, image = copies / "flag", images.create(copies / "vda.raw", "8M", "raw")
    failing = {"filters": ("error",), "words": ("error-pwrite=EIO", "error-pwrite-rate=100%", f"error-file={flag}")}
    with Nbdkit("file", image, **failing) as server, leaves_nothing(vm):
        ctl.ok("mirror", "vm", "--nbd", server.nbd, "--follow", "--disk", "vda")
        flag.touch()
        fill(vm, "vda", 8, 2)
        await_status(vm, "concluded")
        told = found(ctl)
        assert set(told) == {"job-ended"} and told["job-ended"]["severity"] == "error"
        assert told["job-ended"]["disk"] == "vda" and "Input/output error" in told["job-ended"]["message"]
        [words] = re.findall("`chainctl ([^`]*)`", told["job-ended"]["repair"])
        ctl.fails(1, *words.split())
    assert found(ctl) == {}
    assert_sound(ctl, vm)


# ---- jobs that stand still, or get nowhere ----


def test_copy_without_room_is_told_with_where_and_goes_on(vm, folder, chainctl, tmp_path):
    (tmp_path / "conf").write_text(RESERVE)
    ctl = chainctl(env={"CHAINCTL_CONFIG": str(tmp_path / "conf")})
    disks.register(ctl, vm)
    fill(vm, "vda", 5, 0, 64)
    with ext4(tmp_path / "small", megabytes=16) as small:

        def fill_up(command, _):
            if command == "blockdev-mirror" and not (small / "filler").exists():
                occupy(small, 4096)

        with Proxy(tmp_path / "tap", vm.qmp, [], before=fill_up) as proxy:
            ctl.ok("vm", "set", "vm", "--qmp", proxy.path)
            ctl.ok("mirror", "vm", "--to", small / "copy.qcow2", "--disk", "vda", "--detach")
            stalled = lambda: [job["io-status"] for job in vm.monitor().execute("query-block-jobs")] == ["nospace"]  # noqa: E731
            process.wait_until(stalled, 60, "a job without room")
            told = found(ctl)
            assert set(told) == {"job-without-room"}
            problem = told["job-without-room"]
            assert (problem["severity"], problem["disk"], problem["path"]) == ("error", "vda", str(small))
            assert str(small) in problem["repair"]
            (small / "filler").unlink()
            follow(ctl, problem, "wait")
        assert_copied(folder / "vda.qcow2", small / "copy.qcow2")


def test_commit_without_room_is_told_with_where(qemu, chainctl, tmp_path, folder):
    (tmp_path / "conf").write_text(RESERVE)
    ctl = chainctl(env={"CHAINCTL_CONFIG": str(tmp_path / "conf")})
    with ext4(tmp_path / "small", megabytes=16) as small:
        vm = qemu(disks.blockdev("vda", images.create(small / "base.qcow2", "32M")), paused=False)
        disks.register(ctl, vm)
        ctl.ok("snapshot", "vm", "one", "--dir", folder)
        fill(vm, "vda", 3, 0, 64)

        def fill_up(command, _):
            if command == "block-commit":
                occupy(small, 4096)

        with Proxy(tmp_path / "tap", vm.qmp, [], before=fill_up) as proxy:
            ctl.ok("vm", "set", "vm", "--qmp", proxy.path)
            op = ctl.ok("commit", "vm", "--detach")["op"]
            await_status(vm, "paused")
            problem = found(ctl)["job-without-room"]
            assert (problem["disk"], problem["path"]) == ("vda", str(small))
            (small / "filler").unlink()
            follow(ctl, problem, "wait")
            ctl.ok("job", "complete", "vm", op)
            assert_sound(ctl, vm)
        vm.close()


def test_job_that_somebody_paused_is_told_and_resumed(vm, ctl, copies):
    fill(vm, "vda", 2, 0, 64)
    op = ctl.ok("mirror", "vm", "--to", copies / "copy.qcow2", "--disk", "vda", "--detach", "--speed", "64K")["op"]
    ctl.ok("job", "pause", "vm", op)
    await_status(vm, "paused")
    told = found(ctl)
    assert set(told) == {"job-paused"} and told["job-paused"]["disk"] == "vda"
    follow(ctl, told["job-paused"], "resume")
    process.wait_until(lambda: statuses(vm) <= {"running", "ready"}, 60, "it to go on")
    assert set(found(ctl)) in ({"operation-detached"}, {"operation-ready"}), "a pause cuts its wait short, so it may be done"
    ctl.ok("job", "cancel", "vm", op)


def test_copy_that_gets_nowhere_is_told_and_one_that_gets_on_is_not(qemu, chainctl, folder, copies):
    vm, ctl = qemu(disks.blockdev("vda", images.create(folder / "vda.qcow2", "256M")), paused=False), chainctl()
    disks.register(ctl, vm)
    vm.qemu_io("vda", "write -P 1 0 200M")
    op = ctl.ok("mirror", "vm", "--to", copies / "copy.qcow2", "--detach", "--speed", "8M")["op"]
    await_progress(vm)
    assert set(found(ctl)) == {"operation-detached"}
    started = ctl.start("doctor", "vm")
    region = 0
    while started.poll() is None:
        vm.qemu_io("vda", f"write -P 2 {region}M 8M")  # what is copied by now, again
        region = (region + 8) % 24
        time.sleep(0.2)
    told = {problem["code"]: problem for problem in finish(started).json["problems"]}
    assert {"operation-detached", "not-converging"} <= set(told)
    assert told["not-converging"]["severity"] == "warning" and told["not-converging"]["disk"] == "vda"
    follow(ctl, told["not-converging"], "speed")
    assert [job["speed"] for job in vm.monitor().execute("query-block-jobs")] == [0]
    ctl.ok("job", "cancel", "vm", op)


# ---- what was left behind ----


def test_mirror_whose_chainctl_died_is_recoverys(vm, ctl, copies):
    """That is told where nothing may be changed; else it is recovered first, and that is told."""
    started = ctl.start("mirror", "vm", "--to", copies, "--speed", "64K")
    await_progress(vm, 2)
    os.kill(started.pid, signal.SIGKILL)
    started.communicate()
    told = found(ctl, "--dry-run")
    assert set(told) == {"operation-unfinished", "busy"}
    assert told["operation-unfinished"]["severity"] == "error" and "mirror" in told["operation-unfinished"]["message"]
    assert told["operation-unfinished"]["repair"] == "`chainctl recover`"
    [warning] = [one for one in ctl.ok("doctor", "vm")["warnings"] if one["code"] == "recovered"]
    assert "copies" in warning["message"] and "taken back" in warning["message"]
    assert found(ctl) == {} and list(copies.iterdir()) == []


def test_mirror_whose_qemu_is_gone_is_recoverys(vm, ctl, copies):
    ctl.ok("mirror", "vm", "--to", copies, "--follow")
    vm.kill()
    told = found(ctl, "--dry-run")
    assert set(told) == {"operation-over"} and told["operation-over"]["repair"] == "`chainctl recover`"
    assert [one["outcome"] for one in ctl.ok("recover", "vm")["recovered"]] == ["finished"]
    assert found(ctl, "--dry-run") == {}


def test_member_that_somebody_else_ended_is_told(vm, ctl, copies):
    with leaves_nothing(vm):
        ctl.ok("mirror", "vm", "--to", copies / "copy.qcow2", "--disk", "vda", "--follow")
        [job] = vm.monitor().execute("query-jobs")
        vm.monitor().execute("block-job-cancel", device=job["id"], force=True)
        await_status(vm, "concluded")
        told = found(ctl)
        assert set(told) == {"job-ended"} and "ended" in told["job-ended"]["message"]
        [words] = re.findall("`chainctl ([^`]*)`", told["job-ended"]["repair"])
        ctl.fails(1, *words.split())
    assert found(ctl) == {}


# ---- somebody else's ----


def test_job_of_somebody_else_is_told_with_its_image_and_left_alone(vm, ctl, folder):
    monitor = vm.monitor()
    monitor.execute("blockdev-add", driver="null-co", node_name="null", size=8 << 20, read_zeroes=True)
    monitor.execute("blockdev-mirror", job_id="theirs", device=disks.inserted(vm, "vdb")["node-name"], target="null", sync="full", speed=1)
    before = monitor.execute("query-jobs")
    told = found(ctl)
    assert set(told) == {"busy"}
    assert (told["busy"]["disk"], told["busy"]["path"]) == ("vdb", str(folder / "vdb.qcow2"))
    assert "'theirs'" in told["busy"]["message"] and "not ours" in told["busy"]["message"]
    assert ctl.fails(9, "snapshot", "vm", "late")["code"] == "refused"
    assert monitor.execute("query-jobs") == before
    follow(ctl, told["busy"], "cancel")
    await_status(vm)
    assert found(ctl) == {}


@pytest.mark.parametrize("number, words", [(28, "want of room"), (5, "after an I/O error")], ids=["ENOSPC", "EIO"])
def test_why_a_job_of_somebody_else_stands_still_is_told(vm, ctl, folder, number, words):
    monitor = vm.monitor()
    inject = [{"event": "none", "iotype": "write", "errno": number}]
    monitor.execute("blockdev-add", driver="blkdebug", node_name="bad", image={"driver": "null-co", "size": 8 << 20}, inject_error=inject)
    monitor.execute("blockdev-mirror", job_id="theirs", device=disks.inserted(vm, "vda")["node-name"], target="bad", sync="full",
                    on_target_error="stop")  # fmt: skip
    await_status(vm, "paused")
    told = found(ctl)
    assert set(told) == {"busy"} and words in told["busy"]["message"] and told["busy"]["disk"] == "vda"
    follow(ctl, told["busy"], "cancel")
    await_status(vm)


def test_stream_of_somebody_else_that_kills_qemu_when_it_is_asked_is_told_with_what_to_do(vm, ctl):
    ctl.ok("snapshot", "vm", "one")
    top = disks.inserted(vm, "vda")["node-name"]
    vm.monitor().execute("block-stream", job_id="theirs", device=top, auto_dismiss=False)
    await_status(vm, "concluded")
    told = found(ctl)["busy"]
    assert "concluded" in told["message"] and "job-dismiss" in told["repair"]
    assert statuses(vm) == {"concluded"}


# ---- after a pivot ----


def test_guest_that_was_moved_to_a_copy_is_told_from_one_with_overlays(vm, ctl, copies, folder):
    ctl.ok("snapshot", "vm", "one", "--disk", "vdb")
    ctl.ok("mirror", "vm", "--to", copies, "--pivot", "--disk", "vda")
    ctl.ok("snapshot", "vm", "two", "--disk", "vda")
    told = {one["disk"]: one for one in ctl.ok("doctor", "vm")["problems"] if one["code"] == "old-image-on-command-line"}
    assert told["vda"]["path"] == str(folder / "vda.qcow2") and "moved the guest to a copy" in told["vda"]["message"]
    assert "spoils" not in told["vda"]["message"]
    assert "spoils the snapshots" in told["vdb"]["message"] and "copy" not in told["vdb"]["message"]
