"""Fixtures and stand-ins that the tests share."""
