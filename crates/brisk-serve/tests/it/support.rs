//! Small models, servers in this process, and a client that can do what no library would.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::Duration;

use brisk_data::{ImageSpec, Preprocessing};
use brisk_format::{SavedModel, save_model};
use brisk_graph::DType;
use brisk_nn::prelude::*;
use brisk_nn::{INPUT, Scaling};
use brisk_serve::{Options, Server, Source};
use brisk_train::{Progress, Project, Run};
use serde_json::{Value as Json, json};
use tokio::sync::oneshot;

/// A classifier of 4x4 grey pictures in three classes.
pub fn picture_model(dir: &Path, seed: u64) -> PathBuf {
    let mut model = Sequential::new([4, 4, 1]).add(Flatten {}).add(Dense::new(3)).build().unwrap();
    model.set_stored(INPUT, DType::U8, Scaling::bytes()).unwrap();
    let task = Task::new(model, Loss::sparse_categorical_crossentropy());
    let image = ImageSpec { height: 4, width: 4, channels: 1 };
    let saved = SavedModel {
        labels: ["cat", "dog", "emu"].map(String::from).to_vec(),
        preprocessing: serde_json::to_value(Preprocessing::scaled(image)).unwrap(),
        ..SavedModel::new(&task, &task.model.init_state(seed).unwrap())
    };
    let path = dir.join("pets");
    save_model(&path, &saved).unwrap();
    path
}

/// A model of a text, a number and a category, trained for one epoch.
pub fn table_model(dir: &Path) -> PathBuf {
    let rows: String = (0..40)
        .map(|i| match i % 2 {
            0 => format!("a fine day number {i},{},red,good\n", i as f64 / 4.0),
            _ => format!("a bad 坏 night {i},{},blue,bad\n", i as f64 / 4.0),
        })
        .collect();
    std::fs::write(dir.join("rows.csv"), format!("text,size,colour,mood\n{rows}")).unwrap();
    let project = format!(
        "
inputs:
  text: {{type: text, max_length: 16}}
  size: {{type: number}}
  colour: {{type: category}}
outputs: {{mood: {{type: category}}}}
data: {{source: '{}'}}
model:
  encoders: {{text: [{{Embedding: {{output_dim: 4}}}}, GlobalAveragePooling1D]}}
train: {{epochs: 1, batch_size: 8}}
",
        dir.join("rows.csv").display()
    );
    let project = Project::parse(&project, "brisk.yaml").unwrap();
    let path = dir.join("moods");
    let mut run = Run::create(project, &path).unwrap();
    run.train(&brisk_runtime::Cpu::new(1), Progress::stderr(1), &AtomicBool::new(false)).unwrap();
    path
}

/// A server in this process.
pub struct Running {
    pub http: SocketAddr,
    pub grpc: Option<SocketAddr>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Starts a server on a free port.
pub fn serve(what: &Path, options: Options) -> Running {
    let (location, options) = (what.display().to_string(), Options { port: 0, threads: 2, ..options });
    let (stop, stopped) = oneshot::channel();
    let (send, bound) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let server = Server::bind(options, Source::open(&location).await.unwrap()).await.unwrap();
            let ready = |server: &Server| send.send((server.http(), server.grpc())).unwrap();
            server.run(ready, async { drop(stopped.await) }).await.unwrap();
        });
    });
    let (http, grpc) = bound.recv().unwrap();
    Running { http, grpc, stop: Some(stop), thread: Some(thread) }
}

impl Running {
    /// Asks it to stop, and waits for its end.
    pub fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }

    /// A connection.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.http).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
    }

    /// Status, headers and body of the answer to a request.
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut stream = self.connect();
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        if !headers.iter().any(|h| h.0.eq_ignore_ascii_case("content-length")) {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(b"\r\n").unwrap();
        // A server that refuses early may close before all is written.
        let _ = stream.write_all(body);
        Answer::read(&mut stream)
    }

    /// The JSON behind a path.
    pub fn get(&self, path: &str) -> Json {
        self.ask("GET", path, &[], b"").json()
    }

    /// The answer to JSON.
    pub fn post(&self, path: &str, body: &Json) -> Answer {
        self.ask("POST", path, &[("Content-Type", "application/json")], body.to_string().as_bytes())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Waits for something that must come, however slow the machine is.
pub fn eventually(what: &str, mut there: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !there() {
        assert!(began.elapsed() < Duration::from_secs(60), "it never came: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// Reads to the end of the connection.
    pub fn read(stream: &mut TcpStream) -> Answer {
        let mut bytes = Vec::new();
        match stream.read_to_end(&mut bytes) {
            Err(e) if e.kind() == ErrorKind::WouldBlock || e.kind() == ErrorKind::TimedOut => {
                panic!("the server neither answers nor hangs up")
            }
            _ => {} // some connections break
        }
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").map_or(bytes.len(), |i| i + 4);
        let headers = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let status = headers.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        Answer { status, headers, body: bytes[end..].to_vec() }
    }

    pub fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?} {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The message of a fault.
    pub fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or_default().to_string()
    }
}

/// A tensor of pictures for `picture_model`, in JSON.
pub fn pictures(n: usize) -> Json {
    let pixels: Vec<u8> = (0..n * 16).map(|i| (i * 37 % 251) as u8).collect();
    json!({"inputs": [{"name": "image", "shape": [n, 4, 4, 1], "datatype": "UINT8", "data": pixels}]})
}
