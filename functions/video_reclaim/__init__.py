"""What the four functions share.

``rules/`` and ``scaling/`` decide and never call anything; ``adapters/`` call PostgreSQL, Redis and AWS, one
system a module. The modules beside these folders serve all of them: errors, settings, log, metrics.
"""
