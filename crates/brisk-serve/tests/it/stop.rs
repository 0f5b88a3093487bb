//! A server that is told to stop ends what it has begun.

use std::io::Write;
use std::time::Duration;

use crate::support::*;

#[test]
fn requests_in_work_are_answered_and_new_ones_are_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = serve(&picture_model(dir.path(), 1), Default::default());
    let body = pictures(1).to_string();
    let mut stream = server.connect();
    let head =
        format!("POST /v2/models/pets/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).unwrap();
    // The head has arrived when the server says that it is in work.
    while server.get("/console/state")["server"]["in_work"] != 1 {
        std::thread::sleep(Duration::from_millis(10));
    }
    let address = server.http;
    let stopping = std::thread::spawn(move || server.stop());
    while std::net::TcpStream::connect(address).is_ok() {
        std::thread::sleep(Duration::from_millis(10));
    }
    stream.write_all(body.as_bytes()).unwrap();
    assert_eq!(Answer::read(&mut stream).status, 200);
    stopping.join().unwrap();
}
