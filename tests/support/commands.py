"""The commands that a chainctl has, and their options, as its own help texts name them: what is new is found by itself."""
import re


def names(ctl):
    """All commands in the order of the help text: "vm add", "snapshot" …"""
    found = []
    for words in re.findall(r"^  (\w+) +(\w+)", _help(ctl).split("\nGLOBAL")[0], re.MULTILINE):
        is_group = f"chainctl {words[0]} COMMAND" in _help(ctl, words[0])
        found.append(" ".join(words[: 2 if is_group else 1]))
    return found


def options(ctl, command):
    """{"--quiesce": "auto|require|off", "--protect": None …}, the global ones too."""
    shown = re.findall(r"^  (?:-\w, )?(--[\w-]+)(?:\[?=(\S+?)\]?)?(?:\s|$)", _help(ctl, *command.split()), re.MULTILINE)
    return {name: value or None for name, value in shown}


def _help(ctl, *words):
    result = ctl.run(*words, "--help", json_output=False)
    assert result.status == 0, result
    return result.out
