"""The history API behind routes/series.py: what is asked, how it is read, cached and written."""
