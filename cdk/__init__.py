"""The CDK app's constructs, one a file. They know the functions by path, and never import them."""
