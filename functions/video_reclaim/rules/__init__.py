"""The rules of reclaiming: pure functions of what was read, with the time as an argument."""
