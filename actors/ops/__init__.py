"""What people and their tools see: the command line, the log, metrics, probes. The engine does not know this package.

Read in this order: ``cli`` (the words), ``run`` (ports made, the system started, waited for and drained), ``check``
(will it work here?), ``exit_codes``; then ``logs`` and ``metrics``, which read the same facts (``core.events``), and
``http``, which answers probes. ``settings_page`` writes ``docs/settings.md`` from the table in ``edge.settings``.

Absent on purpose: decisions (those are ``core``'s), anything registered in a process-global place, and imports that
only one command needs at the head of a file: ``muster version`` must not load an HTTP client.
"""
