"""Figures, as ratios within one run: chainctl beside a bare scripted client that does the same to the same QEMU.

The bare client keeps one connection open, makes and syncs the same files, adds
the same nodes and sends the same transaction; what chainctl adds to that is a
process, a database and its checks. No guest: a guest's own time would drown both.
"""

import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from support import images  # noqa: E402
from support.qemu import Qemu  # noqa: E402
from support.qmp import Qmp  # noqa: E402

BINARY = os.environ["CHAINCTL"]
ROUNDS = 9
SIZE = 64 << 20


def timed(action, *words):
    started = time.monotonic()
    action(*words)
    return (time.monotonic() - started) * 1000


def sync(path):
    for name in (path, path.parent):
        fd = os.open(name, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)


def bare(monitor, folder, heads, number):
    """One snapshot of all disks, as a script would take it; returns the new heads."""
    new = []
    for disk, (node, path) in enumerate(heads):
        overlay = folder / f"bare{disk}.{number}.qcow2"
        name = f"bare-{disk}-{number}"
        overlay.touch(exist_ok=False)
        monitor.execute("blockdev-add", driver="file", node_name=f"{name}f", filename=str(overlay))
        options = {"driver": "qcow2", "file": f"{name}f", "size": SIZE, "backing-file": str(path), "backing-fmt": "qcow2"}
        monitor.execute("blockdev-create", job_id=name, options=options)
        monitor.wait_event("JOB_STATUS_CHANGE", 10, id=name, status="concluded")
        monitor.execute("job-dismiss", id=name)
        sync(overlay)
        monitor.execute("blockdev-add", driver="qcow2", node_name=name, file=f"{name}f", backing=None)
        new.append((name, overlay))
    pairs = zip(heads, new)
    monitor.transaction(*[("blockdev-snapshot", {"node": old[0], "overlay": head[0]}) for old, head in pairs])
    heads[:] = new


def chainctl(*words):
    subprocess.run([BINARY, *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def words_for(folder, disks=2):
    words = []
    for disk in range(disks):
        path = folder / f"d{disk}.qcow2"
        images.create(path, str(SIZE), "qcow2")
        words += ["-blockdev", f"driver=qcow2,node-name=n{disk},file.driver=file,file.filename={path}"]
        words += ["-device", f"virtio-blk-pci,drive=n{disk},id=vd{'ab'[disk]}"]
    return words


def row(name, figures, against=None):
    low, middle, high = min(figures), statistics.median(figures), max(figures)
    ratio = f"{middle / statistics.median(against):.2f} x bare" if against else ""
    print(f"{name:<44}{low:9.1f}{middle:9.1f}{high:9.1f}  {ratio}")


def main():
    with tempfile.TemporaryDirectory(prefix="chainctl-bench-") as name:
        folder = pathlib.Path(name)
        os.environ["CHAINCTL_STATE"] = f"{folder}/state"
        (folder / "ours").mkdir()
        (folder / "bare").mkdir()
        ours, theirs = Qemu(words_for(folder / "ours")), Qemu(words_for(folder / "bare"))
        with ours, theirs, Qmp(theirs.qmp) as monitor:
            chainctl("vm", "add", "vm", "--qmp", str(ours.qmp))
            heads = [(f"n{disk}", folder / "bare" / f"d{disk}.qcow2") for disk in range(2)]
            takes, bares = [], []
            for number in range(ROUNDS + 1):
                bares.append(timed(bare, monitor, folder / "bare", heads, number))
                takes.append(timed(chainctl, "snapshot", "vm", f"s{number}"))
            print(f"{'':<44}{'min':>9}{'median':>9}{'max':>9}  milliseconds, {ROUNDS} rounds")
            row("two disks, bare client", bares[1:])
            row("two disks, chainctl snapshot", takes[1:], bares[1:])
            row("chainctl --version", [timed(chainctl, "--version") for _ in range(ROUNDS)])
            row("chainctl list", [timed(chainctl, "list") for _ in range(ROUNDS)])


if __name__ == "__main__":
    main()
