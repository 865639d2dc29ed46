"""File systems that are full, read-only or closed to changes: a snapshot fails before it begins, or is finished later."""
import contextlib
import os
import sqlite3

import pytest

from support import disks, images
from support.chainctl import Chainctl
from support.mounts import ext4, fill, read_only, set_immutable
from support.proxy import Proxy

READING = ("query-", "qmp_", "qom-get", "x-debug-query-")  # commands that change nothing


@pytest.fixture
def chainctl(tmp_path):
    """chainctl(state) keeps no reserve: the file systems of these tests are smaller than the usual one."""
    config = tmp_path / "chainctl.conf"
    config.write_text("[space]\nreserve = 0\n")
    return lambda state=tmp_path / "state": Chainctl(state, env={"CHAINCTL_CONFIG": str(config)})


@pytest.fixture
def ctl(chainctl, vm):
    ctl = chainctl()
    disks.register(ctl, vm, "--quiesce", "off")
    return ctl


@pytest.fixture(scope="module")
def shared_ext4(tmp_path_factory):
    """One small ext4 for all tests that bring it back to empty."""
    with ext4(tmp_path_factory.mktemp("small") / "mnt") as small:
        yield small


@pytest.fixture
def small(shared_ext4):
    yield shared_ext4
    for path in sorted(shared_ext4.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


def refused(ctl, *options):
    """A snapshot that is: 1, or 9 where it was seen beforehand."""
    result = ctl.run("snapshot", "vm", "one", *options)
    assert result.status in (1, 9) and result.json["error"]["message"], result
    return result.json["error"]


def point_at(ctl, socket):
    """The registration names another monitor from now on."""
    with contextlib.closing(sqlite3.connect(ctl.state_dir / "chainctl.db")) as database, database:
        database.execute("UPDATE vm SET qmp = ?", (os.fsencode(socket),))


def operations(ctl):
    return [(entry["verb"], entry["state"]) for entry in ctl.ok("log", "vm")["operations"]]


def assert_works_again(vm, ctl):
    ctl.ok("snapshot", "vm", "again")
    assert len(vm.monitor().chain("vda")) == len(vm.monitor().chain("vdb")) == 2
    assert ctl.ok("check", "vm")["problems"] == []


@contextlib.contextmanager
def nothing_done(vm, ctl, folder):
    """Neither QEMU, nor images, nor the database's list of snapshots is another after the block."""
    with disks.unchanged(vm, folder):
        yield
    assert ctl.ok("list", "vm")["snapshots"] == []
    assert set(operations(ctl)) <= {("snapshot", "undone")}
    assert ctl.ok("check", "vm")["problems"] == []


def test_overlay_folder_on_a_read_only_file_system_changes_nothing(vm, ctl, folder, tmp_path):
    (tmp_path / "target").mkdir()
    with read_only(tmp_path / "target") as target, nothing_done(vm, ctl, folder):
        error = refused(ctl, "--dir", target)
        assert str(target) in error["message"] and "ead-only" in error["message"]
    assert list((tmp_path / "target").iterdir()) == []
    assert_works_again(vm, ctl)


def test_images_whose_file_system_became_read_only_change_nothing(vm, ctl, folder):
    """QEMU still writes to what it has open; a new file cannot be made beside it."""
    with nothing_done(vm, ctl, folder):
        with read_only(folder):
            assert str(folder) in refused(ctl)["message"]
    assert_works_again(vm, ctl)


def test_overlay_folder_on_a_full_file_system_changes_nothing_and_leaves_nothing(vm, ctl, folder, small):
    """Where it fills up on the way: tests/crash/test_full_on_the_way.py."""
    filler = fill(small)
    with nothing_done(vm, ctl, folder):
        message = refused(ctl, "--dir", small)["message"]
        assert str(small) in message and ("space" in message.lower() or "missing" in message)
    assert list(small.iterdir()) == [filler]
    filler.unlink()
    ctl.ok("snapshot", "vm", "one", "--dir", small)
    assert images.is_clean(small / "vda.one.qcow2") and images.is_clean(small / "vdb.one.qcow2")


def test_one_disk_of_two_whose_overlay_finds_no_room_leaves_both_as_they_were(qemu, chainctl, tmp_path, small):
    """Each overlay lies beside its own image, and only one of the folders is full."""
    (tmp_path / "roomy").mkdir()
    paths = {"vda": tmp_path / "roomy/vda.qcow2", "vdb": small / "vdb.qcow2"}
    words = [word for name, path in paths.items() for word in disks.blockdev(name, images.create(path, "8M"))]
    vm, ctl = qemu(words), chainctl()
    disks.register(ctl, vm, "--quiesce", "off")
    filler = fill(small)
    with nothing_done(vm, ctl, tmp_path / "roomy"):
        assert "vdb" in refused(ctl)["message"]
    assert set(small.iterdir()) == {filler, paths["vdb"]}
    filler.unlink()
    assert_works_again(vm, ctl)
    vm.close()


def test_journal_that_cannot_be_written_means_that_nothing_is_done(vm, chainctl, folder, small):
    ctl, log = chainctl(small / "state"), []
    with Proxy(vm.folder / "m", vm.qmp, log):
        ctl.ok("vm", "add", "vm", "--qmp", vm.folder / "m", "--quiesce", "off")
        filler = fill(small)
        log.clear()
        with nothing_done(vm, ctl, folder):
            error = ctl.fails(1, "snapshot", "vm", "one")
            assert error["code"] == "no-space" or "full" in error["message"], error
            assert {command for _, command in log if not command.startswith(READING)} == set()
            assert "path" in ctl.ok("path", "vm", "vda"), "what only reads works on"
        filler.unlink()
        assert_works_again(vm, ctl)


@pytest.mark.parametrize("verb", [["recover", "vm"], ["snapshot", "vm", "next"], ["path", "vm", "vda"]])
def test_record_that_finds_no_room_after_the_switch_is_finished_when_there_is_some(vm, chainctl, folder, small, verb):
    def strike(command, _):
        if command == "transaction" and armed:
            armed.pop()
            fill(small)

    ctl, armed = chainctl(small / "state"), [True]
    with Proxy(vm.folder / "m", vm.qmp, [], strike):
        ctl.ok("vm", "add", "vm", "--qmp", vm.folder / "m", "--quiesce", "off")
        vm.qemu_io("vda", "write -P 1 0 64k")
        error = ctl.fails(8, "snapshot", "vm", "one", "--description", "kept", "--tag", "t")
        assert "recover" in error["hint"]
        assert vm.monitor().chain("vda") == [str(folder / "vda.one.qcow2"), str(folder / "vda.qcow2")]
        vm.qemu_io("vda", "write -P 2 0 64k")
        for _ in range(2):  # still full: as often as it is tried
            assert ctl.run("recover", "vm").status in (1, 8)
        os.unlink(small / "filler")
        ctl.ok(*verb)
        names = [entry["name"] for entry in ctl.ok("list", "vm")["snapshots"]]
        assert names == (["one", "next"] if "next" in verb else ["one"])
        shown = ctl.ok("show", "vm", "one")["snapshot"]
        assert (shown["description"], shown["tags"], shown["consistency"]) == ("kept", ["t"], "crash")
        assert {state for _, state in operations(ctl)} == {"done"}
        assert ctl.ok("check", "vm")["problems"] == []
    assert images.to_raw(folder / "vda.qcow2", folder / "raw").read_bytes()[:65536] == b"\1" * 65536
    vm.qemu_io("vda", "read -P 2 0 64k")


def test_file_that_cannot_be_taken_back_is_named_until_it_can(vm, chainctl, folder, tmp_path):
    """The folder is closed to changes after the overlays were made in it, and the switch is refused."""
    other = images.create(folder / "other.qcow2", None, backing=folder / "vdb.qcow2")
    monitor = vm.monitor()
    monitor.execute("blockdev-add", driver="file", node_name="of", filename=str(other))
    monitor.execute("blockdev-add", driver="qcow2", node_name="oq", file="of", backing="vdb-format")
    target = tmp_path / "target"
    target.mkdir()

    def strike(command, _):
        if command == "transaction":
            set_immutable(target)

    ctl = chainctl()
    try:
        with Proxy(vm.folder / "m", vm.qmp, [], strike):
            ctl.ok("vm", "add", "vm", "--qmp", vm.folder / "m", "--quiesce", "off")
            error = ctl.fails(8, "snapshot", "vm", "one", "--dir", target)
        assert str(target) in error["message"] and "recover" in error["hint"]
        point_at(ctl, vm.qmp)
        assert len(vm.monitor().chain("vda")) == 1, "nothing was switched"
        checked = ctl.run("check", "vm")
        assert checked.status == 7, checked
        told = {(problem["code"], problem["path"]) for problem in checked.json["problems"]}
        assert "operation-unfinished" in {code for code, _ in told}
        assert str(target) in ctl.run("recover", "vm").json["error"]["message"]
        left = list(target.iterdir())
        assert left
    finally:
        set_immutable(target, False)
    ctl.ok("recover", "vm")
    assert list(target.iterdir()) == [] and operations(ctl) == [("snapshot", "undone")]
    monitor.execute("blockdev-del", node_name="oq")
    monitor.execute("blockdev-del", node_name="of")
    assert_works_again(vm, ctl)


def test_file_of_an_undone_operation_that_is_there_again_is_found_and_never_removed(vm, ctl, folder, tmp_path):
    """The same inode under the same name, as a folder that was not synced, or a backup of links, brings it back."""

    def strike(command, _):
        if command == "transaction":
            os.link(folder / "vda.one.qcow2", tmp_path / "kept")

    monitor, other = vm.monitor(), images.create(tmp_path / "other.qcow2", None, backing=folder / "vdb.qcow2")
    monitor.execute("blockdev-add", driver="file", node_name="of", filename=str(other))
    monitor.execute("blockdev-add", driver="qcow2", node_name="oq", file="of", backing="vdb-format")
    with Proxy(vm.folder / "m", vm.qmp, [], strike):
        point_at(ctl, vm.folder / "m")
        ctl.fails(1, "snapshot", "vm", "one")
    point_at(ctl, vm.qmp)
    assert not (folder / "vda.one.qcow2").exists() and ctl.ok("check", "vm")["problems"] == []
    os.link(tmp_path / "kept", folder / "vda.one.qcow2")
    [problem] = ctl.ok("check", "vm")["problems"]
    assert (problem["code"], problem["severity"]) == ("file-left-over", "warning")
    assert (problem["disk"], problem["path"]) == ("vda", str(folder / "vda.one.qcow2")) and problem["repair"]
    ctl.ok("recover", "vm")
    assert (folder / "vda.one.qcow2").exists()
    monitor.execute("blockdev-del", node_name="oq")
    monitor.execute("blockdev-del", node_name="of")
    assert ctl.ok("snapshot", "vm", "one")["snapshot"]["disks"][0]["overlay"] == str(folder / "vda.one-2.qcow2")
