"""The code of the shops: each file is copied into a fresh directory, as `shop.py`. So each is
whole, and says again what it has in common with the others: an operator reads one file.
"""
