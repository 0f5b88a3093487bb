//! The same in a bucket: `moto`, a stand-in for S3, on this machine.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use brisk_format::load_model;
use brisk_registry::Repository;

use crate::support::{Place, says};

/// A server that ends with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts it, makes a bucket, and says in the environment where it is. This process has no other test.
fn start(python: &str) -> Server {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let endpoint = format!("http://127.0.0.1:{port}");
    let mut server = Command::new(python);
    server.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()]);
    let server = Server(server.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let variables = [
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ENDPOINT_URL", &endpoint),
        ("AWS_ALLOW_HTTP", "true"),
    ];
    for (name, value) in variables {
        // SAFETY: no other thread of this process looks at the environment now.
        #[allow(unsafe_code, reason = "the repository reads the environment")]
        unsafe {
            std::env::set_var(name, value)
        };
    }
    let script = "import boto3, os, sys
boto3.client('s3', endpoint_url=os.environ['AWS_ENDPOINT_URL'], region_name='us-east-1').create_bucket(Bucket='bucket')";
    for _ in 0..100 {
        let made = Command::new(python).args(["-c", script]).stderr(Stdio::null()).status().unwrap();
        if made.success() {
            return server;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    panic!("moto does not answer; is moto[server] installed?");
}

/// `BRISK_PYTHON` is a Python that has `moto[server]`.
#[test]
#[ignore = "needs a Python with moto[server] in BRISK_PYTHON"]
fn a_bucket_does_what_a_folder_does() {
    let python = std::env::var("BRISK_PYTHON").expect("BRISK_PYTHON");
    let _server = start(&python);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let place = Place::of_width(1300);
        for location in ["s3://bucket/team/models", "s3://bucket"] {
            check(&place, location).await;
        }
        let open = async |location| Repository::open(location).await.map(|_| ());
        says(open("s3://bucket/other").await, true, &["s3://bucket/other: there is no repository"]);
        let create = async |location| Repository::create(location).await.map(|_| ());
        for result in [open("s3://none/models").await, create("s3://none/models").await] {
            says(result, true, &["s3://none/models: there is no such bucket"]);
        }
    });
}

async fn check(place: &Place, location: &str) {
    let repository = Repository::create(location).await.unwrap();
    let publish = || {
        let (repository, publication) = (repository.clone(), place.publication());
        tokio::spawn(async move { repository.publish(&publication).await })
    };
    for one in [publish(), publish(), publish(), publish()] {
        one.await.unwrap().unwrap();
    }
    let repository = Repository::open(location).await.unwrap();
    assert_eq!(repository.versions("fashion").await.unwrap(), [1, 2, 3, 4]);
    for number in 1..=4 {
        let version = repository.version("fashion", number).await.unwrap();
        repository.verify(&version).await.unwrap();
        assert_eq!(repository.local_path(&version), None);
    }
    let into = place.at(&format!("fetched-{}", location.len()));
    let version = repository.resolve("fashion", "latest").await.unwrap();
    repository.fetch(&version, &into).await.unwrap();
    assert_eq!(load_model(&into).unwrap(), load_model(&place.model()).unwrap());
    let movers = [1, 2, 3].map(|version| {
        let repository = repository.clone();
        tokio::spawn(async move { repository.set_alias("fashion", "production", version).await })
    });
    for mover in movers {
        mover.await.unwrap().unwrap();
    }
    let history = repository.alias_history("fashion", "production").await.unwrap();
    assert_eq!(history.len(), 3);
    let moved = repository.rollback("fashion", "production").await.unwrap();
    assert_eq!((moved.from, moved.to), (history[2].version, history[1].version));
    says(repository.remove("fashion", moved.to.unwrap()).await, true, &["the alias production points to it"]);
    repository.remove("fashion", 4).await.unwrap();
    assert_eq!(repository.models().await.unwrap()[0].versions, [1, 2, 3]);
}
