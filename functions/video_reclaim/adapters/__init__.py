"""The systems that the functions call, one module each. Adapters import rules, never each other."""
