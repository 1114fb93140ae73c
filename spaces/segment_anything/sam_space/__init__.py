"""Segment Anything in the browser: one canvas, on a free CPU."""
