"""Changes of the code that the tests must notice, and the program that tries them."""
