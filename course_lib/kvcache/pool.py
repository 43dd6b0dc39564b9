"""A pool of pages and who has which: taken as texts grow, shared while they are the same, copied before they part.

    whole pages with the same tokens, and the same before them    one page, counted users
    a fork (one text, several replies)                            every page shared, the last one, too, if half full
    a token for a shared page that is half full                   its writer gets a copy first
    a page without users                                          free again

Source: Kwon et al. 2023 (PagedAttention), sections 4.3 and 4.4. Engines keep a freed page's contents until somebody
needs the room, and find a prefix by a chain of hashes; here it is forgotten at once, and found by its tokens. `paging`
counts what this hands out.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

from course_lib.kvcache.sizing import count


@dataclass(eq=False)
class Text:
    """One text in a pool: its tokens, and its pages in order."""

    tokens: list[int]
    pages: list[int] = field(default_factory=list)


class PagePool:
    """`pages` pages of `block` tokens; `users[p]` texts have page p, `held[p]` are its tokens, `copies` were made.

    >>> pool = PagePool(pages=4, block=2)
    >>> a, b = pool.start([1, 2, 3]), pool.start([1, 2, 4])
    >>> a.pages, b.pages, pool.users                          # the first page is the same, and lies there once
    ([0, 1], [0, 2], [2, 1, 1, 0])
    >>> pool.end(a), pool.users
    (None, [1, 0, 1, 0])
    """

    def __init__(self, pages: int, block: int = 16, share: bool = True):
        self.block, self.share, self.copies = count(block, "block"), share, 0
        self.users = [0] * count(pages, "pages")
        self.held: list[list[int]] = [[] for _ in self.users]
        self.known: dict[tuple[int, ...], int] = {}  # the tokens up to a whole page's end -> that page
        self.free = list(range(len(self.users)))

    def start(self, tokens: Sequence[int]) -> Text | None:
        """A text with these tokens; None, and nothing taken, where too few pages are free."""
        text, size = Text(list(tokens)), self.block
        if not text.tokens:
            raise ValueError("tokens must be at least one token, got none")
        ends = range(size, len(text.tokens) + size, size)
        for end in ends if self.share else ():
            page = self.known.get(tuple(text.tokens[:end])) if end <= len(text.tokens) else None
            if page is None:
                break
            text.pages.append(page)
        if len(ends) - len(text.pages) > len(self.free):
            return None
        for page in text.pages:
            self.users[page] += 1
        for end in ends[len(text.pages) :]:
            text.pages.append(self._take(text.tokens[end - size : end]))
            self._remember(text, end)
        return text

    def fork(self, text: Text) -> Text | None:
        """A second text with the same tokens so far, which shares all pages; without sharing, a copy of them."""
        if not self.share:
            return self.start(text.tokens)
        for page in text.pages:
            self.users[page] += 1
        return Text(list(text.tokens), list(text.pages))

    def append(self, text: Text, token: int) -> bool:
        """Write one more token; False, and nothing changed, where that needs a page and none is free."""
        at = len(text.tokens) % self.block
        last = text.pages[-1]
        fresh = at == 0 or self.users[last] > 1
        if fresh and not self.free:
            return False
        if at == 0:
            text.pages.append(self._take([]))
        elif fresh:
            self.users[last] -= 1
            text.pages[-1] = self._take(self.held[last][:at])
            self.copies += 1
        self.held[text.pages[-1]].append(token)
        text.tokens.append(token)
        self._remember(text, len(text.tokens))
        return True

    def end(self, text: Text) -> None:
        """Give a text's pages back; those that nobody else has are free."""
        for k, page in enumerate(text.pages):
            self.users[page] -= 1
            if not self.users[page]:
                whole = tuple(text.tokens[: (k + 1) * self.block])
                if self.known.get(whole) == page:
                    del self.known[whole]
                self.held[page] = []
                heapq.heappush(self.free, page)
        text.pages.clear()

    def _take(self, tokens):
        page = heapq.heappop(self.free)
        self.users[page], self.held[page] = 1, list(tokens)
        return page

    def _remember(self, text, end):
        """A page that is whole can be found by whoever begins alike."""
        if self.share and end <= len(text.tokens) and end % self.block == 0:
            self.known.setdefault(tuple(text.tokens[:end]), text.pages[end // self.block - 1])
