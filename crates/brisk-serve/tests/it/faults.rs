//! What is wrong is said, with the right status, and nothing breaks.

use std::io::Write;

use brisk_serve::{Keys, Options, Scope};
use serde_json::json;

use crate::support::*;

#[test]
fn each_fault_has_its_status_and_names_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(&picture_model(dir.path(), 1), Default::default());
    let infer = |body: &serde_json::Value| server.post("/v2/models/pets/infer", body);
    let with = |key: &str, value: serde_json::Value| {
        let mut request = pictures(1);
        request["inputs"][0][key] = value;
        request
    };
    for (body, expected) in [
        (with("name", json!("picture")), "there is no input `picture`; the model reads image"),
        (
            with("shape", json!([1, 4, 3, 1])),
            "input `image`: expected the shape [-1, 4, 4, 1], found [1, 4, 3, 1]",
        ),
        (
            with("shape", json!([2, 4, 4, 1])),
            "input `image`: expected 32 elements, as the shape [2, 4, 4, 1] says, found 16",
        ),
        (with("shape", json!([-1, 4, 4, 1])), "found [-1, 4, 4, 1]"),
        (with("datatype", json!("FP32")), "input `image`: expected the datatype UINT8, found FP32"),
        (with("data", json!(vec![0.5; 16])), "element 0 is 0.5, expected whole numbers from 0 to 255"),
        (with("data", json!(["a"])), "expected UINT8, found texts"),
        (with("data", json!("a")), "expected numbers or texts, in lists"),
        (json!({"inputs": []}), "the request has no rows"),
        (json!({}), "missing field `inputs`"),
    ] {
        let answer = infer(&body);
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert!(answer.error().contains(expected), "{} lacks {expected}", answer.error());
    }
    let raw = |text: &str| server.ask("POST", "/v2/models/pets/infer", &[], text.as_bytes());
    for text in [
        "",
        "{",
        "[]",
        "nul",
        "{\"inputs\": [{\"name\": \"image\", \"shape\": [1], \"datatype\": \"FP32\", \"data\": [NaN]}]}",
        &"[".repeat(100_000),
        &format!("{{\"inputs\": {}1{}}}", "[".repeat(5000), "]".repeat(5000)),
    ] {
        let answer = raw(text);
        assert_eq!(answer.status, 400, "{}", answer.text());
    }
    for (method, path, status) in [
        ("POST", "/v2/models/birds/infer", 404),
        ("POST", "/v2/models/pets/versions/9/infer", 404),
        ("GET", "/v2/models/birds", 404),
        ("GET", "/nothing", 404),
        ("GET", "/v2/models/%FF", 400),
        ("GET", "/v2/models/..%2f..%2fetc%2fpasswd", 404),
        ("DELETE", "/v2/models/pets/infer", 405),
        ("POST", "/v1/embeddings", 400),
        ("POST", "/v2/repository/models/pets/unload", 401),
    ] {
        let answer = server.ask(method, path, &[], b"{\"inputs\": []}");
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        assert!(!answer.json()["error"].is_null(), "{}", answer.text());
    }
    let answer = server.ask("POST", "/predict", &[("Content-Type", "image/png")], b"\x89PNG not really");
    assert_eq!(answer.status, 400, "{}", answer.text());
    let answer = server.ask("POST", "/predict", &[("Content-Type", "application/pdf")], b"x");
    assert_eq!(answer.status, 415, "{}", answer.text());
    let answer = server.ask("POST", "/predict", &[("Content-Encoding", "gzip")], b"x");
    assert_eq!(answer.status, 415, "{}", answer.text());
    assert_eq!(server.get("/v2/health/ready"), json!({"ready": true}));
}

