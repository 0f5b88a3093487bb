//! Downloads over HTTPS.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::Path;
use std::time::Duration;

use crate::{Error, Progress, Result};

/// Fetches an address into a file. `remedy`: what to do by hand if it fails.
pub(crate) fn fetch(
    url: &str,
    to: &Path,
    remedy: String,
    progress: &mut Option<&mut Progress<'_>>,
) -> Result<()> {
    let failed = |reason: String| Error::Download { url: url.into(), reason, remedy: remedy.clone() };
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_connect(Some(Duration::from_secs(20)))
        .timeout_recv_response(Some(Duration::from_secs(60)))
        .build()
        .into();
    let mut response = agent.get(url).call().map_err(|e| failed(e.to_string()))?;
    let total = response.body().content_length();
    let mut body = response.body_mut().as_reader();
    let mut file = BufWriter::new(File::create(to).map_err(Error::io(to))?);
    let name = url.rsplit('/').next().unwrap_or(url);
    let mut buffer = vec![0; 1 << 16];
    let mut done = 0;
    loop {
        let n = body.read(&mut buffer).map_err(|e| failed(e.to_string()))?;
        if n == 0 {
            break;
        }
        file.write_all(&buffer[..n]).map_err(Error::io(to))?;
        done += n as u64;
        if let Some(tell) = progress {
            tell(name, done, total);
        }
    }
    if total.is_some_and(|t| t != done) {
        return Err(failed(format!("the connection ended after {done} bytes")));
    }
    file.flush().map_err(Error::io(to))?;
    file.get_ref().sync_all().map_err(Error::io(to))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A server that answers one request.
    fn serve(answer: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/file.gz", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 2048]);
            let _ = stream.write_all(answer);
        });
        address
    }

    fn fetched(url: &str) -> Result<Vec<u8>> {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("x");
        fetch(url, &to, "Do it by hand".into(), &mut None)?;
        Ok(std::fs::read(to).unwrap())
    }

    #[test]
    fn fetches_and_says_what_to_do_when_it_cannot() {
        let ok = serve(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc");
        assert_eq!(fetched(&ok).unwrap(), b"abc");
        let gone = serve(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        let short = serve(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nabc");
        for url in [gone.as_str(), short.as_str(), "http://127.0.0.1:1/x"] {
            let error = fetched(url).unwrap_err();
            assert!(
                matches!(error, Error::Download { .. }) && error.to_string().ends_with("Do it by hand"),
                "{error}"
            );
        }
    }
}
