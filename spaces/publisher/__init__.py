"""Puts the model and the Space onto the Hugging Face Hub: builds a folder, checks it, uploads it, verifies it."""
