"""(a) the switch and (b) the whole command, on the real guest with two disks: chainctl, the bare client, virsh.

Each has a guest of its own with a history of its own, all alike; while one is measured the others are stopped.
"""
import contextlib

import bare
from figures import Row, in_turn, timed
from virsh import Domain
from support.agent import Agent
from support.guest import Guest
from tap import Tap

SIZE_WORDS, SIZE = "128M", 128 << 20


class Ours:
    """chainctl on its guest."""

    name = "chainctl"

    def __init__(self, stack, bench):
        self.guest, self.tap = guest_of(stack, bench, "ours")
        self.ctl = bench.chainctl("snapshots")
        self.ctl("vm", "add", "vm", "--qmp", self.guest.qmp, "--agent", f"unix:{self.tap.path}")

    def quiesced(self, label):
        self.ctl("snapshot", "vm", label, "--quiesce", "require")

    def plain(self, label):
        self.ctl("snapshot", "vm", label, "--quiesce", "off")

    def pause(self):
        self.guest.monitor().execute("stop")

    def resume(self):
        """Until the agent, who may have lost what came in while the guest stood still, answers again."""
        self.guest.monitor().execute("cont")
        Agent(self.tap.path).close()


class Bare(Ours):
    """The bare client on its guest."""

    name = "bare"

    def __init__(self, stack, bench):
        self.guest, self.tap = guest_of(stack, bench, "bare")
        self.disks = [bare.Disk(f"{name}-format", path, SIZE) for name, path in self.guest.images.items()]

    def quiesced(self, label):
        bare.quiesced_snapshot(self.guest.qmp, self.tap.path, self.disks, label)

    def plain(self, label):
        bare.snapshot(self.guest.qmp, self.disks, label)


def guest_of(stack, bench, name):
    """A guest that runs, and the tap in its agent's channel."""
    guest = stack.enter_context(Guest(bench.guest_image, bench.new_folder(name), size=SIZE_WORDS))
    guest.wait_ready()
    return guest, stack.enter_context(Tap(guest.folder / "tap", guest.agent_socket))


def rows(bench):
    with contextlib.ExitStack() as stack:
        clients = [Ours(stack, bench), Bare(stack, bench)]
        if bench.with_libvirt:
            clients.append(stack.enter_context(Domain(bench)))
        for client in clients:
            client.pause()
        switches = {client.name: [] for client in clients}
        wholes = {client.name: [] for client in clients}
        for turn in range(bench.rounds + 1):
            for client in in_turn(clients, turn):
                client.resume()
                client.quiesced(f"q{turn}")
                switch = client.tap.switch()
                whole = timed(client.plain, f"p{turn}")
                client.pause()
                if turn > 0:  # the first of each finds its caches cold
                    switches[client.name].append(switch)
                    wholes[client.name].append(whole)
    yield from held_against("a", "switch, frozen to thaw", switches, {"bare": 1.3, "virsh": 0.15})
    yield from held_against("b", "whole command, no quiesce", wholes, {"bare": 1.5, "virsh": 0.6})


def held_against(letter, what, samples, limits):
    rivals = {name: Row(letter, f"{what}: {name}", samples[name]) for name in samples if name != "chainctl"}
    yield Row(letter, f"{what}: chainctl", samples["chainctl"], ratios=rivals,
              limits={name: limit for name, limit in limits.items() if name in rivals})
    yield from rivals.values()
