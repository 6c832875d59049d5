"""Arrays, networks and runs -> pictures.

`catalog` names every figure; each has a module with its plot and the function that gathers what
it draws: `concepts/` explain an idea, `network/` looks into a network, `results/` shows data and
what training led to. A plot takes arrays and returns a matplotlib `Figure`.
"""
