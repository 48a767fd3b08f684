"""What runs: arithmetic, how it's compiled (_jit.py), and on how many threads (threads.py). No layers."""
