"""Own operators for chains of layers on a CPU: chain.c, its library, and their use from Paddle."""
