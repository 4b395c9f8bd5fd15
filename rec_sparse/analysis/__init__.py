"""What a restored model says: pure functions on arrays that give plain dicts JSON can hold, and
pictures of them.
"""
