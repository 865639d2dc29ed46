"""Every example of every manual page, and of the README, pasted into a real bash: it works as it stands.

The VM `web` of most examples is the one that the first example of chainctl(1) starts, so that is pasted before them.
A page that says "added with an agent" gets the real guest under that name. Each page has an empty folder, and nothing
registered.
"""
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import tempfile

import pytest

from support import commands, images, manual, process
from support.chainctl import Chainctl

PAGES = manual.pages()
MAIN = manual.FOLDER / "chainctl.1"


@pytest.fixture
def desk():
    """A short-named folder to try things in, as a Path; what was started there and lives on ends with the test."""
    before = set(process.alive_children())
    folder = pathlib.Path(tempfile.mkdtemp(prefix="ck-man-", dir="/tmp"))
    yield folder
    for pid in set(process.alive_children()) - before:
        process.kill_child(pid)
    shutil.rmtree(folder)


def paste(desk, blocks):
    """Types the blocks into one bash -e, and fails with the first that fails. Returns what was printed."""
    binary = Chainctl(desk / "state").binary
    (desk / "bin").mkdir()
    (desk / "bin/chainctl").symlink_to(binary)
    env = {name: value for name, value in os.environ.items() if not name.startswith("CHAINCTL")}
    env |= {"PATH": f"{desk / 'bin'}:/usr/sbin:/sbin:{env['PATH']}", "TMPDIR": str(desk), "HOME": str(desk),
            "CHAINCTL_STATE": str(desk / "state"), "LC_ALL": "C.UTF-8"}  # fmt: skip
    typed = "".join(f"echo '@ {number}'\n" + "\n".join(lines) + "\n" for number, lines in enumerate(blocks))
    with open(desk / "typed", "w+") as script, open(desk / "shown", "w+") as shown:
        script.write(typed)
        script.seek(0)
        # Not through pipes: a QEMU that goes on in the background would keep them open.
        done = subprocess.run(["bash", "-e", "-o", "pipefail"], stdin=script, stdout=shown, stderr=shown, env=env, cwd=desk)
        shown.seek(0)
        text = shown.read()
    at = int(re.findall(r"(?m)^@ (\d+)$", text)[-1])
    assert done.returncode == 0, "\n".join(["this block fails:", *blocks[at], f"exit status {done.returncode}", text])
    assert at == len(blocks) - 1, f"the shell ended early:\n{text}"
    return text


def is_configuration(block):
    return block[0].startswith("[")


def with_agent(page):
    return "added with an agent" in " ".join(manual.sections(page)["EXAMPLES"].split())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_work_when_pasted(page, desk, request):
    blocks = manual.examples(page)
    assert blocks, f"{page.name} has no example"
    if all(map(is_configuration, blocks)):
        configure(desk, blocks)
        return
    if page == MAIN:
        before = []
    elif with_agent(page):
        before = [registered_guest(request.getfixturevalue("guest"), desk)]
    else:
        before = [manual.examples(MAIN)[0]]
    paste(desk, before + blocks)


def test_the_quick_start_of_the_readme_works_when_pasted(qemu, desk):
    """With the words for QEMU that the README gives; its /run is the test's folder."""
    text = (manual.FOLDER.parents[1] / "README.md").read_text().replace("/run/", f"{desk}/")
    options, quick_start = (
        re.search(r"(?m)(?:^    .*\n)+", text.split(f"\n## {title}")[1])[0] for title in ("Give a VM its own", "Quick start"))
    disk = images.create(desk / "vda.qcow2", "64M")
    qemu(["-blockdev", f"driver=qcow2,node-name=d,file.driver=file,file.filename={disk}",
          "-device", "virtio-blk-pci,drive=d,id=vda", *shlex.split(options.replace("\\\n", ""))])  # fmt: skip
    shown = paste(desk, [[line[4:] for line in quick_start.splitlines()]])
    assert "web: all is well." in shown and "before-upgrade" in shown


def configure(desk, blocks):
    """Every key and value of an example is one that the program takes."""
    for number, lines in enumerate(blocks):
        (desk / f"{number}.conf").write_text("\n".join(lines) + "\n")
        Chainctl(desk / "state").ok("--config", desk / f"{number}.conf", "vm", "list")


def registered_guest(guest, desk):
    vm = guest()
    (desk / "web.qmp").symlink_to(vm.qmp)
    (desk / "web.agent").symlink_to(vm.agent_socket)
    (desk / "pid").write_text(f"{vm.pid}\n")
    return ["chainctl vm add web --qmp web.qmp --agent unix:web.agent"]


def test_a_block_that_fails_is_found_and_so_is_an_early_end(desk):
    with pytest.raises(AssertionError, match=r"this block fails:\n *false"):
        paste(desk, [["true"], ["false"], ["true"]])
    shutil.rmtree(desk / "bin")
    with pytest.raises(AssertionError, match="ended early"):
        paste(desk, [["exit 0"], ["true"]])


@pytest.mark.once
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_is_pasted_is_what_man_shows(page):
    """A quote or a hyphen that the formatter makes prettier is no longer the shell's."""
    shown = {line.strip() for line in manual.rendered(page).splitlines()}
    lost = [line for block in manual.examples(page) for line in block if line.strip() not in shown]
    assert not lost


@pytest.mark.once
def test_every_command_has_a_page_with_an_example_of_it(chainctl):
    known = commands.names(chainctl())
    assert {"vm add", "snapshot"} <= set(known)
    for name in known:
        page = manual.FOLDER / f"chainctl-{name.replace(' ', '-')}.1"
        page = page if page.exists() else manual.FOLDER / f"chainctl-{name.split()[0]}.1"
        assert page.exists(), f"{name} has no page"
        text = "\n".join(line for block in manual.examples(page) for line in block)
        assert re.search(rf"\bchainctl {name}\b", text), f"{page.name} has no example of `chainctl {name}`"


@pytest.mark.once
def test_every_option_of_a_command_stands_in_its_page(chainctl):
    ctl = chainctl()
    main = manual.rendered(MAIN)
    known = {name: commands.options(ctl, name) for name in commands.names(ctl)}
    everywhere = set.intersection(*map(set, known.values()))
    assert {"--state", "--wait"} <= everywhere
    assert [option for option in everywhere if option not in main] == []
    for name, options in known.items():
        page = manual.FOLDER / f"chainctl-{name.replace(' ', '-')}.1"
        page = page if page.exists() else manual.FOLDER / f"chainctl-{name.split()[0]}.1"
        text = manual.rendered(page)
        assert [option for option in set(options) - everywhere if option not in text] == [], page.name


@pytest.mark.once
def test_the_main_page_names_every_command(chainctl):
    text = " ".join(manual.rendered(MAIN).split("GLOBAL OPTIONS")[0].split())
    assert [name for name in commands.names(chainctl()) if not re.search(rf"\b{name}\b", text)] == []
