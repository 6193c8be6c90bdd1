"""Looking inside the running operator: ``muster shell``, its server and its commands. docs/shell.md is the manual.

In reading order: ``registry`` (what a command is), ``inspection`` (what commands may see), ``memory`` and ``calls`` (what they
remember), the commands (``looking``, ``working``, ``stacks``, ``asking``, ``tapping``, ``changing``; ``commands`` has them
all), ``place`` (where the socket is), ``protocol`` and ``server``, then the client: ``client``, ``drawing``, ``shell``.
``page`` makes the list of commands in the manual.

Nothing of this is on the path: what the server costs while nobody asks is one sink of facts and one look at the clock in
ten seconds. Only ``drawing`` and ``shell`` import rich and prompt_toolkit.
"""
