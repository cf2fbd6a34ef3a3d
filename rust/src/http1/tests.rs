//! A response read and a request written, once each; the tables follow.

use super::*;

#[test]
fn a_chunked_answer_is_read() -> Result<(), Protocol> {
    let mut data: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nrest";
    let mut parser = Parser::new(Limits::default());
    let head = parser.head(&mut data)?;
    assert_eq!(Some((200, BodyKind::Chunked, true)), head.map(|head| (head.status, head.body, head.keep_alive)));
    assert_eq!(Piece::Data(b"hello"), parser.body(&mut data)?);
    assert_eq!((Piece::End, &b"rest"[..]), (parser.body(&mut data)?, data));
    Ok(())
}
