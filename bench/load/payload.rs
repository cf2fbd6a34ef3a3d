//! What is asked and what is answered: written by the upstream, compared by the load.

use memchr::memmem;
use std::time::{SystemTime, UNIX_EPOCH};

/// The text of a whole (non-stream) answer.
pub const WHOLE_TEXT: &str = "The keeper watches the level, opens for those who may pass, and writes every bucket into \
    a book. Raise the gate a little and the water runs; lower it, and the river waits. What is asked is answered, what is \
    answered is counted, and what is counted is kept, so that nobody has to guess in the morning how much water went by.";

const STREAM_HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\
    Transfer-Encoding: chunked\r\nx-request-id: req_1\r\n\r\n";
const ENVELOPE: &str = "\"id\":\"chatcmpl-abc123\",\"object\":\"chat.completion.chunk\",\"created\":1677652288,\
    \"model\":\"gpt-4o-mini-2024-07-18\"";

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Server-sent events, or one JSON body.
    pub stream: bool,
    /// Content events of a stream.
    pub events: u32,
    /// Time between two of them in microseconds; 0: as fast as they can be written.
    pub gap_us: u64,
    /// After the first event say nothing more (for the memory of idle streams).
    pub hold: bool,
}

impl Ask {
    /// The request's body; `padding` bytes of text make it larger.
    pub fn body(&self, model: &str, padding: usize) -> String {
        let words = format!("events={} gap_us={} hold={}", self.events, self.gap_us, u8::from(self.hold));
        let options = if self.stream { ",\"stream_options\":{\"include_usage\":true}" } else { "" };
        format!(
            "{{\"model\":\"{model}\",\"messages\":[{{\"role\":\"system\",\"content\":\"You are a keeper. {}\"}},\
             {{\"role\":\"user\",\"content\":\"{words}\"}}],\"stream\":{}{options}}}",
            "x".repeat(padding),
            self.stream
        )
    }

    /// Reads a request's body back, whoever has re-spelled it on the way.
    pub fn read(body: &[u8]) -> Self {
        let stream =
            ["\"stream\":true", "\"stream\": true"].iter().any(|key| memmem::find(body, key.as_bytes()).is_some());
        let number = |name: &[u8]| {
            let digits = memmem::rfind(body, name).map_or(&[][..], |at| &body[at + name.len()..]);
            digits.iter().take_while(|b| b.is_ascii_digit()).fold(0u64, |sum, b| sum * 10 + u64::from(b - b'0'))
        };
        Self { stream, events: number(b"events=") as u32, gap_us: number(b"gap_us="), hold: number(b"hold=") == 1 }
    }
}

/// Microseconds since the epoch: the one clock that two processes share.
pub fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

fn chunk(out: &mut Vec<u8>, event: &str) {
    out.extend_from_slice(format!("{:x}\r\ndata: {event}\n\n\r\n", event.len() + 8).as_bytes());
}

/// A stream's head.
pub fn stream_head(out: &mut Vec<u8>) {
    out.extend_from_slice(STREAM_HEAD.as_bytes());
}

/// The content event number `index`, 240 bytes framed as a chunk. It carries the time it was written.
pub fn content_event(out: &mut Vec<u8>, index: u32, now_us: u64) {
    chunk(
        out,
        &format!(
            "{{{ENVELOPE},\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\" {index:06}\"}},\
             \"finish_reason\":null}}],\"usage\":null,\"obfuscation\":\"{now_us:016}\"}}"
        ),
    );
}

/// The finish, the usage, `[DONE]` and the last chunk.
pub fn stream_end(out: &mut Vec<u8>, events: u32) {
    let finish = "\"choices\":[{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":null";
    chunk(out, &format!("{{{ENVELOPE},{finish},\"obfuscation\":\"\"}}"));
    chunk(out, &format!("{{{ENVELOPE},\"choices\":[],{},\"obfuscation\":\"\"}}", usage(events)));
    chunk(out, "[DONE]");
    out.extend_from_slice(b"0\r\n\r\n");
}

/// A whole answer, head and body.
pub fn whole_answer(out: &mut Vec<u8>) {
    let body = format!(
        "{{\"id\":\"chatcmpl-abc123\",\"object\":\"chat.completion\",\"created\":1677652288,\
         \"model\":\"gpt-4o-mini-2024-07-18\",\"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\
         \"content\":\"{WHOLE_TEXT}\",\"refusal\":null}},\"logprobs\":null,\"finish_reason\":\"stop\"}}],{},\
         \"service_tier\":\"default\",\"system_fingerprint\":\"fp_b376dfbbd5\"}}",
        usage(31)
    );
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nx-request-id: req_1\r\nContent-Length: ";
    out.extend_from_slice(format!("{head}{}\r\n\r\n{body}", body.len()).as_bytes());
}

fn usage(completion: u32) -> String {
    format!(
        "\"usage\":{{\"prompt_tokens\":56,\"completion_tokens\":{completion},\"total_tokens\":{},\
         \"prompt_tokens_details\":{{\"cached_tokens\":0,\"audio_tokens\":0}},\"completion_tokens_details\":\
         {{\"reasoning_tokens\":0,\"audio_tokens\":0,\"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0}}}}",
        56 + completion
    )
}

/// What one event of an answer says.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    /// Content number `index`, written at this time (0 if the gateway dropped it).
    Content { index: u32, at_us: u64 },
    /// The usage event: completion tokens.
    Usage(u32),
    /// `[DONE]`.
    Done,
    /// Anything else: role, finish, comments.
    Other,
}

/// Reads one event (without its blank line).
pub fn read_event(event: &[u8]) -> Said {
    let Some(data) = event.strip_prefix(b"data:").map(<[u8]>::trim_ascii) else { return Said::Other };
    if data == b"[DONE]" {
        return Said::Done;
    }
    if let Some(number) = member(data, b"\"content\":", 6) {
        return Said::Content { index: number as u32, at_us: member(data, b"\"obfuscation\":", 16).unwrap_or(0) };
    }
    match member(data, b"\"completion_tokens\":", 1) {
        Some(tokens) => Said::Usage(tokens as u32),
        None => Said::Other,
    }
}

/// The number behind a key, spaces and quotes skipped; None if it has fewer digits.
fn member(data: &[u8], key: &[u8], digits: usize) -> Option<u64> {
    let rest = &data[memmem::find(data, key)? + key.len()..];
    let start = rest.iter().position(|b| !matches!(b, b' ' | b'"'))?;
    let number = &rest[start..];
    let length = number.iter().take_while(|b| b.is_ascii_digit()).count();
    (length >= digits).then(|| number[..length].iter().fold(0, |sum, b| sum * 10 + u64::from(b - b'0')))
}
