"""(e) 4 KiB writes all over a fresh overlay, whose backing image is full: each first one in a cluster has to copy.

The load is `qemu-img bench`, over NBD, into the very node that the VM's disk is on: opened as chainctl, or QEMU, opened
it. No guest: software emulation would take longer than the writes. From each write to the next it is 0.618 of the
disk, so that they spread evenly and hardly two meet in one cluster.
"""
import re

from figures import Row, in_turn
from support import disks, images
from support.qemu import Qemu

BLOCK, SIZE = 4096, 256 << 20
STEP = 40507 * BLOCK
WRITES, UNDER_WAY = 2000, 16
PLAIN, SUBCLUSTERS, QEMUS = "chainctl, extended_l2=off", "chainctl, extended_l2=on", "QEMU's own defaults"


def rows(bench):
    folder = bench.new_folder("writes")
    base = images.create(folder / "vda.qcow2", SIZE)
    images.write(base, f"write -P 7 0 {SIZE}")
    takers = {QEMUS: by_qemu, PLAIN: by_chainctl(bench, "off"), SUBCLUSTERS: by_chainctl(bench, "on")}
    samples = {name: [] for name in takers}
    for turn in range(bench.rounds + 1):
        for name in in_turn(takers, turn):
            took = writes_on_overlay(base, takers[name])
            if turn > 0:  # the first fills the page cache
                samples[name].append(took)
    rival = Row("e", f"a 4 KiB write: {QEMUS}", samples[QEMUS], unit="µs")
    for name in (PLAIN, SUBCLUSTERS):
        yield Row("e", f"a 4 KiB write: {name}", samples[name], unit="µs", ratios={"QEMU's": rival})
    yield rival


def by_qemu(vm, overlay):
    vm.monitor().execute("blockdev-snapshot-sync", node_name="vda-format", snapshot_file=str(overlay), format="qcow2",
                         snapshot_node_name="overlay")  # fmt: skip


def by_chainctl(bench, extended_l2):
    config = bench.folder / f"extended_l2-{extended_l2}.conf"
    config.write_text(f"[overlay]\nextended_l2={extended_l2}\n")
    ctl = bench.chainctl(f"writes-{extended_l2}", config)

    def take(vm, overlay):
        ctl("vm", "add", "vm", "--qmp", vm.qmp)
        ctl("snapshot", "vm", overlay.name.split(".")[1])
        ctl("vm", "remove", "vm")

    return take


def writes_on_overlay(base, take):
    """Microseconds a write, on an overlay that is made for it and removed again."""
    overlay = base.with_name("vda.fresh.qcow2")
    with Qemu(disks.blockdev("vda", base, more="share-rw=on")) as vm:
        take(vm, overlay)
        monitor, server = vm.monitor(), {"type": "unix", "data": {"path": str(vm.folder / "nbd")}}
        node = disks.inserted(vm, "vda")
        assert node["file"] == str(overlay), node["file"]
        monitor.execute("nbd-server-start", addr=server)
        monitor.execute("block-export-add", type="nbd", id="x", node_name=node["node-name"], name="x", writable=True)
        image = f"driver=nbd,export=x,server.type=unix,server.path={vm.folder / 'nbd'}"
        load = ["-w", "-c", WRITES, "-d", UNDER_WAY, "-s", BLOCK, "-S", STEP]
        said = images.qemu_img("bench", *load, "--image-opts", image)
    overlay.unlink()
    return float(re.search(r"completed in ([\d.]+) seconds", said)[1]) * 1e6 / WRITES
