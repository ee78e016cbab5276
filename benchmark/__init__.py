"""The benchmark: what a de-identifier keeps of the disease and hides of the person (MeMa Tables 3 and 5).

``mema benchmark judge`` prepares what all methods share, ``mema benchmark run`` scores one method, and
``mema leaderboard build`` renders the results. ``docs/benchmark.md`` states the protocol.
"""
