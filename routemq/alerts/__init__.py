"""What a person is told who is not looking: a condition that began, and that it is over."""
