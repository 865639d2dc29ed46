"""A VM that is shut off is snapshotted like one that runs: a throw-away storage daemon stands in for its QEMU.

    [golden] <- [vda.qcow2, the base]        [vdb.qcow2]
"""
import contextlib
import os
import pathlib
import signal
import stat

import pytest

from support import disks, images, mounts, process
from support.chainctl import finish

DAEMON = "qemu-storage-daemon"


@pytest.fixture
def golden(folder):
    path = images.create(folder / "golden.qcow2", "8M")
    images.write(path, "write -P 9 0 64k")
    return path


@pytest.fixture
def paths(folder, golden):
    return {
        "vda": images.create(folder / "vda.qcow2", None, backing=golden),
        "vdb": images.create(folder / "vdb.qcow2", "4M"),
    }


@pytest.fixture
def ctl(chainctl, qemu, paths):
    """A VM of two disks that has written, registered, and shut off."""
    return shut_off(chainctl(), qemu(words_of(paths)))


def words_of(paths, **options):
    return [word for name, path in paths.items() for word in disks.blockdev(name, path, **options)]


def shut_off(ctl, vm, name="vda"):
    disks.register(ctl, vm)
    vm.qemu_io(name, "write -P 1 64k 64k")
    vm.kill()
    ctl.vm = vm  # to be started again
    return ctl


def state_of(folder):
    """All of a folder, to the byte and the nanosecond; access times left out."""
    found = {}
    for path in [folder, *sorted(folder.rglob("*"))]:
        status = path.lstat()
        digest = images.sha256(path) if path.is_file() else None
        found[path] = (digest, status.st_ino, status.st_mode, status.st_uid, status.st_mtime_ns, status.st_ctime_ns)
    return found


@contextlib.contextmanager
def unchanged(folder):
    before = state_of(folder)
    yield
    assert state_of(folder) == before


def assert_free(ctl, *paths):
    """Nobody has the images open, and the VM's lock is free."""
    for path in paths:
        images.write(path, "read 0 512")  # opens it for writing, and so takes a writer's locks
    assert not [words for words in process.alive_children().values() if DAEMON in words]
    assert ctl.ok("recover", "vm")["recovered"] == []


def assert_as_if_not(ctl, folder):
    """No snapshot, no file of one, and the next one works."""
    assert ctl.ok("list", "vm")["snapshots"] == []
    assert not list(folder.glob("*.one*")) and not list(folder.glob(".*"))
    assert not [words for words in process.alive_children().values() if DAEMON in words]
    assert ctl.ok("check", "vm")["problems"] == []
    assert ctl.ok("snapshot", "vm", "next")["snapshot"]["consistency"] == "offline"


def path_with(tmp_path, script):
    """A $PATH on which the storage daemon is a shell script; `$REAL` in it is the real one. None: there is none."""
    folder = tmp_path / "bin"
    folder.mkdir()
    if script is not None:
        (folder / DAEMON).write_text(f"#!/bin/sh\n{script}\n".replace("$REAL", process.program(DAEMON)))
        (folder / DAEMON).chmod(0o755)
    return {"PATH": f"{folder}:/nowhere" if script is None else f"{folder}:{os.environ['PATH']}"}


def standins():
    """{pid: command line} of the stand-ins that are alive below us."""
    found = {}
    for entry in pathlib.Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_text(errors="replace") if entry.name.isdigit() else ""
            if DAEMON in words:
                found[int(entry.name)] = words
    return found


# ---- it works ----


