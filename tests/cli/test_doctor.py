"""`doctor` tells what could go wrong, each with its cause and what to do; and is silent where all is well."""
import contextlib
import os
import shutil
import sqlite3
import subprocess
import tempfile

import pytest

from documents import PROBLEM, matches, only_document
from support import disks, images, mounts, process
from support.process import program
from support.qemu import is_listening, run_as
from support.qmp import Qmp

from cli_vm import RegisteredVm, disk_words, point_at
from peers import proxy

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: other users, mounts")


def doctor(chainctl, *words, status=None):
    """{code: problem} of a run, each held to its shape; a problem of severity error is exit 7."""
    result = chainctl.run("doctor", "vm1", *words)
    document = only_document(result.out)
    assert all(matches(problem, PROBLEM) for problem in document["problems"]), document
    wrong = any(problem["severity"] == "error" for problem in document["problems"])
    assert result.status == (7 if wrong else 0) and document["ok"] is not wrong, result
    assert status is None or result.status == status, result
    return {problem["code"]: problem for problem in document["problems"]}


def is_in_memory(path):
    said = subprocess.run(["stat", "--file-system", "--format=%T", path], capture_output=True, text=True)
    return said.stdout.strip() in ("tmpfs", "ramfs")


def codes(vm, *words):
    """What doctor finds, but that the tests themselves may run in memory."""
    return set(doctor(vm.chainctl, *words)) - ({"images-in-memory"} if is_in_memory("/tmp") else set())


@pytest.fixture
def make(qemu, chainctl, image_folder):
    """make(words for QEMU, for `vm add`, for Chainctl …) is a VM `vm1` that asks for no agent; of one disk, vda.qcow2."""

    def made(words=None, *, add=("--quiesce", "off"), env=None, folder=image_folder, size="64M", **options):
        paths = {"vda": folder / "vda.qcow2"}
        if not paths["vda"].exists():
            images.create(paths["vda"], size)
        running = qemu(disk_words(paths) if words is None else words(paths["vda"]), **options)
        registered = RegisteredVm("vm1", running, chainctl(env=env), paths)
        registered.chainctl.ok("vm", "add", "vm1", "--qmp", running.qmp, *add)
        return registered

    return made


def configured(tmp_path, text):
    """The environment of a chainctl with that configuration."""
    (tmp_path / "conf").write_text(text)
    return {"CHAINCTL_CONFIG": str(tmp_path / "conf")}


# ---- all of it ----


@pytest.mark.parametrize("paused", [True, False], ids=["paused", "running"])
def test_nothing_is_said_where_all_is_well(make, paused):
    vm = make(paused=paused)
    assert codes(vm) == set()
    if not is_in_memory("/tmp"):
        assert vm.chainctl.run("doctor", "vm1", json_output=False).out == "vm1: all is well.\n"


def test_nothing_is_said_of_a_vm_that_is_shut_off_and_well(make):
    vm = make()
    vm.chainctl.ok("snapshot", "vm1", "s")
    vm.qemu.kill()
    assert codes(vm) == set()


def test_what_check_finds_is_told_too(make):
    vm = make()
    vm.chainctl.ok("snapshot", "vm1", "s")
    vm.qemu.kill()
    os.rename(vm.paths["vda"], vm.folder / "elsewhere")
    found = doctor(vm.chainctl, status=7)
    assert found["image-missing"]["path"] == str(vm.paths["vda"])
    assert {problem["code"] for problem in vm.chainctl.run("check", "vm1").json["problems"]} <= set(found)


def test_people_are_told_the_same_and_nothing_is_changed(make):
    vm = make(add=())
    vm.chainctl.ok("snapshot", "vm1", "s")
    vm.paths["vda"].chmod(0o666)
    before = vm.untouched()
    found = doctor(vm.chainctl)
    human = vm.chainctl.run("doctor", "vm1", json_output=False)
    for problem in found.values():
        assert problem["message"] in human.out and (problem["repair"] or "") in human.out, human
    assert vm.untouched() == before


# ---- the monitor ----


def test_one_monitor_for_all_programs_is_told_with_the_words_for_a_second(make):
    found = doctor(make(second_monitor=False).chainctl)["one-monitor"]
    assert found["severity"] == "warning" and "-qmp unix:" in found["repair"]


