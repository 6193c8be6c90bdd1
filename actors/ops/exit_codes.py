"""How the command ends, in one place: what a person, a script and the kubelet may tell from the number.

1 is Python's own (an error that nobody foresaw: a bug to report), 2 is also click's for a wrong command line, 78 is
``supervisor.py``'s (another project's ``actors`` was found), 128 + n is a second signal n during the drain.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes. ``meaning`` is the sentence that documentation and help print."""

    OK = 0
    BUG = 1
    SETTINGS = 2
    CHECK_FAILED = 3
    ESCALATED = 4
    FATAL = 5
    WEDGED = 6
    PROMISE_BROKEN = 7
    UNSTOPPED = 8
    DIVERGED = 9
    SIMULATION_BROKEN = 10
    NO_OPERATOR = 11
    NOT_DONE = 12
    UNWELL = 13
    TO_DO = 14

    @property
    def meaning(self) -> str:
        """What has happened, and whether starting again may help."""
        return _MEANINGS[self]


_MEANINGS = {
    ExitCode.OK: "Done; after SIGTERM: drained.",
    ExitCode.BUG: "An error that nobody foresaw: please report it.",
    ExitCode.SETTINGS: "The command line or a setting is wrong; starting again does not help.",
    ExitCode.CHECK_FAILED: "`check` found something that does not work, and said what cures it.",
    ExitCode.ESCALATED: "The supervisor gave up: restarts did not cure a fault. A fresh process may.",
    ExitCode.FATAL: "The interpreter cannot go on (out of memory, a broken thread). A fresh process may.",
    ExitCode.WEDGED: "An actor never came back from a message; its thread cannot be ended. A fresh process can go on.",
    ExitCode.PROMISE_BROKEN: "`demo` found a promise broken in the servers' own logs: a bug to report, with the seed.",
    ExitCode.UNSTOPPED: "Asked to end, but the grace ran out first; what was unfinished is in the log.",
    ExitCode.DIVERGED: "`replay` did something else than the tape: the code has changed since, or there is a bug.",
    ExitCode.SIMULATION_BROKEN: "`simulate` found a promise broken, or proved less than was asked for; it says which.",
    ExitCode.NO_OPERATOR: "`shell` found no running operator that answers it, or several; it says where it looked.",
    ExitCode.NOT_DONE: "`shell`: the operator has not done a command, and said why.",
    ExitCode.TO_DO: "`plan` found something that a running operator would do; it says what.",
    ExitCode.UNWELL: "`shell -c health` found something that is not well; it says what.",
}


def table() -> str:
    """The codes and their meanings, one to a line, for the help."""
    return "\n".join(f"{code.value:>3}  {code.meaning}" for code in ExitCode)
