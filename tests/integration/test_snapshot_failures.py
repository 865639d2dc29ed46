"""A snapshot that fails: nothing has changed on any disk, nothing is left, and the journal says that it was undone."""
import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

import pytest

from support import disks, images, mounts, process
from support.chainctl import finish
from support.proxy import Proxy
from support.qmp import Qmp

NOBODY = 65534


@pytest.fixture
def ctl(chainctl, vm):
    ctl = chainctl()
    disks.register(ctl, vm, "--quiesce", "off")
    return ctl


def operations(ctl):
    return [(entry["verb"], entry["state"]) for entry in ctl.ok("log", "vm")["operations"]]


def assert_works_again(vm, ctl):
    """What failed has left nothing in the way."""
    ctl.ok("snapshot", "vm", "again")
    assert len(vm.monitor().chain("vda")) == len(vm.monitor().chain("vdb")) == 2
    assert ctl.ok("check", "vm")["problems"] == []


def test_transaction_refused_for_the_second_disk_changes_neither(vm, ctl, folder):
    other = images.create(folder / "other.qcow2", None, backing=folder / "vdb.qcow2")
    monitor = vm.monitor()
    monitor.execute("blockdev-add", driver="file", node_name="of", filename=str(other))
    # A node that is somebody's backing image refuses to be snapshotted, and only the transaction itself finds out.
    monitor.execute("blockdev-add", driver="qcow2", node_name="oq", file="of", backing="vdb-format")
    with disks.unchanged(vm, folder):
        error = ctl.fails(1, "snapshot", "vm", "one")
    assert "vdb-format" in error["message"] or "backing" in error["message"]
    assert ctl.ok("list", "vm")["snapshots"] == []
    assert operations(ctl) == [("snapshot", "undone")]
    monitor.execute("blockdev-del", node_name="oq")
    assert_works_again(vm, ctl)


def test_job_of_somebody_else_on_one_disk_refuses_the_snapshot_of_all(vm, ctl, folder):
    target, monitor = images.create(folder / "target.qcow2", "8M"), vm.monitor()
    monitor.execute("blockdev-add", driver="file", node_name="tf", filename=str(target))
    monitor.execute("blockdev-add", driver="qcow2", node_name="tq", file="tf")
    vm.qemu_io("vdb", "write -P 1 0 8M")
    backup = {"job-id": "j", "device": "vdb-format", "target": "tq", "sync": "full", "speed": 65536}
    monitor.execute_raw("blockdev-backup", backup)
    before = disks.nodes(vm)
    error = ctl.fails(9, "snapshot", "vm", "one")
    assert "'j'" in error["message"]
    assert disks.nodes(vm) == before and not list(folder.glob("*.one*"))
    assert [job["id"] for job in monitor.execute("query-jobs")] == ["j"]
    monitor.execute("block-job-cancel", device="j", force=True)
    monitor.wait_event("BLOCK_JOB_CANCELLED")
    assert_works_again(vm, ctl)


