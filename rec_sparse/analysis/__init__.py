"""What a restored model says, and pictures of it.

Analyses are pure functions of arrays that give plain dicts which JSON can hold.
"""
