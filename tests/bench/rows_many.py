"""(f) One snapshot each of 300 VMs at once: qemu-storage-daemons, with one disk each."""
import contextlib
import pathlib
import shutil
import tempfile

import bare
from figures import Row, in_turn, timed
from support import images, process

MACHINES, SIZE = 300, 8 << 20


class Crowd:
    """So many daemons; sockets is {monitor's socket: its Disk}. Each has its image in a folder of its own."""

    def __init__(self, folder, template):
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="ck-", dir="/tmp"))  # a socket's path is short
        self.folder, self.template, self.sockets = folder, template, {}

    def __enter__(self):
        self._stack = contextlib.ExitStack()
        self._stack.callback(shutil.rmtree, self.home)
        with contextlib.ExitStack() as on_failure:
            on_failure.callback(self._stack.close)
            for number in range(MACHINES):
                self._start(number)
            for path in self.sockets:
                process.wait_until(path.exists, 60, f"the monitor {path}")
            on_failure.pop_all()
        return self

    def __exit__(self, *_):
        self._stack.close()

    def _start(self, number):
        image, monitor = self.folder / f"{number}/disk.qcow2", self.home / str(number)
        image.parent.mkdir()
        shutil.copy(self.template, image)
        words = [process.program("qemu-storage-daemon")]
        words += ["--chardev", f"socket,id=qmp,path={monitor},server=on,wait=off", "--monitor", "chardev=qmp"]
        words += ["--blockdev", f"driver=qcow2,node-name=disk,file.driver=file,file.filename={image}"]
        self._stack.enter_context(process.running(words))
        self.sockets[monitor] = bare.Disk("disk", image, SIZE)


def rows(bench):
    template = images.create(bench.folder / "template.qcow2", SIZE)
    samples = {"chainctl": [], "bare": []}
    with Crowd(bench.new_folder("many-bare"), template) as theirs, Crowd(bench.new_folder("many"), template) as ours:
        ctl = bench.chainctl("many")
        for number, path in enumerate(ours.sockets):
            ctl("vm", "add", f"vm{number}", "--qmp", path)
        for turn in range(bench.rounds + 1):
            for name in in_turn(samples, turn):
                took = (timed(bare.snapshot_of_many, theirs.sockets, f"s{turn}") if name == "bare"
                        else timed(ctl, "snapshot", "--all", f"s{turn}"))
                if turn > 0:
                    samples[name].append(took)
    rival = Row("f", f"{MACHINES} at once: bare", samples["bare"])
    yield Row("f", f"{MACHINES} at once: chainctl", samples["chainctl"], ratios={"bare": rival}, limits={"bare": 1.5})
    yield rival
