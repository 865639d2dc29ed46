"""One QEMU for one test; support/monitored.py has its monitors and its end.

By itself it is an empty machine that never runs (-S): graph tests give it disks and it starts in a blink.
"""
import pathlib
import subprocess

from support import process
from support.monitored import Monitored

ACCELERATOR = "tcg,tb-size=64"  # with the default cache of translated code a reset takes up to 8 s, not 2.5


def is_listening(path):
    """Whether somebody listens at that socket; that it exists is not enough: it is bound before."""
    accepts = "00010000"  # __SO_ACCEPTCON, as /proc/net/unix has it among the flags
    sockets = (line.split(maxsplit=7) for line in pathlib.Path("/proc/net/unix").read_text(errors="replace").splitlines())
    return any(words[3] == accepts and words[7:] == [str(path)] for words in sockets)


def run_as(user):
    """Words that make QEMU become that user, and the group of the same number, once it has opened its images.

    QEMU 10 has no -runas any more, QEMU 7 nothing else.
    """
    said = subprocess.run([process.program("qemu-system-x86_64"), "--help"], capture_output=True, text=True, check=True)
    both = f"{user}:{user}"
    return ["-runas", both] if "\n-runas " in said.stdout else ["-run-with", f"user={both}"]


class Qemu(Monitored):
    """`with Qemu(["-blockdev", …]) as vm:` – or start() and close()."""

    machine = "q35"

    def __init__(self, arguments=(), *, memory="16M", paused=True, second_monitor=True, machine=None, uuid=None):
        super().__init__()
        self.arguments, self.memory, self.paused = list(arguments), memory, paused
        self.machine = machine or self.machine
        self.uuid, self.second_monitor = uuid, second_monitor

    @property
    def version(self):
        """(major, minor): what a test may go by where QEMU itself differs."""
        version = self.monitor().greeting["version"]["qemu"]
        return version["major"], version["minor"]

    def command_line(self, monitor_fd):
        """All of QEMU's words; the test's monitor listens on that descriptor."""
        words = [process.program("qemu-system-x86_64"), "-accel", ACCELERATOR, "-cpu", "max"]
        words += ["-machine", self.machine, "-m", self.memory, "-nodefaults", "-no-user-config", "-display", "none"]
        words += ["-chardev", f"socket,id=qmp,path={self.qmp},server=on,wait=off", "-mon", "chardev=qmp,mode=control"]
        if self.second_monitor:
            words += ["-chardev", f"socket,id=qmp-test,fd={monitor_fd},server=on,wait=off"]
            words += ["-mon", "chardev=qmp-test,mode=control"]
        if self.uuid:
            words += ["-uuid", self.uuid]
        return words + (["-S"] if self.paused else []) + self.arguments

    def qemu_io(self, device, *commands):
        """Reads or writes as the guest would, through the device with that qdev id, then flushes. An error raises.

        A device without an id is named by its QOM path.
        """
        path = device if device.startswith("/") else f"/machine/peripheral/{device}"
        if any(entry["name"] == "virtio-backend" for entry in self.monitor().execute("qom-list", path=path)):
            path += "/virtio-backend"
        before = self.log.stat().st_size
        for io in (*commands, "flush"):
            line = f'qemu-io -d {path} "{io}"'
            refused = self.monitor().execute("human-monitor-command", command_line=line)
            assert not refused, f"{io}: {refused}"
        said = self.log.read_bytes()[before:].decode(errors="replace")  # qemu-io prints to QEMU's own stdout
        assert "failed" not in said, f"{commands}: {said}"
        return said

    def wait_exit(self, timeout=60):
        """Waits for QEMU to end by itself. Returns its exit status."""
        status = self.process.wait(timeout)
        self._forget()
        return status

    def _await_monitor(self):
        if self.second_monitor:
            super()._await_monitor()
            return
        process.wait_until(lambda: is_listening(self.qmp) or self.process.poll() is not None, 60, "QEMU's monitor")
        if self.process.poll() is not None:
            raise ConnectionResetError(f"exit status {self.process.returncode}")
