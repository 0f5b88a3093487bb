//! Nobody takes more than is there for them.

use std::io::Write;
use std::time::{Duration, Instant};

use brisk_serve::Options;
use serde_json::json;

use crate::support::*;

#[test]
fn large_bodies_and_many_rows_are_refused_before_they_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { max_body: 10_000, max_rows: 4, ..Options::default() };
    let server = serve(&picture_model(dir.path(), 1), options);
    // Only announced: nothing of it is sent.
    let answer = server.ask("POST", "/predict", &[("Content-Length", "5000000000")], b"");
    assert_eq!((answer.status, answer.error().as_str()), (413, "the body has more than 10000 bytes"));
    let chunk = format!("{:x}\r\n{}\r\n", 8000, "a".repeat(8000));
    let mut stream = server.connect();
    let head = "POST /predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    let _ = stream.write_all(format!("{head}{chunk}{chunk}0\r\n\r\n").as_bytes());
    assert_eq!(Answer::read(&mut stream).status, 413);
    let answer = server.post("/v2/models/pets/infer", &pictures(5));
    assert_eq!(answer.status, 413, "{}", answer.text());
    assert!(answer.error().contains("at most 4 rows in a request, found 5"), "{}", answer.error());
    // An announced tensor takes no memory.
    let huge = json!({"inputs": [{"name": "image", "shape": [4611686018427387904i64, 4, 4, 1], "datatype": "UINT8", "data": []}]});
    assert_eq!(server.post("/v2/models/pets/infer", &huge).status, 413);
    assert_eq!(server.post("/v2/models/pets/infer", &pictures(4)).status, 200);
}

#[test]
fn what_is_within_the_limits_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(&picture_model(dir.path(), 1), Default::default());
    let large = pictures(1).to_string() + &" ".repeat(5 << 20);
    let answer = server.ask("POST", "/v2/models/pets/infer", &[], large.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    // A picture whose file is large, in a form too.
    let mut file = std::io::Cursor::new(Vec::new());
    let picture = image::GrayImage::from_fn(1500, 1500, |x, y| image::Luma([(x * 31 + y * 17) as u8]));
    picture.write_to(&mut file, image::ImageFormat::Bmp).unwrap();
    let file = file.into_inner();
    assert!(file.len() > 2 << 20);
    let answer = server.ask("POST", "/predict", &[("Content-Type", "image/bmp")], &file);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let head = b"--b\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a\"\r\n\r\n".as_slice();
    let form = [head, &file, b"\r\n--b--\r\n"].concat();
    let answer =
        server.ask("POST", "/predict", &[("Content-Type", "multipart/form-data; boundary=b")], &form);
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[test]
fn slow_clients_lose_their_connection() {
    let dir = tempfile::tempdir().unwrap();
    let wait = Duration::from_millis(300);
    let options = Options { header_timeout: wait, timeout: wait, ..Options::default() };
    let server = serve(&picture_model(dir.path(), 1), options);
    // Nothing at all; half a head; a head whose body never comes; an idle connection after an answer.
    for (sent, expected) in [
        ("", 0),
        ("POST /predict HTTP/1.1\r\nHo", 0),
        ("POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc", 408),
        ("GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n", 200),
    ] {
        let began = Instant::now();
        let mut stream = server.connect();
        stream.write_all(sent.as_bytes()).unwrap();
        let answer = Answer::read(&mut stream);
        assert!(answer.status == expected || expected == 0 && answer.status == 408, "{sent:?}: {answer:?}");
        assert!(began.elapsed() < Duration::from_secs(20), "{sent:?} was waited for");
    }
}

#[test]
fn when_there_is_too_much_to_do_it_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(&picture_model(dir.path(), 1), Options { queue: 2, ..Options::default() });
    // Two requests whose bodies have not come hold the two places.
    let head =
        "POST /v2/models/pets/infer HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 500\r\n\r\n{";
    let mut holding: Vec<_> = (0..2).map(|_| server.connect()).collect();
    holding.iter_mut().for_each(|s| s.write_all(head.as_bytes()).unwrap());
    eventually("two requests", || server.get("/console/state")["server"]["in_work"] == 2);
    let refused = server.post("/v2/models/pets/infer", &pictures(1));
    assert_eq!(refused.status, 429, "{}", refused.text());
    assert!(refused.headers.contains("retry-after: 1\r\n"), "{}", refused.headers);
    // Health is answered all the same.
    assert_eq!(server.get("/v2/health/ready"), json!({"ready": true}));
    drop(holding);
    for _ in 0..100 {
        if server.post("/v2/models/pets/infer", &pictures(1)).status == 200 {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("the places were not given back");
}

#[test]
fn a_deadline_that_has_passed_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(&picture_model(dir.path(), 1), Default::default());
    let ask = |timeout: &str| {
        let headers = [("Request-Timeout", timeout)];
        server.ask("POST", "/v2/models/pets/infer", &headers, pictures(1).to_string().as_bytes())
    };
    assert_eq!(ask("10").status, 200);
    assert_eq!(ask("soon").status, 400);
    assert_eq!(ask("0").status, 400);
    assert!([408, 504].contains(&ask("0.0000001").status));
    let mut request = pictures(1);
    request["parameters"] = json!({"timeout": 5_000_000});
    assert_eq!(server.post("/v2/models/pets/infer", &request).status, 200);
}

#[test]
fn a_connection_that_asks_nothing_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let header_timeout = Duration::from_millis(300);
    let options = Options { grpc_port: Some(0), header_timeout, ..Options::default() };
    let mut server = serve(&picture_model(dir.path(), 1), options);
    let grpc = server.grpc.unwrap();
    let connect = || {
        let stream = std::net::TcpStream::connect(grpc).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
    };
    for sent in [&b""[..], b"PRI * HT", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut stream = connect();
        stream.write_all(sent).unwrap();
        Answer::read(&mut stream);
    }
    // Nor does one keep a server from stopping.
    let _silent = connect();
    server.stop();
}