def test_second_monitor_by_its_short_option_is_seen(make, tmp_path):
    vm = make(lambda path: [*disk_words({"vda": path}), "-qmp", f"unix:{tmp_path}/other,server=on,wait=off"],
              second_monitor=False)  # fmt: skip
    assert "one-monitor" not in codes(vm)


def test_monitor_that_another_client_holds_is_an_error_and_the_rest_is_seen(make):
    vm = make()
    vm.paths["vda"].chmod(0o666)
    with contextlib.closing(Qmp(vm.qemu.qmp)):
        found = doctor(vm.chainctl, "--timeout", "1", status=7)
    assert found["monitor-held"]["severity"] == "error" and "-qmp" in found["monitor-held"]["repair"]
    assert "image-world-writable" in found
    assert "monitor-held" not in doctor(vm.chainctl)


def test_unreachable_vm_is_an_error_and_the_rest_is_seen(make):
    vm = make()
    vm.paths["vda"].chmod(0o666)
    point_at(vm, "/nowhere/qmp")
    found = doctor(vm.chainctl, status=7)
    assert "image-world-writable" in found and "/nowhere/qmp" in found["unreachable"]["message"]


def test_vm_with_a_job_is_busy(make):
    vm = make()
    monitor = vm.qemu.monitor()
    target = images.create(vm.folder / "target.qcow2", "64M")
    monitor.execute("blockdev-add", driver="qcow2", node_name="t", file={"driver": "file", "filename": str(target)})
    monitor.execute("blockdev-mirror", job_id="copy", device="vda-format", target="t", sync="full")
    assert "copy" in doctor(vm.chainctl)["busy"]["message"]


# ---- QEMU ----


def test_qemu_without_what_snapshots_need_is_too_old(make):
    vm = make()

    def change(command, reply):
        return {**reply, "return": []} if command == "query-qmp-schema" else reply

    with proxy(vm.qemu.qmp, change) as old:
        point_at(vm, old.path)
        found = doctor(vm.chainctl, status=7)["qemu-too-old"]
        assert found["severity"] == "error" and "5.0" in found["repair"]


def test_subclusters_are_told_of_where_a_stream_would_kill_qemu(make, image_folder):
    images.qemu_img("create", "-q", "-f", "qcow2", "-o", "extended_l2=on,cluster_size=128k", image_folder / "vda.qcow2", "8M")
    vm = make()
    major = vm.qemu.monitor().execute("query-version")["qemu"]["major"]
    assert ("stream-kills-qemu" in codes(vm)) is (major < 10)


SPELLINGS = {
    "blockdev": lambda path: disk_words({"vda": path}),
    "inline": lambda path: ["-blockdev", f"driver=qcow2,node-name=x,file.driver=file,file.filename={path}", "-device",
                            "virtio-blk-pci,id=vda,drive=x"],
    "json": lambda path: ["-blockdev", f'{{"driver":"qcow2","node-name":"x","file":{{"driver":"file","filename":"{path}"}}}}',
                          "-device", "virtio-blk-pci,id=vda,drive=x"],
    "drive": lambda path: ["-drive", f"file={path},format=qcow2,if=none,id=d", "-device", "virtio-blk-pci,id=vda,drive=d"],
    "hda": lambda path: ["-hda", path],
    "relative": lambda path: ["-drive", f"file={os.path.relpath(path)},format=qcow2,if=none,id=d", "-device",
                              "virtio-blk-pci,id=vda,drive=d"],
}  # fmt: skip


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_command_line_with_an_old_image_is_told_with_the_recipe(make, spelling):
    vm = make(SPELLINGS[spelling])
    assert "old-image-on-command-line" not in codes(vm)
    vm.chainctl.ok("snapshot", "vm1", "s")
    found = doctor(vm.chainctl)["old-image-on-command-line"]
    assert found["path"] == str(vm.paths["vda"]) and "chainctl exec vm1" in found["repair"]
    assert str(vm.folder / "vda.s.qcow2") in found["message"]


def test_command_line_with_the_active_image_and_those_below_it_is_well(make, qemu):
    vm = make()
    vm.chainctl.ok("snapshot", "vm1", "s")
    vm.qemu.kill()
    below = ["-blockdev", f"driver=qcow2,node-name=below,file.driver=file,file.filename={vm.paths['vda']},read-only=on"]
    again = qemu([*below, "-blockdev",
                  f"driver=qcow2,node-name=top,file.driver=file,file.filename={vm.folder / 'vda.s.qcow2'},backing=below",
                  "-device", "virtio-blk-pci,id=vda,drive=top"])  # fmt: skip
    vm.chainctl.ok("vm", "set", "vm1", "--qmp", again.qmp)
    assert codes(vm) == set()


