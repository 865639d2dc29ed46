"""What systemd makes of a unit file and of an EnvironmentFile, as far as our units need it, without a systemd.

Sources: systemd.syntax(7), systemd.service(5) "COMMAND LINES", systemd.exec(5) "EnvironmentFile=".
"""
import re
import shlex

ESCAPED_IN_QUOTES = '"\\`$'


def parse_unit(text):
    """{section: [(key, value)]}; a backslash at the end of a line goes on in the next."""
    sections, current = {}, None
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        line = line.strip()
        if not line or line[0] in "#;":
            continue
        if line.startswith("["):
            current = sections.setdefault(line[1:-1], [])
        else:
            key, _, value = line.partition("=")
            current.append((key, value))
    return sections


def values(unit, section, key):
    return [value for name, value in unit[section] if name == key]


def parse_environment(text):
    """{name: value} of an EnvironmentFile. A value may be quoted; a backslash and a line's end are nothing."""
    found = {}
    for match in re.finditer(r"^[ \t]*(?![#;])(\w+)=((?:\\\n|\"(?:\\.|\\\n|[^\"\\])*\"|'[^']*'|[^\n])*)$", text, re.M | re.S):
        found[match[1]] = _value(match[2].strip())
    return found


def _value(text):
    made, quote, position = "", None, 0
    while position < len(text):
        char = text[position]
        position += 1
        if char == "\\" and quote != "'":
            following = text[position]
            position += 1
            keeps = quote == '"' and following not in ESCAPED_IN_QUOTES and following != "\n"
            made += "" if following == "\n" else f"\\{following}" if keeps else following
        elif char in "\"'" and quote in (None, char):
            quote = None if quote else char
        else:
            made += char
    return made


def command(line, instance, environment):
    """The words that systemd would execute, and the prefix characters in front of them."""
    prefix = re.match(r"[-@:+!]*", line)[0]
    words = []
    for word in shlex.split(line[len(prefix) :].replace("%i", instance).replace("%%", "%")):
        alone = re.fullmatch(r"\$(\w+)", word)
        if alone:
            words += shlex.split(environment.get(alone[1], ""))
        else:
            words.append(re.sub(r"\$\$|\$\{(\w+)\}", lambda match: environment.get(match[1], "") if match[1] else "$", word))
    return words, prefix
