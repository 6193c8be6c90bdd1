"""The same job as its users would write it elsewhere: count the nodes of each Cluster into its status, debounced by 100 ms.

Each file is a whole operator of its own, as short as its documentation suggests, and is measured like Muster: from outside, by
the same load server. They count; none of them repairs, audits, notices silence, restarts in place or bounds a queue.
"""
