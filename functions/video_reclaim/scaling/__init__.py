"""The scaling decision: records, the window of published points, and the rules."""
