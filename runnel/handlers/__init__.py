"""Functions that users write, and how a worker calls them."""
