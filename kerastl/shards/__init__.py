"""Work divided into shards: each is computed by a worker, written to a file of its own, and read back in order.

A shard is a run of consecutive rows, a fixed number of them. Its file is named after its number and a hash of its rows
and of what computes them, and is renamed into place once it is complete. So a shard is done when its file exists:
whatever is killed, no row is lost and none is counted twice, and the next run continues with the shards that are there.
Workers are processes on this machine (`processes`), or actors of a Ray cluster (`cluster`).
"""
