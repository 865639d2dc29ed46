"""`vm discover`: QEMUs and storage daemons are found, told, and not disturbed."""
import os
import pathlib
import shlex
import shutil
import socket
import subprocess
import tempfile

import pytest

from support import disks, images, process
from support.qemu import is_listening
from support.qmp import Qmp

UUID = "0b6d6a52-4f5a-4a0e-9d3b-6d1f2a7c8e90"


@pytest.fixture
def ctl(chainctl):
    return chainctl()


@pytest.fixture
def sockets():
    """A folder whose paths fit into a socket's address."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="ck-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


def found(document, qmp):
    """What is told of the monitor at that path; others may run on this machine."""
    return [vm for vm in document["vms"] if vm["qmp"] == str(qmp)]


@pytest.fixture
def daemon(sockets):
    """daemon(words) starts a qemu-storage-daemon and returns when its monitor listens; with cwd, at a relative path."""
    started = []

    def start(*words, qmp, cwd=None):
        started.append(process.spawn([process.program("qemu-storage-daemon"), *words], cwd=cwd))
        bound = os.path.relpath(qmp, cwd) if cwd else qmp
        process.wait_until(lambda: is_listening(bound) or started[-1].poll() is not None, 60, "the daemon's monitor")
        assert started[-1].poll() is None
        return started[-1]

    yield start
    for one in started:
        process.end(one)


def test_qemu_is_told_with_its_name_uuid_and_agent_and_can_be_added_by_the_line(qemu, ctl, folder, sockets):
    agent = ["-chardev", f"socket,id=ga,path={sockets}/agent,server=on,wait=off", "-device", "virtio-serial",
             "-device", "virtserialport,chardev=ga,name=org.qemu.guest_agent.0"]  # fmt: skip
    machine = qemu([*disks.two(folder)[0], *agent, "-name", "guest=my web,debug-threads=on"], uuid=UUID)
    (told,) = found(ctl.ok("vm", "discover"), machine.qmp)
    assert (told["name"], told["uuid"], told["agent"]) == ("my web", UUID, f"unix:{sockets}/agent")
    assert (told["state"], told["registered"], told["libvirt"]) == ("paused", None, False)
    assert "disks" not in told and told["quiesce"] == "auto" and told["guest"] is None
    lines = ctl.run("vm", "discover", json_output=False).out.splitlines()
    (line,) = [line for line in lines if line.startswith("chainctl vm add") and str(machine.qmp) in line]
    words = shlex.split(line)
    assert words[3].startswith("my-web")
    assert ctl.ok(*words[1:])["vm"]["agent"] == f"unix:{sockets}/agent"
    (told,) = found(ctl.ok("vm", "discover"), machine.qmp)
    assert told["registered"] == words[3]
    assert not any(str(machine.qmp) in line for line in
                   ctl.run("vm", "discover", json_output=False).out.splitlines() if line.startswith("chainctl"))  # fmt: skip


def test_monitor_that_is_busy_is_left_alone(qemu, ctl):
    machine = qemu(["-name", "busy"], uuid=UUID)
    with Qmp(machine.qmp) as held:
        told = found(ctl.ok("vm", "discover"), machine.qmp)
        assert [(one["name"], one["uuid"], one["state"]) for one in told] == [("busy", UUID, "unreachable")]
        assert held.execute("query-status")["status"] == "prelaunch"


def test_registered_monitor_is_not_connected_to(qemu, ctl, folder):
    machine = qemu(disks.two(folder)[0])
    disks.register(ctl, machine)
    with Qmp(machine.qmp):
        (told,) = found(ctl.ok("vm", "discover"), machine.qmp)
    assert (told["registered"], told["state"]) == ("vm", "running")


@pytest.mark.parametrize("spelling", ["keyval", "json"])
def test_storage_daemon_is_found(ctl, daemon, sockets, spelling):
    qmp = sockets / "d,qmp"
    chardev = f"socket,id=m,path={disks.escaped(qmp)},server=on,wait=off"
    monitor = "chardev=m" if spelling == "keyval" else '{"chardev":"m","mode":"control"}'
    daemon("--chardev", chardev, "--monitor", monitor, qmp=qmp)
    (told,) = found(ctl.ok("vm", "discover"), qmp)
    assert (told["uuid"], told["state"], told["registered"]) == (None, "running", None)


def test_relative_path_and_odd_characters_are_resolved(ctl, daemon, sockets):
    (sockets / "a b'c").mkdir()
    qmp = sockets / "a b'c" / "m"
    daemon("--chardev", "socket,id=m,path=m,server=on,wait=off", "--monitor=m", qmp=qmp, cwd=qmp.parent)
    assert len(found(ctl.ok("vm", "discover"), qmp)) == 1
    said = ctl.run("vm", "discover", json_output=False).out
    (line,) = [line for line in said.splitlines() if line.startswith("chainctl") and "a b" in line]
    assert shlex.split(line)[-1] == f"unix:{qmp}"


def test_abstract_sockets_and_monitors_for_people_are_skipped(ctl, qemu, sockets):
    machine = qemu(["-chardev", f"socket,id=a,path=ck-{os.getpid()},abstract=on,server=on,wait=off",
                    "-mon", "chardev=a,mode=control", "-monitor", f"unix:{sockets}/hmp,server=on,wait=off",
                    "-qmp", f"unix:{sockets}/second,server,nowait"])  # fmt: skip
    document = ctl.ok("vm", "discover", sockets)
    assert found(document, sockets / "hmp") == []
    assert not any("ck-" + str(os.getpid()) in vm["qmp"] for vm in document["vms"])
    ours = [vm for vm in document["vms"] if vm["qmp"].startswith((str(machine.folder), str(sockets)))]
    assert len(ours) == 1, "one VM, however many monitors it has"


def test_socket_in_a_folder_is_tried_and_what_is_no_monitor_is_not_told(ctl, qemu, sockets):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(sockets / "handed"))
    listener.listen(1)
    silent = socket.socket(socket.AF_UNIX)
    silent.bind(str(sockets / "silent"))
    silent.listen(1)
    with listener, silent:
        words = [process.program("qemu-storage-daemon"), "--chardev",
                 f"socket,id=m,fd={listener.fileno()},server=on,wait=off", "--monitor", "m"]  # fmt: skip
        running = process.spawn(words, pass_fds=[listener.fileno()])
        try:
            Qmp(sockets / "handed").close()
            (sockets / "stale").touch()
            document = ctl.ok("vm", "discover", sockets)
            assert [vm["name"] for vm in document["vms"] if vm["qmp"].startswith(str(sockets))] == ["handed"]
        finally:
            process.end(running)


def test_folder_that_cannot_be_read_is_a_warning(ctl, tmp_path):
    told = ctl.ok("vm", "discover", tmp_path / "none")
    assert "folder-unreadable" in [one["code"] for one in told["warnings"]]


@pytest.mark.skipif(os.geteuid() != 0, reason="a mount namespace of its own needs root")
def test_qemu_in_another_mount_namespace_is_a_warning(ctl, sockets):
    inner = sockets / "inner"
    inner.mkdir()
    script = (f"mount -t tmpfs none {inner} && exec {process.program('qemu-storage-daemon')} --chardev "
              f"socket,id=m,path={inner}/qmp,server=on,wait=off --monitor m --daemonize --pidfile {sockets}/pid")  # fmt: skip
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], timeout=60)
    if done.returncode != 0:
        pytest.skip("no mount namespaces here")
    pid = int((sockets / "pid").read_text())
    try:
        told = ctl.ok("vm", "discover")
        assert found(told, inner / "qmp") == []
        assert any(str(pid) in one["message"] for one in told["warnings"] if one["code"] == "another-namespace")
    finally:
        process.kill_child(pid)
        process.reap_orphans()


def test_no_image_or_database_is_touched(ctl, qemu, folder):
    machine = qemu(disks.two(folder)[0])
    with disks.unchanged(machine, folder):
        ctl.ok("vm", "discover", folder)
    assert not ctl.state_dir.exists()
    assert images.is_clean(folder / "vda.qcow2")


@pytest.mark.parametrize("path, name", [("web/qmp.sock", "web"), ("web/qmp", "web"), ("web/monitor", "web"), ("web/db.qmp", "db"), ("qemu/qmp", "qmp")])
def test_monitor_whose_name_says_nothing_is_called_after_its_folder(ctl, daemon, sockets, path, name):
    qmp = sockets / path
    qmp.parent.mkdir()
    daemon("--chardev", f"socket,id=m,path={qmp},server=on,wait=off", "--monitor=m", qmp=qmp)
    assert [one["name"] for one in found(ctl.ok("vm", "discover"), qmp)] == [name]


def test_those_that_are_called_alike_are_told_apart_above_the_lines_that_add_them(ctl, daemon, sockets):
    paths = [sockets / number / "twin.qmp" for number in "12"]
    for qmp in paths:
        qmp.parent.mkdir()
        daemon("--chardev", f"socket,id=m,path={qmp},server=on,wait=off", "--monitor=m", qmp=qmp)
    table, lines = ctl.run("vm", "discover", json_output=False).out.split("\n\n")
    shown = [line.split()[0] for line in table.splitlines() if str(sockets) in line]
    added = [line.split()[3] for line in lines.splitlines() if str(sockets) in line]
    assert shown == added == ["twin", "twin-2"]
