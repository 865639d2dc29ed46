"""The machine that is crashed: a QEMU without a guest, its disks on a golden image that is not its own, an agent that
follows a script, and the chainctl of the build with points that knows it as "vm".

    [golden] <- [vda.qcow2, the base and active]

The golden image, read by all and written by none, is made once. Regions of a disk that hold a pattern are remembered,
and are read back through the device and from images.
"""
import pathlib
import shutil

from crash_agent import ScriptedAgent
from support import disks, images
from support.chainctl import Chainctl
from support.qemu import Qemu

SIZE = "8M"
REGION = 64 * 1024


class Templates:
    """The golden image, and a disk on it to copy: making them takes longer than a crash."""

    def __init__(self, folder):
        self.golden = images.create(folder / "golden.qcow2", SIZE)
        images.write(self.golden, f"write -P 11 0 {REGION}")
        self.disk = images.create(folder / "disk.qcow2", None, backing=self.golden)
        images.write(self.disk, f"write -P 12 {REGION} {REGION}")
        self.golden_sha256 = images.sha256(self.golden)


class Machine:
    """`with Machine(templates, folder, binary, disks=2, paused=False) as machine:`"""

    def __init__(self, templates, folder, binary, *, disks=1, paused=False, options=()):
        self.templates, self.folder, self.paused = templates, pathlib.Path(folder), paused
        self.options = options  # of `vm add`
        self.images = self.folder / "images"
        self.images.mkdir()
        self.bases = {f"vd{letter}": self.images / f"vd{letter}.qcow2" for letter in "abc"[:disks]}
        for path in self.bases.values():
            shutil.copy(templates.disk, path)
        self.patterns = {name: [11, 12] for name in self.bases}  # region -> what the guest would read there
        self.ctl = Chainctl(self.folder / "state", binary=binary)
        self.vm = self.agent = None

    def __enter__(self):
        self.start(self.bases)
        self.agent_socket = self.vm.folder / "agent"
        self.agent = ScriptedAgent(self.agent_socket).start()
        try:
            disks.register(self.ctl, self.vm, "--agent", f"unix:{self.agent_socket}", *self.options)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.agent:
            self.agent.die()
        self.vm.close()

    @property
    def names(self):
        return list(self.bases)

    def start(self, paths):
        """A QEMU on these images, behind the same sockets as before."""
        words = [word for name, path in paths.items() for word in disks.blockdev(name, path)]
        self.vm = self.vm or Qemu(paused=self.paused)
        self.vm.arguments = words
        self.vm.start()
        if self.agent:
            self.agent.start()

    def power_off(self):
        """SIGKILL for QEMU; the agent goes with it."""
        self.vm.kill()
        self.agent.die()

    @property
    def runs(self):
        return self.vm.process is not None

    def write(self, name, pattern):
        """Fills the disk's next region through the device, and has it flushed."""
        region = len(self.patterns[name])
        self.vm.qemu_io(name, f"write -P {pattern} {region * REGION} {REGION}")
        self.patterns[name].append(pattern)

    def write_zeroes(self, name, region):
        """Takes a pattern away again, as a guest does that deletes: the image underneath must not shine through."""
        self.vm.qemu_io(name, f"write -z {region * REGION} {REGION}")
        self.patterns[name][region] = 0

    def assert_reads_back(self):
        """Every disk reads, through its device, what was ever written to it."""
        for name, patterns in self.patterns.items():
            reads = [f"read -P {pattern} {region * REGION} {REGION}" for region, pattern in enumerate(patterns)]
            self.vm.qemu_io(name, *reads)

    def chain(self, name):
        return self.vm.monitor().chain(name)

    def nodes_of_ours(self):
        return {name for name in disks.nodes(self.vm) if name.startswith("cc-")}

    def files(self):
        return {path.name for path in self.images.iterdir()}


def watchdogs_of(pid):
    """The watchdog processes of a chainctl that is alive."""
    return _children(pid, b"--watchdog")


def standins_of(pid):
    """The storage daemons that stand in for its QEMU."""
    return _children(pid, b"qemu-storage-daemon")


def _children(pid, word):
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children if word in pathlib.Path(f"/proc/{child}/cmdline").read_bytes()]


