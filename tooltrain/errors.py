"""The one exception type whose message is meant for the person at the terminal."""


class UserError(Exception):
    """Input that tooltrain cannot use: a file, a flag, a config, a workdir.

    The message says what was got, what is allowed and what to do next, in one line; a
    command prints it without a traceback and exits with status 1 (`cli.main.run`).
    """