def test_two_disks_are_one_offline_snapshot(ctl, folder, paths, golden, tmp_path):
    digests = {path: images.sha256(path) for path in (*paths.values(), golden)}
    document = ctl.ok("snapshot", "vm", "one", "--description", "at rest")
    snapshot = document["snapshot"]
    assert (snapshot["consistency"], snapshot["frozen_us"], document["frozen_us"]) == ("offline", None, None)
    assert document["active"] == [
        {"disk": name, "before": str(path), "after": str(folder / f"{name}.one.qcow2")} for name, path in paths.items()]  # fmt: skip
    for path, digest in digests.items():
        assert images.sha256(path) == digest
    for name, path in paths.items():
        overlay = folder / f"{name}.one.qcow2"
        header = images.info(overlay)
        assert (header["backing-filename"], header["backing-filename-format"]) == (str(path), "qcow2")
        assert header["virtual-size"] == images.info(path)["virtual-size"] and images.is_clean(overlay)
        assert images.compare(overlay, path)
        mode, below = overlay.stat(), path.stat()
        assert (mode.st_uid, mode.st_gid, stat.S_IMODE(mode.st_mode)) == (below.st_uid, below.st_gid, stat.S_IMODE(below.st_mode))  # fmt: skip
    assert_free(ctl, *paths.values())
    assert ctl.ok("check", "vm")["problems"] == []
    assert ctl.ok("vm", "show", "vm")["vm"]["state"] == "shut-off"


def test_vm_that_is_started_on_path_has_its_data_and_goes_on(ctl, folder, paths):
    for name in ("one", "two"):
        ctl.ok("snapshot", "vm", name)
    active = {name: ctl.ok("path", "vm", name)["path"] for name in paths}
    assert active == {name: str(folder / f"{name}.two.qcow2") for name in paths}
    ctl.vm.arguments = words_of(active)
    with ctl.vm as vm:
        vm.qemu_io("vda", "read -P 9 0 64k", "read -P 1 64k 64k", "write -P 3 0 64k")
        assert ctl.ok("snapshot", "vm", "three")["snapshot"]["consistency"] == "crash"
        vm.qemu_io("vda", "read -P 3 0 64k", "write -P 4 0 64k")
        assert vm.monitor().chain("vda") == [str(folder / name) for name in (
            "vda.three.qcow2", "vda.two.qcow2", "vda.one.qcow2", "vda.qcow2", "golden.qcow2")]  # fmt: skip
        assert ctl.ok("check", "vm")["problems"] == []
        vm.kill()
        ctl.ok("snapshot", "vm", "four")
    assert [entry["consistency"] for entry in ctl.ok("list", "vm")["snapshots"]] == [
        "offline", "offline", "crash", "offline"]  # fmt: skip


def test_dry_run_leaves_every_byte_and_every_time_as_it_was(ctl, folder):
    with unchanged(folder):
        document = ctl.ok("--dry-run", "snapshot", "vm", "one")
    assert [entry["execute"] for entry in document["plan"]].count("transaction") == 1
    assert document["snapshot"]["consistency"] == "offline"
    assert_as_if_not(ctl, folder)


def test_raw_base_becomes_the_backing_image_of_a_qcow2(chainctl, qemu, folder):
    raw = images.create(folder / "disk.raw", "8M", "raw")
    ctl = shut_off(chainctl(), qemu(disks.blockdev("vda", raw, "raw")))
    digest = images.sha256(raw)
    ctl.ok("snapshot", "vm", "one")
    header = images.info(folder / "disk.one.qcow2")
    assert (header["backing-filename"], header["backing-filename-format"]) == (str(raw), "raw")
    assert images.compare(folder / "disk.one.qcow2", raw) and images.sha256(raw) == digest


def test_raw_base_that_holds_a_qcow2_header_stays_raw(chainctl, qemu, folder):
    """What a guest writes into a raw disk never makes it another format."""
    raw = images.create(folder / "disk.raw", "8M", "raw")
    ctl = shut_off(chainctl(), qemu(disks.blockdev("vda", raw, "raw")))
    trap = images.create(folder / "trap.qcow2", "1G", options=f"backing_file={folder / 'disk.raw'},backing_fmt=raw")
    with open(raw, "r+b") as file:
        file.write(trap.read_bytes()[: 1 << 16])
    trap.unlink()
    ctl.ok("snapshot", "vm", "one")
    header = images.info(folder / "disk.one.qcow2")
    assert (header["backing-filename-format"], header["virtual-size"]) == ("raw", 8 << 20)


