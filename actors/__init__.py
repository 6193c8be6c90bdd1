"""Muster: the roll-call of fleets. This package is the whole operator; ``supervisor.py`` beside it only starts it.

Five words. A *parent* is the resource whose status tells how many of its *children* are well; a *record* is the slim,
immutable form in which an object is kept; a *Plan* is what ought to be, as data; an *item* is one repair wanted; a
*call* carries many items of many parents to the backend, and calls are what the quota counts.

Read in this order: ``messages`` (what the actors say to each other), then the path, one actor to a file: ``watcher`` →
``directory`` → ``cluster`` → ``gateway`` and ``status``; then ``tree`` (who starts whom) and ``supervision`` (who restarts
whom); ``core`` where a decision is made; ``actor`` where you wonder how a message arrives. ``edge`` is the real world,
``sim`` stands in for it, ``ops`` is for people.

Absent on purpose: a thread per actor, a clock read outside ``edge``, a question asked by one actor of another (they
tell), and any kind's name outside the fleet definition in ``core.fleet``.
"""

__version__ = "0.1.0"

# Other distributions publish a package of this name too: ``supervisor.py`` looks for this line before it trusts one.
MUSTER_MARKER = "muster-operator"
