"""Searches: what decides, before a network is trained, what it reads."""