@pytest.mark.parametrize("size", [512, 65536 + 512, (4 << 20) - 512])
def test_size_that_is_no_multiple_of_a_cluster_is_kept(chainctl, qemu, folder, size):
    raw = folder / "odd.raw"
    raw.write_bytes(b"\5" * size)
    ctl = chainctl()
    vm = qemu(disks.blockdev("vda", raw, "raw"))
    disks.register(ctl, vm)
    vm.kill()
    ctl.ok("snapshot", "vm", "one")
    assert images.info(folder / "odd.one.qcow2")["virtual-size"] == size
    assert images.compare(folder / "odd.one.qcow2", raw)


@pytest.mark.parametrize("options", ["cluster_size=512", "cluster_size=2M", "extended_l2=on,cluster_size=64k",
                                     "compat=0.10", "refcount_bits=1", "lazy_refcounts=on"])  # fmt: skip
def test_base_of_any_make_gets_an_overlay_that_reads_the_same(chainctl, qemu, folder, options):
    base = images.create(folder / "disk.qcow2", "8M", options=options)
    ctl = shut_off(chainctl(), qemu(disks.blockdev("vda", base)))
    ctl.ok("snapshot", "vm", "one")
    assert images.compare(folder / "disk.one.qcow2", base) and images.is_clean(folder / "disk.one.qcow2")
    assert ctl.ok("check", "vm")["problems"] == []


@pytest.mark.parametrize("name", ["a,b.qcow2", "a b.qcow2", "a:b.qcow2", 'a"\\b.qcow2', "json:{}.qcow2", "ä.qcow2"])
def test_name_that_has_a_meaning_to_qemu_is_only_a_name(chainctl, qemu, folder, name):
    images.create(folder / "plain.qcow2", "8M")
    (folder / "plain.qcow2").rename(folder / name)
    ctl = shut_off(chainctl(), qemu(disks.blockdev("vda", folder / name)))
    ctl.ok("snapshot", "vm", "one")
    assert ctl.ok("check", "vm")["problems"] == []
    overlay = pathlib.Path(ctl.ok("path", "vm", "vda")["path"])
    assert overlay.parent == folder and overlay.name.endswith(".one.qcow2")


def test_owner_and_mode_are_those_of_the_image_below(ctl, folder, paths):
    if os.geteuid():
        pytest.skip("only root gives files away")
    os.chown(paths["vda"], 1234, 2345)
    paths["vda"].chmod(0o640)
    ctl.ok("snapshot", "vm", "one")
    made = (folder / "vda.one.qcow2").stat()
    assert (made.st_uid, made.st_gid, stat.S_IMODE(made.st_mode)) == (1234, 2345, 0o640)


def test_only_the_chosen_disk_is_snapshotted(ctl, folder, paths):
    digest = images.sha256(paths["vdb"])
    assert [disk["disk"] for disk in ctl.ok("snapshot", "vm", "one", "--disk", "vda")["snapshot"]["disks"]] == ["vda"]
    assert images.sha256(paths["vdb"]) == digest and not (folder / "vdb.one.qcow2").exists()
    assert ctl.ok("check", "vm")["problems"] == []


def test_required_quiescing_is_had_where_nobody_writes(ctl):
    """A VM at rest has written all that it had."""
    assert ctl.ok("snapshot", "vm", "one", "--quiesce", "require")["snapshot"]["consistency"] == "offline"


# ---- it is refused, and nothing changes ----


def test_images_that_another_qemu_holds_are_left_alone(ctl, qemu, folder, paths):
    vm = qemu(words_of(paths))
    with disks.unchanged(vm, folder):
        for words in (["snapshot", "vm", "one"], ["--dry-run", "snapshot", "vm", "one"]):
            assert ctl.fails(4, *words)["code"] == "unreachable"
    assert not list(folder.glob("*.one*"))


