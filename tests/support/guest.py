"""The small real guest in a QEMU: disks, an agent, and a ledger that it writes to them for ever.

Its disks are called vda, vdb …: qdev id, serial, mount point (/disks/vda) and the stem of the first image alike; the
block nodes are vda-file and vda-format. What the guest does is chosen by `chainctl.*` words, see tests/guest/init.
"""
import contextlib
import pathlib
import re

from support import images, process
from support.agent import Agent
from support.qemu import Qemu

KERNEL_WORDS = "console=ttyS0 quiet panic=-1 random.trust_cpu=on mitigations=off cryptomgr.notests"
BUSES = ("virtio-blk", "virtio-scsi", "drive", "legacy")


class Guest(Qemu):
    """`with Guest(built, folder) as guest: guest.wait_ready()`

    built: the folder that tests/guest/build printed. folder: where images are made. disks: how many; or
    {name: path} to boot from images that exist. bus: one of BUSES; "drive" is -drive plus -device with an id,
    "legacy" is -drive if=virtio, no ids at all. blockdev and device: options added to each disk's format node and
    device, file_options to its file node. extra: more words for QEMU.
    """

    def __init__(self, built, folder, disks=2, *, size="128M", bus="virtio-blk", format="qcow2", cmdline="",
                 agent=True, extra=(), memory="256M", paused=False, second_monitor=True, blockdev="",
                 file_options="", device="", **options):  # fmt: skip
        super().__init__(extra, memory=memory, paused=paused, second_monitor=second_monitor, **options)
        assert bus in BUSES and (bus.startswith("virtio") or not file_options), bus
        self.built, self.images_folder = pathlib.Path(built), pathlib.Path(folder)
        self.bus, self.size, self.format, self.cmdline = bus, size, format, cmdline
        self.blockdev, self.file_options, self.device = blockdev, file_options, device
        self.has_agent = agent
        self.agent_socket = self.folder / "agent"
        self.console = self.folder / "console.log"
        self.images = self._existing_or_new(disks)

    def command_line(self, monitor_fd):
        kernel = ["-kernel", self.built / "vmlinuz", "-initrd", self.built / "initramfs.cpio"]
        kernel += ["-append", f"{KERNEL_WORDS} {self.cmdline}", "-serial", f"file:{self.console}"]
        return super().command_line(monitor_fd) + kernel + self._agent_words() + self._disk_words()

    def start(self):
        """Boots, with a console that begins anew; after kill() and a change of `images` or `cmdline` too."""
        self.console.unlink(missing_ok=True)
        self.agent_socket.unlink(missing_ok=True)
        return super().start()

    def agent(self):
        """A fresh connection to the agent; use it as a context manager, and close it for the next client."""
        return Agent(self.agent_socket)

    def console_text(self):
        """All that the guest has printed since start()."""
        return self.console.read_text(errors="replace").replace("\r", "") if self.console.exists() else ""

    def wait_console(self, pattern, timeout=60, after=0):
        """The match of a pattern in the console's text, from that many characters on."""

        def look():
            found = re.compile(pattern, re.MULTILINE).search(self.console_text(), after)
            if not found and self.process.poll() is not None:
                raise RuntimeError(f"QEMU ended ({self.process.returncode})\n{self.console_text()[-2000:]}")
            return found

        try:
            return process.wait_until(look, timeout, f"/{pattern}/ on the console")
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.console_text()[-2000:]}") from None

    def wait_ready(self, timeout=120):
        """Until the guest has booted and, where it has one, its agent answers. Returns the guest."""
        self.wait_console(r"^chainctl-guest: ready$", timeout)
        if self.has_agent and "chainctl.agent=off" not in self.cmdline:
            self.agent().close()
        return self

    @contextlib.contextmanager
    def awake(self):
        """Runs for the length of the with-block, and is paused after it: one that only waits for the next test to use it
        costs a core, since its ledger never stops."""
        self.monitor().execute("cont")
        yield
        self.monitor().execute("stop")

    def ledger_position(self):
        """The last number that the ledger has told; it tells four a second. 0 before the first."""
        told = re.findall(r"^ledger: (\d+)$", self.console_text(), re.MULTILINE)
        return int(told[-1]) if told else 0

    def wait_ledger_advance(self, timeout=60):
        """Until the ledger tells a number that it had not told before. Returns it."""
        seen = len(self.console_text())
        return int(self.wait_console(r"^ledger: (\d+)$", timeout, after=seen)[1])

    def _existing_or_new(self, disks):
        if not isinstance(disks, int):
            return {name: pathlib.Path(path) for name, path in disks.items()}
        names = [f"vd{letter}" for letter in "abcdefgh"[:disks]]
        paths = {name: self.images_folder / f"{name}.{self.format}" for name in names}
        for path in paths.values():
            images.create(path, self.size, self.format)
        return paths

    def _agent_words(self):
        if not self.has_agent:
            return []
        return [
            *("-device", "virtio-serial"),
            *("-chardev", f"socket,id=agent,path={self.agent_socket},server=on,wait=off"),
            *("-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"),
        ]

    def _disk_words(self):
        words = ["-device", "virtio-scsi-pci,id=scsi0"] if self.bus == "virtio-scsi" else []
        for name, path in self.images.items():
            words += self._words_of_disk(name, str(path).replace(",", ",,"), images.info(path)["format"])
        return words

    def _words_of_disk(self, name, path, form):
        if self.bus == "legacy":
            return ["-drive", _join(f"if=virtio,format={form},file={path}", self.blockdev)]
        model = "scsi-hd,bus=scsi0.0" if self.bus == "virtio-scsi" else "virtio-blk-pci"
        if self.bus == "drive":
            node = f"drive-{name}"
            back = ["-drive", _join(f"if=none,id={node},format={form},file={path}", self.blockdev)]
        else:
            node = f"{name}-format"
            file = _join(f"driver=file,node-name={name}-file,filename={path}", self.file_options)
            back = ["-blockdev", file]
            back += ["-blockdev", _join(f"driver={form},node-name={node},file={name}-file", self.blockdev)]
        return [*back, "-device", _join(f"{model},id={name},drive={node},serial={name}", self.device)]


def _join(*parts):
    return ",".join(part for part in parts if part)
