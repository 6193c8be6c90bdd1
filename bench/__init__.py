"""The benchmarks: what they measure and how is written in docs/performance.md; ``python -m bench.run --help`` runs them.

Not part of the wheel. In reading order:

    load/        an API server that serves a fleet faster than any client can read it
    process.py   what a process and its children cost; the operator and its peers as subjects
    peers/       the same job written on kopf and on the plain Python client
    runs_*.py    the runs, a function each
    run.py       the command: one table, one JSON file
    report.py    that JSON file as a Markdown table and a plot
    gate.py      the regression gate: counts of bytecode instructions, messages, writes and calls; never times
    readers.py   a reader thread and a reader process compared, inside one program
    fleets.py    what a fleet definition costs on the path
    ingest.py    where the time of one event goes, stage by stage
    memory.py    what a child and a parent weigh
    shell.py     what looking inside costs; ``remembering.py``: of that, what is kept all the time, measured in a whole operator
"""
