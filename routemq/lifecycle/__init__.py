"""The life of a message: every script that moves one from a state to another."""
