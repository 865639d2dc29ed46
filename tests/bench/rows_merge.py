"""(g) a commit and (h) a stream of 1 GiB, chainctl and the bare client; (j) what chainctl itself takes of a core meanwhile.

A QEMU without a guest. QEMU's own events tell, on a second monitor, when the job was made and when it had completed:
the pivot is in it, and the program's start is not. Before each all that is dirty is written out, so that nobody pays
for another.
"""
import contextlib
import os
import subprocess
import time

import bare
from figures import Row, in_turn
from jobtime import held_against, throughput
from support import disks, images
from support.qemu import Qemu

SIZE = 1 << 30
SLOW, SLOW_SIZE = "64M", 256 << 20


def rows(bench):
    folder = bench.new_folder("merge")
    yield from held_against("g", "commit of 1 GiB, pivoted", commits(bench, folder), 0.97)
    yield from held_against("h", "stream of 1 GiB", streams(bench, folder), 0.97)
    yield Row("j", "chainctl's own share of a core during a commit", shares(bench, folder), unit="%", limits={"": 1})


def fill(vm, length, region=64 << 20):
    for offset in range(0, length, region):
        vm.qemu_io("vda", f"write -P {offset // region + 1} {offset} {region}")


def commits(bench, folder):
    """MiB a second; in each round as much is written to a new overlay, and merged into the base again."""
    samples = {"chainctl": [], "bare": []}
    with contextlib.ExitStack() as stack:
        vms = {}
        for name in samples:
            path = images.create(folder / f"{name}.qcow2", SIZE)
            vms[name] = stack.enter_context(Qemu(disks.blockdev("vda", path), paused=False))
        ctl = bench.chainctl("merge")
        ctl("vm", "add", "vm", "--qmp", vms["chainctl"].qmp)
        base = bare.Disk("vda-format", folder / "bare.qcow2", SIZE)
        for turn in range(bench.rounds + 1):
            for name in in_turn(samples, turn):
                took = commit_by_us(ctl, vms[name], turn) if name == "chainctl" else commit_by_bare(vms[name], base, turn)
                if turn > 0:  # the first allocates the base
                    samples[name].append(took)
    for name in samples:
        (folder / f"{name}.qcow2").unlink()
    return samples


def commit_by_us(ctl, vm, turn):
    ctl("snapshot", "vm", f"s{turn}")
    fill(vm, SIZE)
    return throughput(vm, SIZE, ctl, "commit", "vm", "--pivot")


def commit_by_bare(vm, base, turn):
    heads = [base]
    bare.snapshot(vm.qmp, heads, f"c{turn}")
    fill(vm, SIZE)
    took = throughput(vm, SIZE, bare.commit, vm.qmp, heads[0])
    heads[0].path.unlink()
    return took


def streams(bench, folder):
    """MiB a second, out of one full base into an overlay that is made for it and removed again."""
    base = images.create(folder / "vda.qcow2", SIZE)
    with Qemu(disks.blockdev("vda", base)) as vm:
        fill(vm, SIZE)
    samples = {"chainctl": [], "bare": []}
    for turn in range(bench.rounds + 1):
        for name in in_turn(samples, turn):
            took = one_stream(bench, base, name, turn)
            if turn > 0:
                samples[name].append(took)
    base.unlink()
    return samples


def one_stream(bench, base, name, turn):
    with Qemu(disks.blockdev("vda", base), paused=False) as vm:
        if name == "bare":
            heads = [bare.Disk("vda-format", base, SIZE)]
            bare.snapshot(vm.qmp, heads, f"b{turn}")
            took, overlay = throughput(vm, SIZE, bare.stream, vm.qmp, heads[0]), heads[0].path
        else:
            ctl = bench.chainctl(f"stream{turn}")
            ctl("vm", "add", "vm", "--qmp", vm.qmp)
            ctl("snapshot", "vm", f"s{turn}")
            took, overlay = throughput(vm, SIZE, ctl, "stream", "vm"), base.with_name(f"vda.s{turn}.qcow2")
    overlay.unlink()
    return took


def shares(bench, folder):
    """Percent: user and system time of the process, by the time that the whole run takes."""
    path, samples = images.create(folder / "slow.qcow2", SLOW_SIZE), []
    with Qemu(disks.blockdev("vda", path), paused=False) as vm:
        ctl = bench.chainctl("slow")
        ctl("vm", "add", "vm", "--qmp", vm.qmp)
        for turn in range(min(bench.rounds, 5)):
            ctl("snapshot", "vm", f"s{turn}")
            fill(vm, SLOW_SIZE)
            began = time.monotonic()
            started = subprocess.Popen([bench.binary, "commit", "vm", "--pivot", "--speed", SLOW], env=ctl.environment,
                                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)  # fmt: skip
            _, status, usage = os.wait4(started.pid, 0)
            started.returncode = status
            assert status == 0, status
            samples.append((usage.ru_utime + usage.ru_stime) / (time.monotonic() - began) * 100)
    return samples
