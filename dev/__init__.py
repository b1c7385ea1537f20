"""What the product does not need: the local stack, chaos, simulation, measurements, and their tests."""
