"""The rig itself: what other tests take for granted about the guest, its ledger, and the end of processes."""
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import textwrap
import time

import pytest

from support import images, ledger, process, strace
from support.agent import Agent
from support.guest import BUSES
from support.process import program
from support.qmp import Qmp, QmpError, connect_unix

TESTS = pathlib.Path(__file__).resolve().parents[1]


def add_overlay(vm, disk, path):
    """An overlay opened as node snap-DISK, ready for blockdev-snapshot."""
    images.create(path, size="128M", backing=vm.images[disk])
    monitor = vm.monitor()
    monitor.execute("blockdev-add", driver="file", node_name=f"file-{disk}", filename=str(path))
    monitor.execute("blockdev-add", driver="qcow2", node_name=f"snap-{disk}", file=f"file-{disk}", backing=None)
    return ("blockdev-snapshot", {"node": f"{disk}-format", "overlay": f"snap-{disk}"})


def snapshot_all(guest, tmp_path):
    guest.monitor().transaction(*[add_overlay(guest, disk, tmp_path / f"{disk}.snap.qcow2") for disk in guest.images])
    return list(guest.images.values())


@pytest.mark.parametrize("bus", BUSES)
def test_guest_boots_mounts_its_disks_by_name_and_its_agent_answers(guest, bus):
    vm = guest(bus=bus)
    with vm.agent() as agent:
        assert agent.execute("guest-ping") == {}
        mounted = {system["mountpoint"]: system["type"] for system in agent.execute("guest-get-fsinfo")}
        labels = agent.run("/bin/sh", "-c", "cat /run/disks")
    assert mounted == {"/disks/vda": "ext4", "/disks/vdb": "ext4"}
    assert [line.split()[1] for line in labels.splitlines()] == ["vda", "vdb"]
    assert vm.wait_ledger_advance() > 0


def test_ledger_advances_on_raw_disks_and_after_a_power_cut_goes_on(guest):
    vm = guest(format="raw")
    before = vm.wait_ledger_advance()
    assert vm.wait_ledger_advance() > before
    vm.kill()
    assert ledger.assert_atomic(*vm.images.values(), replay=True) >= before
    vm.start()
    vm.wait_ready()
    assert int(vm.wait_console(r"goes on from (\d+)$")[1]) >= before
    assert vm.wait_ledger_advance() > before


@pytest.mark.time_limit(240)  # three boots, each a minute on a machine that is very busy
def test_ledger_refuses_disks_of_two_points_in_time(guest, tmp_path):
    vm = guest()
    vm.wait_ledger_advance()
    vm.kill()
    shutil.copy(vm.images["vdb"], tmp_path / "old.qcow2")
    vm.start()
    vm.wait_ready().wait_ledger_advance()
    vm.kill()
    with pytest.raises(AssertionError, match="not one point in time"):
        ledger.assert_atomic(vm.images["vda"], tmp_path / "old.qcow2", replay=True)
    vm.images["vdb"] = tmp_path / "old.qcow2"
    vm.start()
    assert vm.wait_console(r"^ledger: split .*/disks/vda \d+ /disks/vdb \d+$")


def test_freeze_and_thaw_run_the_hook_and_hold_the_ledger(guest):
    vm = guest()
    vm.wait_ledger_advance()
    with vm.agent() as agent:
        assert agent.execute("guest-fsfreeze-freeze") == 2
        assert agent.execute("guest-fsfreeze-status") == "frozen"
        vm.wait_console(r"^chainctl-hook: freeze$")
        with pytest.raises(TimeoutError):
            vm.wait_ledger_advance(timeout=2.5)
        assert agent.execute("guest-fsfreeze-thaw") == 2
    vm.wait_console(r"^chainctl-hook: thaw$")
    assert vm.wait_ledger_advance() > 0


@pytest.mark.parametrize("words", ["hook=fail", "hook=missing", "agent_args=-b%20guest-fsfreeze-freeze"])
def test_freeze_fails_where_the_command_line_says_so(guest, words):
    vm = guest(cmdline=f"chainctl.{words}")
    with vm.agent() as agent, pytest.raises(QmpError):
        agent.execute("guest-fsfreeze-freeze")


