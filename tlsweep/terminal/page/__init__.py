"""The page of a sweep, `report.html`: one file that needs no network, with what was found and its pictures. While the
sweep runs it can be served."""

from tlsweep.terminal.page.page import make_page, write_page

__all__ = ["make_page", "write_page"]
