"""Redis: the session, the heartbeats with all that is kept beside them, and the keys of jobs."""
