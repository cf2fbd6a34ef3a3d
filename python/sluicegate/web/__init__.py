"""The clients' side: HTTP/1.1 by aiohttp, made strict; the API pages; the admin address."""
