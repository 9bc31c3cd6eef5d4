"""The scripts of 2021 that prepare data sets, under their old names."""
