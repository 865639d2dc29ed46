"""(i) from the last job that is ready to the pivot, and (k) how long a rollback of two disks pauses the guest.

A QEMU without a guest, which runs. The pause is read from QEMU's own events, STOP and RESUME, of a second monitor.
"""
import contextlib

import bare
from figures import Row, in_turn
from support import disks
from support.qemu import Qemu
from tap import Tap, pivots

SIZE = 64 << 20


def rows(bench):
    yield Row("i", "last job ready to pivot, two disks", waits(bench), limits={"": 5})
    samples = pauses(bench)
    rival = Row("k", "rollback of two disks, paused: bare", samples["bare"])
    yield Row("k", "rollback of two disks, paused: chainctl", samples["chainctl"], ratios={"bare": rival}, limits={"bare": 1.5})
    yield rival


def waits(bench):
    folder, samples = bench.new_folder("pivot"), []
    words, _ = disks.two(folder, SIZE)
    with contextlib.ExitStack() as stack:
        vm = stack.enter_context(Qemu(words, paused=False))
        tap = stack.enter_context(Tap(vm.folder / "tap", vm.qmp, pivots))
        ctl = bench.chainctl("pivot")
        ctl("vm", "add", "vm", "--qmp", tap.path)
        for turn in range(bench.rounds + 1):
            ctl("snapshot", "vm", f"s{turn}")
            for name in ("vda", "vdb"):
                vm.qemu_io(name, f"write -P {turn + 1} 0 8M")
            ctl("commit", "vm", "--pivot", "--quiesce", "off")
            wait = tap.switch()
            if turn > 0:
                samples.append(wait)
    return samples


def pause(vm):
    """Milliseconds between the STOP and the RESUME that have not been asked about."""
    stop, resume = (vm.monitor().wait_event(name)["timestamp"] for name in ("STOP", "RESUME"))
    return (resume["seconds"] - stop["seconds"]) * 1e3 + (resume["microseconds"] - stop["microseconds"]) / 1e3


def pauses(bench):
    samples = {"chainctl": [], "bare": []}
    with contextlib.ExitStack() as stack:
        vms, paths = {}, {}
        for name in samples:
            words, paths[name] = disks.two(bench.new_folder(f"back-{name}"), SIZE)
            vms[name] = stack.enter_context(Qemu(words, paused=False))
        ctl = bench.chainctl("back")
        ctl("vm", "add", "vm", "--qmp", vms["chainctl"].qmp)
        ctl("snapshot", "vm", "s")
        bases = [bare.Disk(f"{name}-format", path, SIZE) for name, path in paths["bare"].items()]
        heads = list(bases)
        bare.snapshot(vms["bare"].qmp, heads, "s")
        for turn in range(bench.rounds + 1):
            for name in in_turn(samples, turn):
                for disk in ("vda", "vdb"):
                    vms[name].qemu_io(disk, f"write -P {turn + 1} 0 1M")
                if name == "chainctl":
                    ctl("rollback", "vm", "s", "--reset", "never", "--quiesce", "off")
                else:
                    heads = bare.rollback(vms[name].qmp, ("vda", "vdb"), bases, heads, f"r{turn}")
                took = pause(vms[name])
                if turn > 0:
                    samples[name].append(took)
    return samples
