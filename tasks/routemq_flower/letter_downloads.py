"""Letters as files: what the JSON API of the dead letters answers byte for byte; docs/flower.md describes it."""

from itertools import islice

from tornado import web

from routemq_flower.letter_api import LetterHandler, ending_at

_DOWNLOADED_AT_ONCE_BYTES = 1024 * 1024
_EXPORTED_AT_ONCE = 50
"""Letters that are in memory together: each may be of megabytes."""


class LetterDownload(LetterHandler):
    """GET: the payload, or the whole message as it lay on its queue, byte for byte and never as a page."""

    @web.authenticated
    async def get(self, letter_id: str, part: str) -> None:
        opened = await self.opened(letter_id)
        name = "".join(mark if mark.isascii() and (mark.isalnum() or mark in "-.") else "_" for mark in letter_id)
        self.set_header("Content-Type", "application/octet-stream")
        self.set_header("Content-Disposition", f'attachment; filename="{name[:100]}.{part}"')
        self.set_header("Content-Security-Policy", "default-src 'none'; sandbox")
        data = memoryview(opened.payload if part == "payload" else opened.raw)
        self.set_header("Content-Length", len(data))
        for start in range(0, len(data), _DOWNLOADED_AT_ONCE_BYTES):
            self.write(bytes(data[start : start + _DOWNLOADED_AT_ONCE_BYTES]))
            await self.flush()
        await self.finish()


class LetterExport(LetterHandler):
    """GET: the letters of a filter, as `routemq dlq export` writes them; what dies from now on is not caught."""

    @web.authenticated
    async def get(self) -> None:
        letters, wanted = self.backend.letters, self.wanted()
        now = await self.backend.read(letters.now)
        walk = letters.walk(ending_at(wanted, min(now, wanted.until or now)), oldest_first=True)
        self.set_header("Content-Type", "application/x-ndjson")
        self.set_header("Content-Disposition", f'attachment; filename="dead-letters-{int(now)}.jsonl"')
        # In steps, between which others are answered.
        is_begun = False
        try:
            while looked_at := await self.backend.search(lambda: list(islice(walk, _EXPORTED_AT_ONCE))):
                found = [letter for _, letter in looked_at if letter is not None]
                self.write(
                    b"".join(
                        await self.backend.search(
                            lambda some: [archived.to_line() for archived in letters.archived(some)], found
                        )
                    )
                )
                is_begun = True
                await self.flush()
        except Exception as exc:
            if not is_begun:
                raise
            # Tornado would end the answer, and half of the letters would be a whole file.
            self.log_exception(type(exc), exc, exc.__traceback__)
            self.request.connection.close()
            return
        await self.finish()
