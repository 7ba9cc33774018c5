"""What a user holds after a fit: thin shells over arrays, their tables, and files of them."""
