"""Settle on a real account what AWS's documents leave open."""
