"""Families of networks behind one face: each knows how its network wants pixels and prompts, and nothing of planes."""
