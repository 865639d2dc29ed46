"""(d) What the length of the chain costs: a snapshot of a disk that stands on so many images."""
import contextlib

from figures import Row, timed
from support import disks, images
from support.qemu import Qemu

DEPTHS = (1, 50, 200)


def rows(bench):
    takes = {depth: [] for depth in DEPTHS}
    with contextlib.ExitStack() as stack:
        ctl = bench.chainctl("depth")
        for depth in DEPTHS:
            words = disks.blockdev("vda", chain(bench.new_folder(f"depth-{depth}"), depth))
            vm = stack.enter_context(Qemu(words))
            ctl("vm", "add", f"vm{depth}", "--qmp", vm.qmp)
        for turn in range(bench.rounds + 1):
            for depth in DEPTHS:
                took = timed(ctl, "snapshot", f"vm{depth}", f"s{turn}")
                if turn > 0:
                    takes[depth].append(took)
    first = Row("d", "snapshot at depth 1", takes[1])
    yield first
    yield Row("d", "snapshot at depth 50", takes[50], ratios={"depth 1": first})
    yield Row("d", "snapshot at depth 200", takes[200], ratios={"depth 1": first}, limits={"depth 1": 2})


def chain(folder, depth):
    """The top of so many images, each on the one before, all named by absolute paths."""
    top = images.create(folder / "d000.qcow2", "8M")
    for number in range(1, depth):
        top = images.create(folder / f"d{number:03}.qcow2", None, backing=top, backing_fmt="qcow2")
    return top