def test_slow_hook_holds_the_freeze_back(guest):
    vm = guest(cmdline="chainctl.hook=slow")
    begin = time.monotonic()
    with vm.agent() as agent:
        assert agent.execute("guest-fsfreeze-freeze") == 2
        assert time.monotonic() - begin > 2.9
        agent.execute("guest-fsfreeze-thaw")


def test_command_line_leaves_out_mounts_ledger_and_agent(guest):
    vm = guest(cmdline="chainctl.mount=off chainctl.agent=off")
    with pytest.raises(TimeoutError):
        vm.wait_console("ledger:", timeout=1)
    with pytest.raises(TimeoutError):
        Agent(vm.agent_socket, timeout=1)
    vm.kill()
    with pytest.raises(AssertionError, match="no ext4"):
        ledger.filesystem_state(vm.images["vda"])


def test_snapshot_while_frozen_is_clean_without_recovery_and_atomic(guest, tmp_path):
    vm = guest()
    vm.wait_ledger_advance()
    with vm.agent() as agent:
        agent.execute("guest-fsfreeze-freeze")
        frozen = snapshot_all(vm, tmp_path)
        agent.execute("guest-fsfreeze-thaw")
    last = ledger.assert_quiesced(*frozen)
    vm.wait_ledger_advance()
    assert vm.monitor().chain("vda") == [str(tmp_path / "vda.snap.qcow2"), str(tmp_path / "vda.qcow2")]
    assert ledger.assert_quiesced(*frozen) == last


def test_snapshot_without_a_freeze_is_atomic_after_recovery(guest, tmp_path):
    vm = guest()
    vm.wait_ledger_advance()
    told = vm.ledger_position()
    crashed = snapshot_all(vm, tmp_path)
    assert ledger.filesystem_state(crashed[0])["needs_recovery"]
    with pytest.raises(AssertionError):
        ledger.assert_quiesced(*crashed)
    assert ledger.assert_atomic(*crashed, replay=True) >= told


@pytest.mark.parametrize("mode, event", [("reboot", "RESET"), ("powerdown", "SHUTDOWN")])
def test_agent_shuts_the_guest_down_cleanly(guest, mode, event):
    vm = guest(extra=[] if mode == "reboot" else ["-no-shutdown"])
    vm.wait_ledger_advance()
    with vm.agent() as agent:
        agent.send({"execute": "guest-shutdown", "arguments": {"mode": mode}})
        vm.monitor().wait_event(event)
    if mode == "powerdown":
        ledger.assert_quiesced(*vm.images.values())
    else:
        vm.wait_console(r"goes on from [1-9]\d*$")


def test_ledger_parser_sees_every_kind_of_damage():
    def record(number):
        head = b"ledger %012d epoch 00c0ffee " % number
        return (head + b"sum %08x " % ledger.zlib.crc32(head)).ljust(63, b".") + b"\n"

    assert ledger.parse(record(1) + record(2)) == [1, 2]
    assert ledger.parse(b"") == []
    for damaged in (record(1)[:40], record(2), record(1) + record(3), record(1).replace(b"0ffee", b"0ffed"), bytes(64)):
        with pytest.raises(AssertionError):
            ledger.parse(damaged)


def test_bare_qemu_starts_fast_and_writes_through_its_device(qemu, tmp_path):
    image = images.create(tmp_path / "a.qcow2", "1M")
    words = ["-blockdev", f"driver=file,node-name=f,filename={image}", "-blockdev", "driver=qcow2,node-name=q,file=f"]
    vm = qemu([*words, "-device", "virtio-blk-pci,id=vda,drive=q"])
    assert vm.monitor().execute("query-status")["status"] == "prelaunch"
    assert "wrote 65536/65536" in vm.qemu_io("vda", "write -P 7 0 64k")
    assert images.is_clean(image)
    written = images.to_raw(image, tmp_path / "raw").read_bytes()
    assert written == b"\x07" * 65536 + bytes(1048576 - 65536)