def test_storage_daemon_has_no_guest_and_nothing_is_said_of_one(chainctl, image_folder, tmp_path):
    path, ctl = images.create(image_folder / "vda.qcow2", "64M"), chainctl()
    with tempfile.TemporaryDirectory(prefix="ck-", dir="/tmp") as folder:
        words = [program("qemu-storage-daemon"), "--blockdev", f"driver=qcow2,node-name=vda,file.driver=file,file.filename={path}",
                 "--chardev", f"socket,id=m,path={folder}/qmp,server=on,wait=off", "--monitor", "chardev=m"]  # fmt: skip
        with process.running(words):
            process.wait_until(lambda: is_listening(f"{folder}/qmp"), 60, "the daemon's monitor")
            ctl.ok("vm", "add", "vm1", "--qmp", f"{folder}/qmp")
            found = doctor(ctl)
            assert set(found) <= {"images-in-memory"}, found
            ctl.ok("snapshot", "vm1", "s")
            assert "old-image-on-command-line" in doctor(ctl)


# ---- caches ----


@pytest.mark.parametrize("spelling", ["format", "file", "drive"])
def test_cache_that_loses_flushes_is_an_error(make, spelling):
    def words(path):
        if spelling == "drive":
            return ["-drive", f"file={path},format=qcow2,if=none,id=d,cache=unsafe", "-device", "virtio-blk-pci,id=vda,drive=d"]
        return disks.blockdev("vda", path, **{"format": {"top": "cache.no-flush=on"}, "file": {"file": "cache.no-flush=on"}}[spelling])

    found = doctor(make(words).chainctl, status=7)["cache-loses-flushes"]
    assert found["severity"] == "error" and found["disk"] == "vda"


@pytest.mark.parametrize("cache", ["none", "writeback", "writethrough", "directsync"])
def test_cache_that_keeps_flushes_is_well(make, cache):
    vm = make(lambda path: ["-drive", f"file={path},format=qcow2,if=none,id=d,aio=threads,detect-zeroes=on,cache={cache}",
                            "-device", "virtio-blk-pci,id=vda,drive=d"])  # fmt: skip
    assert codes(vm) == set()


# ---- images ----


def test_chain_of_more_than_30_images_is_deep(make):
    vm = make()
    for number in range(29):
        vm.chainctl.ok("snapshot", "vm1", f"s{number}")
    assert "deep-chain" not in codes(vm)
    vm.chainctl.ok("snapshot", "vm1", "last")
    found = doctor(vm.chainctl)["deep-chain"]
    assert found["severity"] == "warning" and "31 images" in found["message"] and found["disk"] == "vda"


def test_disk_that_cannot_have_an_overlay_is_told(make):
    vm = make(lambda path: disks.blockdev("vda", path, top="read-only=on"))
    assert "read-only" in doctor(vm.chainctl)["disk-unfit"]["message"]
    vm.chainctl.ok("vm", "remove", "vm1")
    vm.chainctl.ok("vm", "add", "vm1", "--qmp", vm.qemu.qmp, "--quiesce", "off", "--ignore-disk", "vda")
    assert codes(vm) == set()


