"""A command's own flags: beside those of other commands in one process, under equal names."""

from __future__ import annotations

from absl import flags


def parse(argv: list[str], own: flags.FlagValues) -> list[str]:
    """Parses `argv` into the shared flags and `own`; returns what is no flag.

    A command defines its flags with flag_values=FLAGS, a FlagValues of its module: `player`
    of one command and of another can then be imported together, and only the command that
    runs puts its own on the command line. Raises what absl raises for what it cannot read.
    """
    flags.FLAGS.append_flag_values(own)
    for module, defined in own.flags_by_module_dict().items():
        for flag in defined:
            flags.FLAGS.register_flag_by_module(module, flag)  # or --help leaves it out
    rest = flags.FLAGS(argv)
    own.mark_as_parsed()
    return rest