def test_qemu_io_raises_where_the_data_is_other(qemu, tmp_path):
    image = images.create(tmp_path / "a.raw", "1M", "raw")
    vm = qemu(["-blockdev", f"driver=file,node-name=f,filename={image}", "-device", "virtio-blk-pci,id=vda,drive=f"])
    vm.qemu_io("vda", "write -P 7 0 64k")
    vm.qemu_io("vda", "read -P 7 0 64k")
    with pytest.raises(AssertionError, match="failed"):
        vm.qemu_io("vda", "read -P 8 0 64k")


def test_peer_of_the_monitor_under_test_is_qemu(qemu):
    vm = qemu()
    with connect_unix(vm.qmp, 5) as connection:
        pid, _, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    assert pid == vm.pid


def test_second_monitor_can_be_left_out(qemu):
    vm = qemu(second_monitor=False)
    with Qmp(vm.qmp) as only:
        assert {device["label"] for device in only.execute("query-chardev")} == {"qmp"}
    assert not vm.qmp_test.exists()


def test_chain_is_the_live_one_seen_through_a_filter(qemu, tmp_path):
    base = images.create(tmp_path / "a.qcow2", "1M")
    top = images.create(tmp_path / "b.qcow2", None, backing=base)
    words = ["-object", "throttle-group,id=t", "-blockdev", f"driver=file,node-name=f,filename={top}"]
    words += ["-blockdev", "driver=qcow2,node-name=q,file=f"]
    words += ["-blockdev", "driver=throttle,throttle-group=t,node-name=th,file=q"]
    vm = qemu([*words, "-device", "virtio-blk-pci,id=vda,drive=th"])
    assert vm.monitor().chain("vda") == [str(top), str(base)]


def test_qemu_that_cannot_start_says_why(qemu):
    with pytest.raises(RuntimeError, match="no-such-driver"):
        qemu(["-blockdev", "driver=no-such-driver,node-name=x"])


def test_monitor_is_reached_by_a_path_longer_than_an_address(qemu, tmp_path):
    folder = tmp_path / ("long" * 50)
    vm = qemu()
    folder.symlink_to(vm.folder)
    with Qmp(folder / "qmp") as monitor:
        assert monitor.execute("query-status")["running"] is False


def test_strace_shows_what_a_running_qemu_does_to_its_image(qemu, tmp_path):
    image = images.create(tmp_path / "a.raw", "1M", "raw")
    vm = qemu(["-blockdev", f"driver=file,node-name=f,filename={image}", "-device", "virtio-blk-pci,id=vda,drive=f"])
    with strace.attached(vm.pid) as calls:
        vm.qemu_io("vda", "write 0 4k")
        vm.qemu_io("vda", "flush")
    names = {call.name for call in calls if call.touches(image)}
    assert "fdatasync" in names and names & {"pwrite64", "pwritev"}


def test_strace_follows_a_command():
    status, calls = strace.run(["cat", "/etc/hostname"])
    assert status == 0
    assert any(call.name == "openat" and call.touches("/etc/hostname") for call in calls)


@pytest.mark.once
def test_process_dies_with_its_parent():
    source = f"""
        import os, sys
        sys.path.insert(0, {str(TESTS)!r})
        from support.process import spawn
        print(spawn(["sleep", "1000"]).pid, flush=True)
        sys.stdin.read()
    """
    words = [sys.executable, "-c", textwrap.dedent(source)]
    with process.running(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        grandchild = int(parent.stdout.readline())
        assert process.is_alive(grandchild)
        os.kill(parent.pid, signal.SIGKILL)
        assert process.wait_dead(grandchild, 5)


def run_pytest(tmp_path, source):
    """Runs one test in a pytest of its own that has our conftest. Returns its output."""
    (tmp_path / "conftest.py").symlink_to(TESTS / "conftest.py")
    (tmp_path / "test_it.py").write_text(textwrap.dedent(source))
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tmp_path]
    return subprocess.run(words, capture_output=True, text=True, timeout=60).stdout


