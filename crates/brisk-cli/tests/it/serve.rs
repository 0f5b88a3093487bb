//! `brisk serve` as a process: its ports, its signals, its log, its traces.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use crate::support::Place;

/// A server, and where it listens.
struct Serving {
    child: Child,
    address: String,
    log: std::thread::JoinHandle<String>,
}

impl Serving {
    fn start(mut command: Command) -> Serving {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut log = String::new();
        let address = loop {
            let line = lines.next().unwrap_or_else(|| panic!("it ended: {log}")).unwrap();
            log += &(line.clone() + "\n");
            if let Some(rest) = line.strip_prefix("Ready on http://") {
                break rest.split('/').next().unwrap().to_string();
            }
            // With a log for machines, all of it is.
            if let Ok(line) = serde_json::from_str::<serde_json::Value>(&line)
                && line["message"] == "ready"
            {
                break line["http"].as_str().unwrap().to_string();
            }
        };
        let log = std::thread::spawn(move || {
            log + &lines.map_while(Result::ok).map(|l| l + "\n").collect::<String>()
        });
        Serving { child, address, log }
    }

    fn get(&self, path: &str, headers: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Asks it to stop as service managers do; its exit code and its log.
    fn terminate(mut self) -> (Option<i32>, String) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        (self.child.wait().unwrap().code(), self.log.join().unwrap())
    }
}

#[test]
fn a_run_is_served_until_it_is_told_to_stop() {
    let place = Place::new();
    place.train("pets", &[]);
    // Flags are variables of the environment too.
    let mut command = place.command(&["serve", "pets", "--log-format", "json", "--access-log"]);
    command.env("BRISK_PORT", "0");
    let server = Serving::start(command);
    assert!(server.address.starts_with("127.0.0.1:"), "{}", server.address);
    assert!(server.get("/v2/health/ready", "").contains("{\"ready\":true}"));
    assert!(server.get("/v2/models/pets", "").contains("\"datatype\":\"UINT8\""));
    let (code, log) = server.terminate();
    assert_eq!(code, Some(0), "{log}");
    let answered = log.lines().find(|l| l.contains("\"answered\"")).unwrap_or_else(|| panic!("{log}"));
    let answered: serde_json::Value = serde_json::from_str(answered).unwrap();
    assert_eq!((&answered["path"], &answered["status"]), (&"/v2/health/ready".into(), &200.into()));
}

#[test]
fn what_cannot_be_served_is_said() {
    let place = Place::empty();
    place.brisk(&["serve", "nothing", "--port", "0"]).fails(2, &["nothing", "there is no such folder"]);
    place.write("x/y.txt", "");
    place.brisk(&["serve", "x", "--port", "0"]).fails(2, &["x"]);
    let place = Place::new();
    place.train("pets", &[]);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    place.brisk(&["serve", "pets", "--port", &port]).fails(1, &["cannot listen on 127.0.0.1", "in use"]);
    place.brisk(&["serve", "pets", "--port", "0", "--log", "a=b=c"]).fails(2, &["--log"]);
    place.brisk(&["serve", "pets", "--port", "0", "--api-key-file", "no.json"]).fails(2, &["no.json"]);
    place
        .brisk(&["serve", "pets", "--port", "0", "--tls-cert", "c.pem", "--tls-key", "k.pem"])
        .fails(2, &["c.pem"]);
}

#[test]
fn keys_are_made_and_asked_for() {
    let place = Place::new();
    place.train("pets", &[]);
    let made = place.brisk(&["key", "app", "--file", "keys.json"]).good();
    let key = made.out.trim();
    assert!(key.starts_with("brisk-") && !place.text("keys.json").contains(key), "{key}");
    place.brisk(&["key", "app", "--file", "keys.json"]).fails(2, &["app", "already"]);
    let server =
        Serving::start(place.command(&["serve", "pets", "--port", "0", "--api-key-file", "keys.json"]));
    assert!(server.get("/v2/models/pets", "").starts_with("HTTP/1.1 401"));
    assert!(
        server
            .get("/v2/models/pets", &format!("Authorization: Bearer {key}\r\n"))
            .starts_with("HTTP/1.1 200")
    );
    assert_eq!(server.terminate().0, Some(0));
}

#[cfg(feature = "telemetry")]
#[test]
fn requests_are_spans_of_their_clients_traces() {
    let place = Place::new();
    place.train("pets", &[]);
    let collector = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", collector.local_addr().unwrap());
    let collected = std::thread::spawn(move || {
        let (mut stream, _) = collector.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if let Some(n) = line.to_lowercase().strip_prefix("content-length:") {
                length = n.trim().parse().unwrap();
            }
            head += &line;
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
        (head, body)
    });
    let mut command = place.command(&["serve", "pets", "--port", "0"]);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint);
    let server = Serving::start(command);
    let trace = "0af7651916cd43dd8448eb211c80319c";
    server.get("/v2/models/pets", &format!("traceparent: 00-{trace}-b7ad6b7169203331-01\r\n"));
    assert_eq!(server.terminate().0, Some(0));
    let (head, body) = collected.join().unwrap();
    assert!(head.starts_with("POST /v1/traces"), "{head}");
    let has = |needle: &[u8]| body.windows(needle.len()).any(|w| w == needle);
    let id: Vec<u8> = (0..16).map(|i| u8::from_str_radix(&trace[2 * i..2 * i + 2], 16).unwrap()).collect();
    assert!(has(b"GET /v2/models/{model}") && has(&id), "{}", String::from_utf8_lossy(&body));
}
