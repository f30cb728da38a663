"""One self-contained HTML page from files: no request, no script, light and dark, printable.

``documents`` knows which file and key every number comes from; ``markup`` writes HTML; ``plots`` draws; ``page`` puts a
page together. A page about a run (``run_page``) and one about data are made of these same pieces.
"""
