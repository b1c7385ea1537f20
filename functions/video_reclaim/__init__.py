"""What the four functions share: rules that import nothing, and adapters around the services."""
