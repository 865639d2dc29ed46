"""Bad code made for the rules: a line with the mark below must be found, any other must not."""
MARK = "/* breach */"


def marked_lines(source):
    """path:line of each line with the mark."""
    return {f"{source.path}:{number}" for number, line in enumerate(source.lines, 1) if MARK in line}


def places(breaches):
    """path:line of each breach."""
    return {breach.split(": ")[0] for breach in breaches}