@needs_root
def test_block_device_needs_a_folder_for_its_overlays(make, image_folder, tmp_path):
    (image_folder / "disk.raw").write_bytes(bytes(8 << 20))
    made = subprocess.run(["losetup", "--find", "--show", image_folder / "disk.raw"], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no loop device: {made.stderr}")
    loop = made.stdout.strip()
    try:
        vm = make(lambda _: ["-blockdev", f"driver=host_device,node-name=f,filename={loop}",
                             "-blockdev", "driver=raw,node-name=r,file=f", "-device", "virtio-blk-pci,id=vda,drive=r"])  # fmt: skip
        assert "regular file" in doctor(vm.chainctl)["disk-unfit"]["message"]
        with_folder = configured(tmp_path, f"[overlay]\ndir={image_folder}\n")
        vm.chainctl.env.update(with_folder)
        assert codes(vm) == set()
        del vm.chainctl.env["CHAINCTL_CONFIG"]
        vm.qemu.kill()
        assert "regular file" in doctor(vm.chainctl)["disk-unfit"]["message"]
    finally:
        subprocess.run(["losetup", "--detach", loop], check=True)


def test_image_that_every_user_may_write_to_is_told(make):
    vm = make()
    vm.paths["vda"].chmod(0o602)
    found = doctor(vm.chainctl)["image-world-writable"]
    subprocess.run(found["repair"].strip("`"), shell=True, check=True)
    assert codes(vm) == set()


def test_image_that_was_replaced_under_qemu_is_told(make):
    vm = make()
    shutil.copy(vm.paths["vda"], vm.folder / "copy")
    os.replace(vm.folder / "copy", vm.paths["vda"])
    assert doctor(vm.chainctl, status=7)["another-file"]["severity"] == "error"


# ---- folders ----


@needs_root
def test_folder_where_no_file_can_be_made_is_told(make):
    vm = make()
    vm.qemu.kill()
    with mounts.read_only(vm.folder):
        assert doctor(vm.chainctl, status=7)["folder-not-writable"]["path"] == str(vm.folder)
    assert codes(vm) == set()


@needs_root
def test_folder_that_qemu_as_another_user_cannot_reach_is_told(make, open_folder):
    images.create(open_folder / "vda.qcow2", "8M")
    os.chown(open_folder / "vda.qcow2", NOBODY, NOBODY)
    vm = make(lambda path: [*disk_words({"vda": path}), *run_as(NOBODY)], folder=open_folder)
    assert codes(vm) == set()
    open_folder.chmod(0o700)
    found = doctor(vm.chainctl, status=7)["qemu-has-no-right"]
    assert str(NOBODY) in found["message"] and str(open_folder) in found["message"]
    open_folder.chmod(0o755)
    os.chown(open_folder / "vda.qcow2", 0, 0)
    (open_folder / "vda.qcow2").chmod(0o600)
    assert "qemu-has-no-right" in doctor(vm.chainctl, status=7)


@contextlib.contextmanager
def mounted(folder, *words):
    folder.mkdir()
    if os.geteuid() or subprocess.run(["mount", *words, "chainctl-test", folder], capture_output=True).returncode:
        pytest.skip(f"cannot mount here: {words}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_images_in_memory_are_told(make, tmp_path):
    with mounted(tmp_path / "memory", "-t", "tmpfs", "-o", "size=200m") as folder:
        found = doctor(make(folder=folder).chainctl)["images-in-memory"]
        assert "tmpfs" in found["message"] and found["path"] == str(folder)


def test_overlays_that_would_go_to_memory_are_told(make, tmp_path):
    if is_in_memory("/tmp"):
        pytest.skip("the tests themselves run in memory")
    with mounted(tmp_path / "memory", "-t", "tmpfs", "-o", "size=200m") as folder:
        vm = make(env=configured(tmp_path, f"[overlay]\ndir={folder}\n"))
        assert {"images-in-memory", "overlay-in-memory"} <= set(doctor(vm.chainctl, status=7))


def test_file_system_without_birth_times_is_told(make, tmp_path):
    with mounted(tmp_path / "memory", "-t", "ramfs") as folder:
        vm = make(folder=folder, env=configured(tmp_path, "[space]\nreserve=0\n"))
        found = doctor(vm.chainctl)
        assert "ramfs" in found["images-in-memory"]["message"] and "no-birth-times" in found


def test_file_system_that_is_nearly_full_is_an_error(make, tmp_path):
    vm = make(env=configured(tmp_path, "[space]\nreserve=1000000G\n"))
    found = doctor(vm.chainctl, status=7)["no-space"]
    assert found["path"] == str(vm.folder) and str(1000000 << 30) in found["message"]


def test_disk_that_may_outgrow_its_file_system_is_told(make):
    found = doctor(make(size="50T").chainctl, status=0)["space-promised"]
    assert found["severity"] == "warning"


def test_file_system_with_few_inodes_is_told(make, tmp_path):
    with mounted(tmp_path / "memory", "-t", "tmpfs", "-o", "size=200m,nr_inodes=50") as folder:
        vm = make(folder=folder)
        assert doctor(vm.chainctl)["few-inodes"]["severity"] == "warning"
        with contextlib.suppress(OSError):
            for number in range(50):
                (folder / str(number)).touch()
        assert doctor(vm.chainctl, status=7)["few-inodes"]["severity"] == "error"


# ---- state ----


def test_state_folder_and_files_that_are_open_are_told_with_what_closes_them(make):
    vm = make()
    vm.chainctl.state_dir.chmod(0o775)
    assert "0775" in doctor(vm.chainctl)["state-open"]["message"]
    subprocess.run(doctor(vm.chainctl)["state-open"]["repair"].strip("`"), shell=True, check=True)
    assert codes(vm) == set()
    (vm.chainctl.state_dir / "chainctl.db").chmod(0o644)
    found = [problem for problem in vm.chainctl.ok("doctor", "vm1")["problems"] if problem["code"] == "state-open"]
    assert str(vm.chainctl.state_dir / "chainctl.db") in [problem["path"] for problem in found]
    for problem in found:
        subprocess.run(problem["repair"].strip("`"), shell=True)  # SQLite's own files come and go
    assert codes(vm) == set()


@pytest.mark.parametrize("mode", [0o700, 0o750])
def test_state_folder_for_its_owner_or_a_group_is_well(make, mode):
    vm = make()
    vm.chainctl.state_dir.chmod(mode)
    assert codes(vm) == set()


@needs_root
def test_state_file_of_another_user_is_told_with_what_gives_it_back(make):
    vm = make()
    vm.chainctl.ok("snapshot", "vm1", "s")
    (lock,) = vm.chainctl.state_dir.rglob("*.lock")
    os.chown(lock, NOBODY, NOBODY)
    found = doctor(vm.chainctl)["state-owner"]
    assert found["path"] == str(lock)
    subprocess.run(found["repair"].strip("`"), shell=True, check=True)
    assert "state-owner" not in doctor(vm.chainctl)


def test_damaged_database_is_an_error(make):
    vm = make()
    path = vm.chainctl.state_dir / "chainctl.db"
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        size = database.execute("PRAGMA page_size").fetchone()[0]
        (root,) = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'step'").fetchone()
    database.close()
    with open(path, "r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * size)
    found = doctor(vm.chainctl, status=7)["database-damaged"]
    assert found["path"] == str(path) and found["severity"] == "error"


def test_row_without_the_one_it_names_is_damage(make):
    vm = make()
    with sqlite3.connect(vm.chainctl.state_dir / "chainctl.db") as database:
        database.execute("PRAGMA foreign_keys = OFF")
        database.execute("INSERT INTO step (operation, number, name, begun_us) VALUES (99, 1, 'x', 1)")
    database.close()
    assert "step" in doctor(vm.chainctl, status=7)["database-damaged"]["message"]


# ---- programs and timers ----


def test_storage_daemon_that_is_not_there_is_told(make, tmp_path):
    assert shutil.which("qemu-storage-daemon")
    vm = make(env={"PATH": str(tmp_path)})
    assert "apt install" in doctor(vm.chainctl)["no-storage-daemon"]["repair"]


@needs_root
@pytest.mark.parametrize("enabled, active, told", [("disabled", "inactive", True), ("enabled", "active", False)])
def test_timer_that_does_not_run_is_told_where_systemd_does(make, tmp_path, enabled, active, told):
    """In a mount namespace whose /run is systemd's, and with a systemctl that says these words."""
    fake = tmp_path / "bin"
    fake.mkdir()
    (fake / "systemctl").write_text(f'#!/bin/sh\n[ "$2" = chainctl-recover.timer ] || exit 1\n'
                                    f'case $1 in is-enabled) echo {enabled} ;; is-active) echo {active} ;; esac\n')  # fmt: skip
    (fake / "systemctl").chmod(0o755)
    vm = make(env={"PATH": f"{fake}:{os.environ['PATH']}"})
    script = 'mount -t tmpfs none /run && mkdir -p /run/systemd/system && exec "$@"'
    prefix = [program("unshare"), "--mount", "/bin/sh", "-c", script, "sh"]
    result = vm.chainctl.run("doctor", "vm1", prefix=prefix)
    if result.json is None:
        pytest.skip(f"no mount namespaces here: {result.err}")
    assert any(problem["code"] == "no-recover-timer" for problem in result.json["problems"]) is told