def test_second_disk_alone_in_use_is_enough_to_refuse(ctl, qemu, folder, paths):
    qemu(disks.blockdev("vdb", paths["vdb"]))
    assert ctl.fails(4, "snapshot", "vm", "one", "--disk", "vda")["code"] == "unreachable"
    assert not list(folder.glob("*.one*"))


def test_storage_daemon_that_is_not_installed_is_named(ctl, folder, chainctl, tmp_path):
    without = chainctl(env=path_with(tmp_path, None))
    with unchanged(folder):
        for words in (["snapshot", "vm", "one"], ["--dry-run", "snapshot", "vm", "one"]):
            error = without.fails(9, *words)
            assert error["code"] == "unsupported" and DAEMON in error["message"] and "install" in error["hint"]
    assert_as_if_not(ctl, folder)


@pytest.mark.parametrize("script", ["exit 1", "exit 0", "echo it is not my day >&2; exit 3", "exec true", "kill -9 $$"])
def test_storage_daemon_that_ends_at_once_is_an_error_in_its_own_words(ctl, folder, chainctl, tmp_path, script):
    broken = chainctl(env=path_with(tmp_path, script))
    with unchanged(folder):
        error = broken.fails(1, "snapshot", "vm", "one")
    assert "shut off" in error["message"] and ("not my day" in error["message"]) == ("not my day" in script)
    assert_as_if_not(ctl, folder)


def test_storage_daemon_that_says_nothing_is_given_up(ctl, folder, chainctl, tmp_path):
    silent = chainctl(env=path_with(tmp_path, "exec sleep 100"))
    with unchanged(folder):
        assert silent.run("--timeout", "1", "snapshot", "vm", "one").status in (1, 4)
    assert_as_if_not(ctl, folder)


@pytest.mark.parametrize("name", ["golden", "vda", "vdb"])
@pytest.mark.parametrize("damage", ["missing", "empty", "garbage", "a folder"])
def test_image_that_is_not_as_it_was_is_refused_before_anything(ctl, folder, name, damage):
    path = folder / f"{name}.qcow2"
    if damage in ("missing", "a folder"):
        path.unlink()
    if damage == "a folder":
        path.mkdir()
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "garbage":
        path.write_bytes(os.urandom(path.stat().st_size))
    with unchanged(folder):
        for words in (["snapshot", "vm", "one"], ["--dry-run", "snapshot", "vm", "one"]):
            error = ctl.run(*words)
            assert error.status in (1, 3, 4, 9) and str(path) in error.json["error"]["message"], error
    assert ctl.ok("list", "vm")["snapshots"] == []
    assert not standins_of(folder)


def test_frozen_image_that_was_written_to_is_refused(ctl, folder, paths):
    ctl.ok("snapshot", "vm", "one")
    images.write(paths["vda"], "write -P 6 128k 64k")
    with unchanged(folder):
        error = ctl.fails(9, "snapshot", "vm", "two")
    assert error["code"] == "drift" and str(paths["vda"]) in error["message"]


def standins_of(folder):
    return [pid for pid, words in standins().items() if str(folder) in words]


