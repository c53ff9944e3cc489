"""Charts as inline SVG: pure functions from numbers to markup, coloured by the page's style sheet.

What colours tell is told by shape as well. All text from outside is escaped by `Markup.format`.
"""
