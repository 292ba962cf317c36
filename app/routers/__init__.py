"""Every module here that has a `router` takes part; the name of the file is yours."""
