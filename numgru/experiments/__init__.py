"""Experiments on what recurrent networks can remember, each of them one command."""