def test_vm_without_its_lock_is_left_to_who_has_it(ctl, folder, chainctl, tmp_path):
    """While one snapshot waits for its stand-in, another is told who holds the VM."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    slow = chainctl(env=path_with(tmp_path, f'read line <"{gate}"; exec $REAL "$@"'))
    first = slow.start("snapshot", "vm", "one")
    opened = os.open(gate, os.O_WRONLY)  # until the stand-in reads
    try:
        assert ctl.fails(6, "snapshot", "vm", "two")["code"] == "held"
        os.write(opened, b"go\n")
    finally:
        os.close(opened)
    assert finish(first).status == 0
    assert [entry["name"] for entry in ctl.ok("list", "vm")["snapshots"]] == ["one"]


def test_full_file_system_is_seen_before_anything(chainctl, qemu, tmp_path):
    with mounts.ext4(tmp_path / "small", 8) as small:
        paths = {"vda": images.create(small / "vda.qcow2", "64M")}
        ctl = shut_off(chainctl(), qemu(words_of(paths)))
        filler = mounts.fill(small)
        with unchanged(small):
            assert ctl.run("snapshot", "vm", "one").status in (1, 9)
        filler.unlink()
        ctl.ok("snapshot", "vm", "one", "--config", reserve(tmp_path))


def reserve(tmp_path):
    (tmp_path / "conf").write_text("[space]\nreserve=0\n")
    return tmp_path / "conf"


@pytest.mark.parametrize("room", [0, 4096, 65536, 200000])
def test_file_system_that_is_nearly_full_gets_a_whole_snapshot_or_none(chainctl, qemu, tmp_path, room):
    """With no reserve to be kept, what the overlays need is found out by writing them."""
    with mounts.ext4(tmp_path / "small", 8) as small:
        ctl = shut_off(chainctl(), qemu(disks.two(small)[0]))
        filler = mounts.fill(small)
        os.truncate(filler, max(filler.stat().st_size - room, 0))
        before = sorted(small.iterdir())
        result = ctl.run("snapshot", "vm", "one", "--config", reserve(tmp_path))
        assert result.status in (0, 1, 9), result
        if result.status:
            assert sorted(small.iterdir()) == before
            filler.unlink()
            ctl.ok("snapshot", "vm", "one", "--config", reserve(tmp_path))
        assert len(ctl.ok("list", "vm")["snapshots"]) == 1
        assert ctl.ok("check", "vm")["problems"] == []


# ---- it is interrupted ----


def held(folder, tmp_path, chainctl, timeout="30"):
    """(chainctl, the pid of its stand-in), which stands still before it has done anything."""
    slow = chainctl(env=path_with(tmp_path, 'kill -STOP $$; exec $REAL "$@"'))
    running = slow.start("--timeout", timeout, "snapshot", "vm", "one")
    [pid] = process.wait_until(lambda: standins_of(folder), 60, "the stand-in")
    process.wait_until(lambda: is_stopped(pid), 60, "the stand-in to stand still")
    return running, pid


def is_stopped(pid):
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] == "T"


def test_ctrl_c_while_the_stand_in_starts_leaves_nothing(ctl, folder, chainctl, tmp_path):
    with unchanged(folder):
        running, pid = held(folder, tmp_path, chainctl)
        running.send_signal(signal.SIGINT)
        os.kill(pid, signal.SIGCONT)
        result = finish(running)
        assert result.status == 1 and result.json["error"]["code"] == "cancelled", result
        assert process.wait_dead(pid, 5)
    assert_as_if_not(ctl, folder)


def test_stand_in_that_hangs_is_given_up_and_killed(ctl, folder, chainctl, tmp_path):
    with unchanged(folder):
        running, pid = held(folder, tmp_path, chainctl, timeout="1")
        assert finish(running).status in (1, 4)
        assert process.wait_dead(pid, 5)
    assert_as_if_not(ctl, folder)


def test_chainctl_that_is_killed_takes_its_stand_in_along(ctl, folder, chainctl, tmp_path):
    running, pid = held(folder, tmp_path, chainctl)
    running.kill()
    finish(running)
    assert process.wait_dead(pid, 5), "the stand-in lives on"
    assert ctl.ok("recover", "vm")["recovered"] == []
    assert_as_if_not(ctl, folder)


def test_stand_in_that_is_killed_as_it_starts_fails_the_verb(ctl, folder, chainctl, tmp_path):
    with unchanged(folder):
        running, pid = held(folder, tmp_path, chainctl)
        os.kill(pid, signal.SIGKILL)
        assert finish(running).status in (1, 4)
    assert_as_if_not(ctl, folder)


def test_ctrl_c_of_a_terminal_reaches_chainctl_and_not_its_stand_in(ctl, folder, chainctl, tmp_path):
    """The stand-in is in a session of its own, so that chainctl can take back with its help what it had begun."""
    running, pid = held(folder, tmp_path, chainctl)
    assert os.getsid(pid) == pid != os.getsid(running.pid)
    os.kill(pid, signal.SIGCONT)
    assert finish(running).status == 0


# ---- its registration ----


def add(folder, *pairs):
    return ["vm", "add", "new", "--qmp", folder / "nobody.qmp", *[word for pair in pairs for word in ("--disk", pair)]]


def test_vm_that_is_shut_off_is_registered_by_its_images(chainctl, folder, paths):
    ctl = chainctl()
    with unchanged(folder):
        view = ctl.ok(*add(folder, *(f"{name}={path}" for name, path in paths.items())))["vm"]
    assert view["state"] == "shut-off" and [disk["disk"] for disk in view["disks"]] == ["vda", "vdb"]
    assert ctl.ok("snapshot", "new", "one")["snapshot"]["consistency"] == "offline"


@pytest.mark.parametrize("other", ["vda.qcow2", "link", "hard"])
def test_image_that_is_named_for_two_disks_is_refused_before_anything_is_started(chainctl, folder, paths, tmp_path, other):
    (folder / "link").symlink_to("vda.qcow2")
    (folder / "hard").hardlink_to(paths["vda"])
    ctl = chainctl(env=path_with(tmp_path, "exit 77"))
    with unchanged(folder):
        error = ctl.fails(9, *add(folder, f"vda={paths['vda']}", f"vdb={folder / other}"))
    assert all(f"'{word}'" in error["message"] for word in ("vda", "vdb", folder / other))
    assert ctl.ok("vm", "list")["vms"] == []


@pytest.mark.parametrize("kind", ["folder", "fifo"])
def test_what_is_no_image_file_is_refused_before_anything_is_started(chainctl, folder, tmp_path, kind):
    thing = tmp_path / "thing"
    thing.mkdir() if kind == "folder" else os.mkfifo(thing)
    error = chainctl(env=path_with(tmp_path, "exit 77")).fails(9, *add(folder, f"vda={thing}"))
    assert f"disk 'vda': '{thing}' is no image file" in error["message"]


def test_image_that_the_daemon_cannot_open_is_told_in_one_line(chainctl, folder, paths):
    """The base of another disk: read by one, written by the other. What the daemon repeats of its command line is left out."""
    ctl = chainctl()
    over = images.create(folder / "over.qcow2", None, backing=paths["vda"])
    with unchanged(folder):
        error = ctl.fails(1, *add(folder, f"vda={over}", f"vdb={paths['vda']}"))
    assert f"disk 'vdb', '{paths['vda']}': Failed to get" in error["message"] and "; Is another process" in error["message"]
    assert "blockdev" not in error["message"] and "{" not in error["message"] and "\n" not in error["message"]
    assert error["hint"] is None, "nothing is registered that could be checked"


@pytest.mark.parametrize("name, content", [("short.qcow2", b"\0" * 4096), ("disk.vmdk", b"KDMV" + b"\0" * 4092)])
def test_image_whose_name_says_that_it_is_not_raw_is_not_taken_for_raw(chainctl, folder, name, content):
    (folder / name).write_bytes(content)
    assert str(folder / name) in chainctl().fails(9, *add(folder, f"vda={folder / name}"))["message"]


def test_image_that_begins_like_a_qcow2_and_is_called_raw_is_refused(chainctl, folder, paths):
    os.rename(paths["vda"], folder / "vda.raw")
    assert "guest" in chainctl().fails(9, *add(folder, f"vda={folder / 'vda.raw'}"))["message"]
