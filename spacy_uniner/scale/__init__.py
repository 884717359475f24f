"""Texts by the million: parts in, parts out, in processes, on machines that share a folder, on Ray or on Spark."""
