//! What the owner of a socket has to do, and what its awaitables come to.

use crate::answer::Head;
use crate::dialect::Dialect;
use crate::plan::End;
use crate::relay::Account;

/// What the owner of the socket has to do, in this order. The buffers are reused from call to call.
#[derive(Debug, Default)]
pub struct Actions {
    /// Bytes for the upstream.
    pub upstream: Vec<u8>,
    /// Bytes for the client.
    pub client: Vec<u8>,
    /// Stop (true) or start (false) reading from the upstream.
    pub pause: Option<bool>,
    /// Close the socket to the upstream, dropping what is not sent.
    pub close: bool,
    /// What the waiting call resolves to.
    pub resolve: Option<Resolution>,
    /// The connection can take the next request.
    pub idle: bool,
    /// There is more to upload: call [`Connection::pump`] once the bytes are written.
    pub more: bool,
    /// Decrypted bytes, kept here so that idle connections hold no buffer.
    pub(super) plain: Vec<u8>,
}

impl Actions {
    /// Forgets everything but the buffers; those above 256 KiB are given back.
    pub fn clear(&mut self) {
        for buffer in [&mut self.upstream, &mut self.client, &mut self.plain] {
            buffer.clear();
            buffer.shrink_to(256 * 1024);
        }
        (self.pause, self.resolve) = (None, None);
        (self.close, self.idle, self.more) = (false, false, false);
    }
}

/// What one of the three awaitables comes to.
#[derive(Debug)]
pub enum Resolution {
    /// The connection is up.
    Ready,
    /// It will not be: the code and what exactly went wrong.
    NotReady(&'static str, &'static str),
    /// The request has its verdict.
    Head(Box<Head>),
    /// The stream has ended; [`Connection::outcome`] tells the rest.
    Ended,
    /// The client reads too slowly: wait for it, then call [`Connection::client_ready`].
    Paused,
}

/// How a stream ended and what it brought.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// How the stream was read.
    pub dialect: Dialect,
    /// How it ended; `ClientLeft` while it has not.
    pub end: End,
    /// What is known of it; times in microseconds since the request was sent.
    pub account: Account,
    /// Body bytes from the upstream.
    pub bytes_in: u64,
}
