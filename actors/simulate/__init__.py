"""Days in seconds: the real actors in virtual time, under faults drawn from one seed, with every promise checked at each step.

Read in this order:

1. ``process`` – one life of the operator's process: it can be killed, frozen, slowed down, and watched at each message.
2. ``stage`` – the world around it: API server and backend models, the network between, the users, the truth.
3. ``steps`` – what users and nodes do, as data; ``faults`` – what goes wrong, as data, by the catalogue's ids.
4. ``script`` – a run as data; ``drawing`` – draws one from a seed: a swarm of faults, or one of the ``drills``.
5. ``oracles`` – the promises as code, each with its name; ``truth`` – what was true, and when.
6. ``run`` – plays a script and judges it; ``batch`` – many seeds on many cores; ``shrink`` – makes a failing one small.
7. ``scenarios`` – faults of others, replayed; ``mutants`` – planted bugs, and whether the oracles find them.

Words: a *step* is one thing that happens to the operator at an instant (a user's act, or a fault); a *script* is all of
them with sizes and settings; *impaired* is a part of the world while a fault holds and while the operator is still
allowed to recover from it; an *oracle* is a promise as code; a *breach* is an oracle's no.
"""
