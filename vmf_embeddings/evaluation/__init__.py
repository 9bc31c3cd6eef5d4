"""Scores and pictures from embedding files alone: find them, score, average, report."""
