"""A load server: just enough of the Kubernetes API to serve a fleet, in a process of its own, faster than clients can read.

``objects.py`` has the fleet and its bytes, ``server.py`` the HTTP, ``control.py`` the words it is told, ``handle.py`` what a
benchmark holds of it, ``count.py`` the proof that it is no bottleneck. ``python -m bench.load --help`` starts one.
"""
