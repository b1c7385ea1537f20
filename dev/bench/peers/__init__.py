"""Other job rescuers, each run by its own code in an environment of its own."""
