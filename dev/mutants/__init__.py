"""Deliberate mistakes in the product, one at a time: do the tests notice?"""