#[test]
fn keys_open_what_they_are_for() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys.json");
    let infer = Keys::add(&file, "app", &[Scope::Infer]).unwrap();
    let admin = Keys::add(&file, "ops", &[Scope::Infer, Scope::Admin]).unwrap();
    let options = Options { keys: Some(file.clone()), ..Options::default() };
    let server = serve(&picture_model(dir.path(), 1), options);
    let status = |key: Option<&str>, path: &str| {
        let bearer = key.map(|k| format!("Bearer {k}"));
        let headers: Vec<(&str, &str)> = bearer.iter().map(|b| ("Authorization", b.as_str())).collect();
        let body = if path.ends_with("infer") { pictures(1) } else { json!({}) };
        server.ask("POST", path, &headers, body.to_string().as_bytes()).status
    };
    let (ask, unload) = ("/v2/models/pets/infer", "/v2/repository/models/pets/unload");
    assert_eq!(status(None, ask), 401);
    assert_eq!(status(Some("brisk-0000"), ask), 401);
    assert_eq!(status(Some(&infer), ask), 200);
    assert_eq!(status(Some(&infer), unload), 403);
    let x_api_key = server.ask("GET", "/v2/models/pets", &[("X-API-Key", &infer)], b"");
    assert_eq!(x_api_key.status, 200);
    for open in ["/v2/health/live", "/v2/health/ready", "/", "/docs", "/openapi.json"] {
        assert_eq!(server.ask("GET", open, &[], b"").status, 200, "{open}");
    }
    for closed in ["/metrics", "/console/state", "/v2/models/pets", "/v1/models", "/v2"] {
        assert_eq!(server.ask("GET", closed, &[], b"").status, 401, "{closed}");
    }
    // A key that is made while the server runs is known at once.
    let later = Keys::add(&file, "later", &[Scope::Infer]).unwrap();
    assert_eq!(status(Some(&later), ask), 200);
    assert_eq!(status(Some(&admin), unload), 200);
    assert_eq!(status(Some(&infer), ask), 404);
    assert_eq!(status(Some(&admin), "/v2/repository/models/pets/load"), 200);
    assert_eq!(status(Some(&infer), ask), 200);
    let stored = std::fs::read_to_string(&file).unwrap();
    assert!([&infer, &admin, &later].iter().all(|k| !stored.contains(k.as_str())));
}

#[test]
fn clients_that_go_away_or_talk_nonsense_harm_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(&picture_model(dir.path(), 1), Default::default());
    let body = pictures(1).to_string();
    for bytes in [
        b"\x16\x03\x01\x02\x00\x01\x00".to_vec(),
        b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n".to_vec(),
        format!(
            "POST /v2/models/pets/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{}",
            body.len() + 5,
            body
        )
        .into_bytes(),
        b"POST /v2/models/pets/infer HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\n"
            .to_vec(),
        [b"GET / HTTP/1.1\r\nX: ".to_vec(), vec![b'a'; 200_000]].concat(),
    ] {
        let mut stream = server.connect();
        let _ = stream.write_all(&bytes);
        // Half closed: nothing more will come.
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let answer = Answer::read(&mut stream);
        assert!(answer.status == 0 || (400..500).contains(&answer.status), "{answer:?}");
    }
    for _ in 0..50 {
        let mut stream = server.connect();
        write!(
            stream,
            "POST /v2/models/pets/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        drop(stream);
    }
    assert_eq!(server.post("/v2/models/pets/infer", &pictures(1)).status, 200);
}

#[test]
fn an_output_is_asked_for_once_and_a_picture_has_so_many_pixels() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(&picture_model(dir.path(), 1), Default::default());
    let mut body = pictures(1);
    let outputs = server.get("/v2/models/pets")["outputs"].clone();
    let name = json!({"name": outputs[0]["name"]});
    body["outputs"] = json!([name, name]);
    let refused = server.post("/v2/models/pets/infer", &body);
    assert!(refused.status == 400 && refused.error().contains("twice"), "{}", refused.text());
    // A picture of 8000 x 8000 in few bytes: its head says so.
    let chunk = |kind: &[u8], data: &[u8]| {
        let mut crc = !0u32;
        for byte in kind.iter().chain(data) {
            crc = (0..8)
                .fold(crc ^ u32::from(*byte), |c, _| if c & 1 == 1 { c >> 1 ^ 0xedb8_8320 } else { c >> 1 });
        }
        [&(data.len() as u32).to_be_bytes()[..], kind, data, &(!crc).to_be_bytes()].concat()
    };
    let side = 8_000u32.to_be_bytes();
    let head = [&side[..], &side, &[8, 2, 0, 0, 0]].concat();
    let bomb =
        [b"\x89PNG\r\n\x1a\n".to_vec(), chunk(b"IHDR", &head), chunk(b"IDAT", &[]), chunk(b"IEND", &[])];
    let refused = server.ask("POST", "/predict", &[("Content-Type", "image/png")], &bomb.concat());
    assert!(refused.status == 413 && refused.error().contains("make it smaller"), "{}", refused.text());
}