@contextlib.contextmanager
def small_file_system(folder, size):
    """A tmpfs of that many bytes, mounted there; skipped where the tests may not mount."""
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "chainctl-test", str(folder)]
    if os.geteuid() or subprocess.run(words, capture_output=True).returncode:
        pytest.skip("cannot mount a tmpfs here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_folder_that_fills_up_once_the_overlays_are_made_hinders_nothing(qemu, chainctl, tmp_path):
    """What they take is theirs before QEMU hears of them."""
    (tmp_path / "conf").write_text("[space]\nreserve=0\n")
    with small_file_system(tmp_path / "small", "4m") as small, contextlib.ExitStack() as stack:
        vm = qemu(disks.two(small)[0])
        ctl = chainctl(env={"CHAINCTL_CONFIG": str(tmp_path / "conf")})
        strike = {"blockdev-add": lambda: mounts.fill(small)}
        stack.enter_context(Proxy(vm.folder / "m", vm.qmp, [], lambda name, _: strike.get(name, int)()))
        ctl.ok("vm", "add", "vm", "--qmp", vm.folder / "m", "--quiesce", "off")
        ctl.ok("snapshot", "vm", "one")
        os.unlink(small / "filler")
        assert all(images.is_clean(small / f"{name}.one.qcow2") for name in ("vda", "vdb"))
        vm.qemu_io("vda", "write -P 1 0 64k", "read -P 1 0 64k")
        vm.kill()


def test_database_that_is_full_beforehand_means_that_nothing_is_done(vm, chainctl, folder, tmp_path):
    with small_file_system(tmp_path / "small", "2m") as small:
        ctl = chainctl(small / "state")
        disks.register(ctl, vm, "--quiesce", "off")
        mounts.fill(small)
        with disks.unchanged(vm, folder):
            assert ctl.fails(1, "snapshot", "vm", "one")["message"]
        os.unlink(small / "filler")
        ctl.ok("snapshot", "vm", "one")
        assert ctl.ok("check", "vm")["problems"] == []


def test_database_that_fills_up_during_the_switch_is_recorded_by_the_next_verb(vm, chainctl, folder, tmp_path):
    """What was switched cannot be recorded; the intent was, and from it the next verb records the rest."""
    with small_file_system(tmp_path / "small", "2m") as small, contextlib.ExitStack() as stack:
        ctl = chainctl(small / "state")
        strike = {"transaction": lambda: mounts.fill(small)}
        stack.enter_context(Proxy(vm.folder / "m", vm.qmp, [], lambda name, _: strike.get(name, int)()))
        ctl.ok("vm", "add", "vm", "--qmp", vm.folder / "m", "--quiesce", "off")
        error = ctl.fails(8, "snapshot", "vm", "one")
        assert "recover" in error["hint"]
        assert vm.monitor().chain("vda") == [str(folder / "vda.one.qcow2"), str(folder / "vda.qcow2")]
        os.unlink(small / "filler")
        assert ctl.ok("path", "vm", "vda")["path"] == str(folder / "vda.one.qcow2")
        assert operations(ctl) == [("snapshot", "done")]
        assert [entry["name"] for entry in ctl.ok("list", "vm")["snapshots"]] == ["one"]
        assert ctl.ok("check", "vm")["problems"] == []


def test_folder_that_does_not_exist_is_refused_before_anything_is_done(vm, ctl, folder, tmp_path):
    (tmp_path / "file").write_text("")
    with disks.unchanged(vm, folder):
        ctl.fails(3, "snapshot", "vm", "one", "--dir", tmp_path / "absent")
        ctl.fails(3, "snapshot", "vm", "one", "--dir", tmp_path / "file")
    assert operations(ctl) == []


def test_name_that_is_taken_changes_nothing(vm, ctl, folder):
    ctl.ok("snapshot", "vm", "one")
    with disks.unchanged(vm, folder):
        assert ctl.fails(1, "snapshot", "vm", "one")["code"] == "exists"
    assert [entry["name"] for entry in ctl.ok("list", "vm")["snapshots"]] == ["one"]


@pytest.mark.parametrize("name", ["base", "none", "active", "latest", "-x", ".x", "a b", "a/b", "../x", "a" * 65, "é"])
def test_name_that_is_no_name_changes_nothing(vm, ctl, folder, name):
    with disks.unchanged(vm, folder):
        ctl.fails(2, "snapshot", "vm", "--", name)
    assert operations(ctl) == []


def test_folder_that_the_caller_may_not_write_to_changes_nothing(qemu, chainctl):
    if os.geteuid():
        pytest.skip("needs root to become somebody else")
    with tempfile.TemporaryDirectory(prefix="ck-") as home:
        home = pathlib.Path(home)
        (home / "images").mkdir()
        (home / "state").mkdir()
        os.chown(home / "state", NOBODY, NOBODY)
        vm = qemu(disks.two(home / "images")[0])
        ctl = chainctl(home / "state", binary=shutil.copy(chainctl().binary, home))
        for path in (home, vm.folder, vm.qmp):
            os.chmod(path, 0o777)
        nobody = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        ctl.ok("vm", "add", "vm", "--qmp", vm.qmp, "--quiesce", "off", **nobody)
        with disks.unchanged(vm, home / "images"):
            assert str(home / "images") in ctl.fails(9, "snapshot", "vm", "one", **nobody)["message"]
        assert ("snapshot", "open") not in operations(ctl)
        (home / "elsewhere").mkdir()
        os.chmod(home / "elsewhere", 0o777)
        ctl.ok("snapshot", "vm", "one", "--dir", home / "elsewhere", **nobody)
        assert len(vm.monitor().chain("vda")) == len(vm.monitor().chain("vdb")) == 2


def test_monitor_that_somebody_else_holds_is_named_busy(vm, ctl, folder):
    with disks.unchanged(vm, folder), Qmp(vm.qmp) as holder:
        error = ctl.fails(4, "--timeout", "1", "snapshot", "vm", "one")
        assert error["code"] == "monitor-busy" and str(vm.qmp) in error["message"]
        assert ctl.fails(4, "--timeout", "1", "vm", "add", "new", "--qmp", vm.qmp)["code"] == "monitor-busy"
        shown = ctl.ok("--timeout", "1", "vm", "show", "vm")
        assert shown["vm"]["state"] == "unreachable" and shown["warnings"]
        holder.execute("query-status")
    assert operations(ctl) == []
    assert_works_again(vm, ctl)


def test_dead_socket_with_images_in_use_is_unreachable(vm, ctl, folder):
    os.rename(vm.qmp, vm.folder / "moved")
    with disks.unchanged(vm, folder):
        assert ctl.fails(4, "snapshot", "vm", "one")["code"] == "unreachable"
    assert ctl.ok("vm", "show", "vm")["vm"]["state"] == "unreachable"
    assert ctl.run("path", "vm", "vda", json_output=False).out == ""
    os.rename(vm.folder / "moved", vm.qmp)
    assert_works_again(vm, ctl)


@pytest.mark.parametrize("socket_left", [True, False])
def test_shut_off_machine_is_shown_as_that(vm, ctl, folder, socket_left):
    vm.kill()
    if not socket_left:
        vm.qmp.unlink()
    before = disks.files(folder)
    assert ctl.ok("vm", "show", "vm")["vm"]["state"] == "shut-off"
    assert ctl.ok("path", "vm", "vda")["path"] == str(folder / "vda.qcow2")
    assert disks.files(folder) == before


@pytest.mark.parametrize("command", ["blockdev-add", "transaction"])
def test_qemu_that_dies_on_the_way_leaves_the_old_images_whole(qemu, chainctl, folder, tmp_path, command):
    words, paths = disks.two(folder)
    vm, ctl = qemu(words), chainctl()
    vm.qemu_io("vda", "write -P 1 0 64k")

    def kill(name, _):
        if name == command:
            vm.process.kill()
            vm.process.wait()

    with Proxy(vm.folder / "proxy", vm.qmp, [], kill):
        ctl.ok("vm", "add", "vm", "--qmp", vm.folder / "proxy", "--quiesce", "off")
        result = ctl.run("snapshot", "vm", "one")
    assert result.json["error"]["message"] and result.status == 4, result
    for path in paths.values():
        assert images.is_clean(path)
    assert images.to_raw(paths["vda"], tmp_path / "raw").read_bytes()[:65536] == b"\1" * 65536
    assert operations(ctl) == [("snapshot", "undone")]
    assert ctl.ok("list", "vm")["snapshots"] == []
    assert sorted(path.name for path in folder.iterdir()) == ["vda.qcow2", "vdb.qcow2"]


def test_second_run_on_one_machine_is_told_who_holds_it(vm, ctl, folder):
    with Qmp(vm.qmp):  # the first run waits for its greeting, with the lock held
        first = ctl.start("--timeout", "60", "snapshot", "vm", "one")
        process.wait_until(lambda: lock_is_held(ctl), 60, "the first run's lock")
        error = ctl.fails(6, "snapshot", "vm", "two")
    assert str(first.pid) in error["message"] and "snapshot" in error["message"]
    assert finish(first).status == 0
    assert [entry["name"] for entry in ctl.ok("list", "vm")["snapshots"]] == ["one"]


def test_second_run_that_waits_goes_next(vm, ctl, folder):
    with Qmp(vm.qmp):
        first = ctl.start("--timeout", "60", "snapshot", "vm", "one")
        process.wait_until(lambda: lock_is_held(ctl), 60, "the first run's lock")
        second = ctl.start("--wait", "snapshot", "vm", "two")
        third = ctl.start("--wait=0.3", "snapshot", "vm", "three")
        assert finish(third).status == 6
    assert finish(first).status == 0 and finish(second).status == 0
    assert [entry["name"] for entry in ctl.ok("list", "vm")["snapshots"]] == ["one", "two"]
    assert len(vm.monitor().chain("vda")) == 3


def test_dry_run_says_what_it_would_send_and_changes_nothing(vm, ctl, folder):
    database = disks.files(ctl.state_dir)
    with disks.unchanged(vm, folder):
        said = ctl.ok("--dry-run", "snapshot", "vm", "one")
    assert "transaction" in json.dumps(said) and "blockdev-add" in json.dumps(said)
    assert disks.files(ctl.state_dir) == database
    assert operations(ctl) == []
    assert_works_again(vm, ctl)


def lock_is_held(ctl):
    """Whether anybody has locked the VM, seen from the kernel, so that looking does not hold the lock itself."""
    lock = ctl.state_dir / "locks/vm.lock"
    return lock.exists() and f":{lock.stat().st_ino} " in pathlib.Path("/proc/locks").read_text()
