"""PostgreSQL: the statements, the session, and the store that the functions use."""
