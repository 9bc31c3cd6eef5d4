"""Scores and figures from embedding files alone: finds, scores, averages, reports."""
