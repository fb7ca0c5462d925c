"""
The load test: many synthetic peers at one relay, and what they saw.

    conductor (this process)
      |-- JSON lines -- peer process: feed -> publishers, subscribers, links
      |-- JSON lines -- peer process ...
      +-- HTTP, /proc -- relay

How to use it and what its figures mean: docs/loadtest.md.
"""
