"""How clients and upstreams are spoken to: error bodies, error events and credentials, one module per family.

A *wire dialect* (``openai-chat``, ``openai-completions``, ``openai-responses``, ``anthropic-messages``, ``gemini``,
``cohere``, ``unknown``) is how one request and its answer are written; a *family* (``openai``, ``anthropic``,
``gemini``, ``cohere``) is how an upstream wants to be addressed. No sockets here.
"""
