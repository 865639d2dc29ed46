"""Two operations on one VM: the second is told who holds it, or waits; readers are never kept waiting."""
import contextlib
import fcntl
import os
import re
import threading
import time

import pytest

from support import images, process
from support.chainctl import finish
from support.qmp import connect_unix

from cli_vm import disk_words, file_names, point_at
from peers import says


@contextlib.contextmanager
def held(vm, holder=None):
    """The VM's lock, held by this process; its note names this process or another holder."""
    with open(vm.chainctl.state_dir / "locks/vm1.lock", "r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.truncate(0)
        lock.write(f"{holder or os.getpid()} snapshot 2026-01-02T03:04:05.000000Z\n")
        lock.flush()
        yield lock


def test_verb_on_a_vm_that_is_held_is_exit_6_at_once_and_changes_nothing(vm):
    vm.chainctl.ok("snapshot", "vm1", "first")
    before = vm.untouched()
    with held(vm):
        started = time.monotonic()
        for words in (["snapshot", "vm1", "s"], ["vm", "remove", "vm1"]):
            error = vm.chainctl.fails(6, *words, "--timeout", "60")
            assert "vm1" in error["message"]
        assert time.monotonic() - started < 2
    assert vm.untouched() == before


@pytest.mark.parametrize("verb", ["snapshot", "vm remove", "vm add"])
def test_who_holds_the_vm_and_since_when_is_told(vm, verb):
    """The holder is another chainctl, whose monitor says nothing."""
    with says() as silent:
        point_at(vm, silent.path)
        words = {"snapshot": ["snapshot", "vm1"], "vm remove": ["vm", "remove", "vm1"], "vm add": ["vm", "add", "new", "--qmp", silent.path]}[verb]
        lock = vm.chainctl.state_dir / "locks" / ("new.lock" if verb == "vm add" else "vm1.lock")
        holder = vm.chainctl.start(*words, "--timeout", "60")
        try:
            process.wait_until(lambda: is_held(lock) or holder.poll() is not None, 60, "the lock")
            if holder.poll() is not None:
                pytest.skip(f"{verb} does not wait for the monitor")
            error = vm.chainctl.fails(6, *words, "--timeout", "1")
        finally:
            holder.terminate()
            holder.communicate(timeout=60)
    assert f"'{verb}'" in error["message"] or f" {verb} " in error["message"], error
    assert str(holder.pid) in error["message"] and re.search(r"since \d{4}-\d\d-\d\d", error["message"]), error


def is_held(lock):
    """Whether somebody has the lock, without keeping it from anybody for long."""
    if not lock.exists():
        return False
    with open(lock) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@pytest.mark.parametrize("options", [[], ["--wait=1"]], ids=["at once", "--wait=1"])
def test_lock_that_outlives_the_process_in_its_note_is_exit_6_too(vm, options):
    """A helper of a chainctl that was killed may hold on to the lock; nobody waits for it for ever."""
    gone = process.spawn(["/bin/true"])
    gone.wait()
    with held(vm, gone.pid):
        vm.chainctl.fails(6, "snapshot", "vm1", "s", *options, timeout=6)


@pytest.mark.parametrize("note", [b"", b"\xff\xfe\x00garbage\x1b[31m", b"x" * 100_000, b"1 2 3", b"\n\n\n"], ids=["empty", "garbage", "long", "short", "blank"])
def test_lock_whose_note_is_garbage_is_still_exit_6(vm, note):
    with held(vm) as lock:
        lock.truncate(0)
        lock.buffer.write(note)
        lock.buffer.flush()
        result = vm.chainctl.run("snapshot", "vm1", "s")
        assert result.status == 6 and result.json["error"]["message"], result
        assert len(result.out) < 5000
        human = vm.chainctl.run("snapshot", "vm1", "s", json_output=False)
        assert human.status == 6 and "\x1b" not in human.err, human


@pytest.mark.parametrize("words", [["list", "vm1"], ["show", "vm1", "first"], ["tree", "vm1"], ["path", "vm1", "vda"], ["log", "vm1"],
                                   ["vm", "list"], ["vm", "show", "vm1"]], ids=" ".join)  # fmt: skip
def test_reader_does_not_need_the_lock(vm, words):
    vm.chainctl.ok("snapshot", "vm1", "first")
    with held(vm):
        started = time.monotonic()
        assert vm.chainctl.ok(*words, "--timeout", "60")
        assert time.monotonic() - started < 5


@pytest.mark.parametrize("option", ["--wait=1", "--wait=0.5"])
def test_wait_of_some_seconds_ends_in_exit_6(vm, option):
    with held(vm):
        started = time.monotonic()
        result = vm.chainctl.run("snapshot", "vm1", "s", option)
        if option == "--wait=0.5" and result.status == 2:
            pytest.skip("whole seconds only")
        assert result.status == 6, result
        assert float(option[7:]) * 0.9 < time.monotonic() - started < float(option[7:]) + 2


@pytest.mark.parametrize("options", [["--wait"], ["--wait=60"], ["--wait", "--timeout=1"]], ids=" ".join)
def test_wait_goes_on_as_soon_as_the_lock_is_free(vm, options):
    with held(vm) as lock:
        started = time.monotonic()
        release = threading.Timer(1.3, lambda: fcntl.flock(lock, fcntl.LOCK_UN))
        release.start()
        document = vm.chainctl.ok("snapshot", "vm1", "s", *options)
        release.join()
    assert document["snapshot"]["name"] == "s"
    assert 1.2 < time.monotonic() - started < 5


def test_lock_of_one_vm_does_not_hold_another(vm, qemu):
    other = qemu(disk_words({"vda": images.create(vm.folder / "other.qcow2", "1M")}))
    with held(vm):
        vm.chainctl.ok("vm", "add", "other", "--qmp", other.qmp)
        vm.chainctl.ok("snapshot", "other", "s")


def test_many_snapshots_at_once_with_wait_all_succeed_one_after_another(vm):
    started = [vm.chainctl.start("snapshot", "vm1", f"s{number}", "--wait") for number in range(6)]
    results = [finish(one) for one in started]
    assert [result.status for result in results] == [0] * 6, results
    told = vm.chainctl.ok("list", "vm1")["snapshots"]
    assert sorted(snapshot["name"] for snapshot in told) == [f"s{number}" for number in range(6)]
    assert [snapshot["created"] for snapshot in told] == sorted(snapshot["created"] for snapshot in told)
    assert len(vm.qemu.monitor().chain("vda")) == 7
    assert vm.chainctl.ok("check", "vm1")["problems"] == []


def test_many_snapshots_at_once_without_wait_are_done_or_exit_6_and_nothing_between(vm):
    results = [finish(one) for one in [vm.chainctl.start("snapshot", "vm1", f"s{number}") for number in range(6)]]
    assert {result.status for result in results} <= {0, 6}, results
    done = [result.json["snapshot"]["name"] for result in results if result.status == 0]
    assert done and sorted(done) == sorted(s["name"] for s in vm.chainctl.ok("list", "vm1")["snapshots"])
    assert len(vm.qemu.monitor().chain("vda")) == len(done) + 1
    assert file_names(vm.folder) == vm.files_of(done), "something of a snapshot that was refused is left"


def test_same_name_at_once_is_taken_once(vm):
    results = [finish(one) for one in [vm.chainctl.start("snapshot", "vm1", "same", "--wait") for _ in range(4)]]
    assert sorted(result.status == 0 for result in results) == [False, False, False, True], results
    assert len(vm.qemu.monitor().chain("vda")) == 2


def test_default_names_at_once_are_all_different(vm):
    results = [finish(one) for one in [vm.chainctl.start("snapshot", "vm1", "--wait") for _ in range(4)]]
    assert [result.status for result in results] == [0] * 4, results
    assert len({result.json["snapshot"]["name"] for result in results}) == 4


def test_readers_beside_a_writer_never_fail(vm):
    vm.chainctl.ok("snapshot", "vm1", "first")
    writer = vm.chainctl.start("snapshot", "vm1", "second")
    readers = [vm.chainctl.start(*words) for words in (["list", "vm1"], ["tree", "vm1"], ["log", "vm1"], ["check", "vm1"], ["path", "vm1", "vda"],
                                                       ["vm", "list"], ["vm", "show", "vm1"]) for _ in range(2)]  # fmt: skip
    statuses = [finish(one).status for one in readers]
    assert finish(writer).status == 0
    assert statuses == [0] * len(statuses)


def test_vm_added_twice_at_once_is_registered_once(qemu, chainctl, image_folder):
    made = qemu(disk_words({"vda": images.create(image_folder / "vda.qcow2", "1M")}))
    results = [finish(one) for one in [chainctl().start("vm", "add", "vm1", "--qmp", made.qmp, "--wait") for _ in range(4)]]
    assert sorted(result.status == 0 for result in results) == [False, False, False, True], results
    assert all(result.json["error"]["message"] for result in results if result.status)
    assert len(chainctl().ok("vm", "list")["vms"]) == 1


def test_monitor_that_another_client_holds_is_exit_4(vm):
    """QEMU serves one client of a monitor; a second one hears nothing."""
    before = vm.untouched()
    with contextlib.closing(connect_unix(vm.qemu.qmp, 5)) as client:
        assert client.recv(10) == b'{"QMP": {"'
        started = time.monotonic()
        error = vm.chainctl.fails(4, "snapshot", "vm1", "s", "--timeout", "1")
        assert time.monotonic() - started < 5
        assert str(vm.qemu.qmp) in error["message"] or "vm1" in error["message"]
        assert vm.chainctl.ok("list", "vm1", "--timeout", "1")["snapshots"] == []
        told = vm.chainctl.ok("vm", "list", "--timeout", "1")["vms"]
        assert told[0]["state"] == "unreachable"
        path = vm.chainctl.run("path", "vm1", "vda", "--timeout", "1", json_output=False)
        assert path.status == 4 and path.out == "", path
    assert vm.untouched() == before
