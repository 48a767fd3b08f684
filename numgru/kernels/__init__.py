"""What runs: arithmetic and nothing else. Nothing here knows what a layer, a file or a user is."""
