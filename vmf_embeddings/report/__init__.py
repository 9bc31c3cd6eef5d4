"""Reports: one HTML file for one run or several, which needs no network."""
