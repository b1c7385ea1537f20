"""The embedded stack: everything this project needs from a platform and from AWS, on one machine."""
