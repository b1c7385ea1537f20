"""Fault injection: the product's functions on real servers, with faults, and rules checked on the history.

A soak (`soak`) runs the functions in a local Lambda (`environment`) as the state machine would (`execution`). Faults
are injected at their calls (`injection`), in front of the servers, in the queue (`queue`) and in everything around
them (`storm`); `fleet` has the workers, `platform` the users. `history` records what happened, `case` arranges it; the
rules are in `verdicts` and `deliveries`. Only `product` knows the product's code.

``python -m dev.chaos`` runs a soak. `docs/protocol.md` explains the rules.
"""
