"""The protocol under fire: faults from outside the product, and the history that they leave behind, judged.

`sandbox` runs the product's functions as Lambda would and lets faults strike wherever they touch a service,
`execution` starts them as the state machine does, `relay` and `queue` stand between them and the servers,
`fleet` has workers to kill, `history` writes down what happened and `verdicts` finds what must never happen.
`soak` does all of it at once, ``python -m dev.chaos`` for minutes. `docs/protocol.md` explains the rules.
"""
