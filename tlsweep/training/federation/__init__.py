"""A federation in place of one network that sees all images: clients train one after another, a server averages."""