@pytest.mark.once
def test_a_test_that_leaves_a_process_in_its_own_session_fails(tmp_path):
    said = run_pytest(tmp_path, """
        import subprocess
        def test_it(): subprocess.run(["setsid", "-f", "sleep", "987"], check=True)
    """)  # fmt: skip
    assert "processes outlived the test" in said and "sleep 987" in said


@pytest.mark.once
def test_a_test_that_hangs_is_ended(tmp_path):
    said = run_pytest(tmp_path, """
        import pytest, time
        @pytest.mark.time_limit(0.5)
        def test_it(): time.sleep(30)
    """)  # fmt: skip
    assert "TimeoutError: test_it took longer than 0.5 s" in said


def fake_chainctl(chainctl, tmp_path, status, out):
    script = tmp_path / "fake"
    script.write_text(f"#!/bin/sh\necho '{out}'\nexit {status}\n")
    script.chmod(0o755)
    return chainctl(binary=script)


def test_ok_accepts_only_success_in_one_document(chainctl, tmp_path):
    assert fake_chainctl(chainctl, tmp_path, 0, '{"ok":true,"vms":[]}').ok("vm", "list")["vms"] == []
    for status, out in ((1, '{"ok":true}'), (0, '{"ok":false}'), (0, '{"ok":true} {"ok":true}'), (0, "")):
        with pytest.raises(AssertionError, match="chainctl vm list"):
            fake_chainctl(chainctl, tmp_path, status, out).ok("vm", "list")


def test_fails_accepts_only_the_failure_that_is_meant(chainctl, tmp_path):
    failure = '{"ok":false,"error":{"code":"busy","message":"held by 1"}}'
    assert fake_chainctl(chainctl, tmp_path, 6, failure).fails(6, "commit")["code"] == "busy"
    for status, out in ((9, failure), (6, '{"ok":true}'), (6, "")):
        with pytest.raises(AssertionError, match="chainctl commit"):
            fake_chainctl(chainctl, tmp_path, status, out).fails(6, "commit")


@pytest.mark.once
def test_builders_at_once_and_killed_ones_do_no_harm(guest_image, tmp_path):
    env = {**os.environ, "CHAINCTL_CACHE": str(tmp_path)}
    options = {"env": env, "stdout": subprocess.PIPE, "text": True}
    (tmp_path / "building-killed").mkdir()
    builders = [process.spawn([TESTS / "guest/build"], **options) for _ in range(2)]
    told = {builder.communicate(timeout=100)[0].strip() for builder in builders}
    assert [builder.returncode for builder in builders] == [0, 0]
    assert told == {str(tmp_path / guest_image.name)}
    assert sorted(path.name for path in tmp_path.glob("guest-*/*")) == ["initramfs.cpio", "vmlinuz"]
    assert not [path for path in tmp_path.glob("building-*") if path.name != "building-killed"]


def test_program_folder_of_another_qemu_goes_first(monkeypatch, tmp_path):
    (tmp_path / "qemu-img").symlink_to("/bin/true")
    monkeypatch.setenv("CHAINCTL_TEST_QEMU", str(tmp_path))
    assert program("qemu-img") == str(tmp_path / "qemu-img")
    assert program("qemu-system-x86_64") != str(tmp_path / "qemu-system-x86_64")


def test_machine_runs_the_program_that_was_meant(qemu):
    vm, meant = qemu(), pathlib.Path(program("qemu-system-x86_64"))
    runs = pathlib.Path(f"/proc/{vm.pid}/exe").resolve()
    assert runs == meant.resolve() and "qemu" in runs.name
    said = subprocess.run([meant, "--version"], capture_output=True, text=True).stdout
    assert f"version {vm.version[0]}.{vm.version[1]}." in said
    assert runs == pathlib.Path(program("qemu-img")).resolve().with_name(runs.name)
