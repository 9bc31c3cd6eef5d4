"""Download, verify, extract and list Cars196, CUB200-2011 and Stanford Online Products."""
