"""What a decorator says, checked where it is said."""
