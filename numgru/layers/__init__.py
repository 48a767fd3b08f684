"""What a user holds: parameters, state, checks, and the forward/backward contract. Little arithmetic."""
