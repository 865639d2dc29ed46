"""(l) a copy of 2 GiB, half of it zeroes, to a file and (m) to a local NBD server; (n) how long --finish freezes.

The bare client sends `drive-mirror`, with the granularity and buffer that a sweep found best. qemu-img and nbdcopy copy
the same image while no VM has it open, for the reader. The freeze is of the real guest, two disks.
"""
import contextlib
import subprocess

import bare
from figures import Row, in_turn, timed
from jobtime import MIB, held_against, throughput
from rows_snapshot import guest_of
from support import disks, images
from support.agent import Agent
from support.nbd import QemuNbd
from support.qemu import Qemu

SIZE, REGION = 2 << 30, 64 << 20


def rows(bench):
    folder = bench.new_folder("mirror")
    path = images.create(folder / "vda.qcow2", SIZE)
    with Qemu(disks.blockdev("vda", path), paused=False) as vm:
        for offset in range(0, SIZE // 2, REGION):
            vm.qemu_io("vda", f"write -P {offset // REGION + 1} {offset * 2} {REGION}")
        ctl = bench.chainctl("mirror")
        ctl("vm", "add", "vm", "--qmp", vm.qmp)
        files, exports = to_files(bench, vm, ctl, folder), to_servers(bench, vm, ctl, folder)
    offline = {name: [] for name in ("qemu-img convert", "nbdcopy")}
    for turn in range(min(bench.rounds, 5)):
        for name, taken in offline.items():
            taken.append(copied_offline(name, path, folder / "offline.raw"))
    yield from held_against("l", "2 GiB to a file", files, 0.95)
    yield Row("l", "2 GiB to a file, shut off: qemu-img convert", offline["qemu-img convert"], unit="MiB/s")
    yield from held_against("m", "2 GiB to an NBD server", exports, 0.95)
    yield Row("m", "2 GiB from NBD to a file, shut off: nbdcopy", offline["nbdcopy"], unit="MiB/s")
    samples = freezes(bench)
    rival = Row("n", "copies ended, guest frozen: bare", samples["bare"])
    yield Row("n", "copies ended, guest frozen: chainctl", samples["chainctl"], ratios={"bare": rival}, limits={"bare": 1.3})
    yield rival


def to_files(bench, vm, ctl, folder):
    """MiB a second, by rival."""
    samples, target = {"chainctl": [], "bare": []}, folder / "copy.qcow2"
    for turn in range(bench.rounds + 1):
        for name in in_turn(samples, turn):
            if name == "bare":
                images.create(target, SIZE)
                took = throughput(vm, SIZE, bare.mirror, vm.qmp, "vda-format", target)
            else:
                took = throughput(vm, SIZE, ctl, "mirror", "vm", "--to", target)
            target.unlink()
            if turn > 0:
                samples[name].append(took)
    return samples


def to_servers(bench, vm, ctl, folder):
    """MiB a second, by rival: each has a server of its own."""
    samples, raw = {"chainctl": [], "bare": []}, folder / "copy.raw"
    for turn in range(bench.rounds + 1):
        for name in in_turn(samples, turn):
            images.create(raw, SIZE, "raw")
            with QemuNbd(raw) as server:
                took = (throughput(vm, SIZE, bare.mirror, vm.qmp, "vda-format", server.uri) if name == "bare"
                        else throughput(vm, SIZE, ctl, "mirror", "vm", "--nbd", server.nbd))
            raw.unlink()
            if turn > 0:
                samples[name].append(took)
    return samples


def copied_offline(name, path, target):
    """MiB a second, of a whole run."""
    images.create(target, SIZE, "raw")
    convert = ["qemu-img", "convert", "-n", "-f", "qcow2", "-O", "raw", path, target]
    over_nbd = ["nbdcopy", "--", "[", "qemu-nbd", "--read-only", "--format", "qcow2", path, "]", target]
    words = convert if name == "qemu-img convert" else over_nbd
    took = timed(subprocess.run, list(map(str, words)), check=True, stdout=subprocess.DEVNULL)
    target.unlink()
    return SIZE / MIB / took * 1000


def freezes(bench):
    samples = {"chainctl": [], "bare": []}
    with contextlib.ExitStack() as stack:
        guests = {name: guest_of(stack, bench, f"finish-{name}") for name in samples}
        ctl = bench.chainctl("finish")
        ctl("vm", "add", "vm", "--qmp", guests["chainctl"][0].qmp, "--agent", f"unix:{guests['chainctl'][1].path}")
        for guest, _ in guests.values():
            guest.monitor().execute("stop")
        for turn in range(bench.rounds + 1):
            for name in in_turn(guests, turn):
                guest, tap = guests[name]
                guest.monitor().execute("cont")
                Agent(tap.path).close()
                folder = bench.new_folder(f"finish-{name}-{turn}")
                if name == "bare":
                    bare.quiesced_copies(guest.qmp, tap.path, [f"{disk}-format" for disk in guest.images], folder)
                else:
                    ctl("mirror", "vm", "--to", folder, "--quiesce", "require")
                took = tap.switch()
                guest.monitor().execute("stop")
                if turn > 0:
                    samples[name].append(took)
    return samples
