//! Versions come, go and are tried while requests are answered, and nobody notices.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use brisk_eval::Ready;
use brisk_registry::{Publication, Repository};
use brisk_serve::{Keys, Options, Scope};
use serde_json::{Value as Json, json};

use crate::support::*;

/// A repository in a folder, and a key for its server.
struct Publisher {
    dir: tempfile::TempDir,
    key: String,
}

impl Publisher {
    fn new() -> Publisher {
        let dir = tempfile::tempdir().unwrap();
        let key = Keys::add(&dir.path().join("keys.json"), "ops", &[Scope::Infer, Scope::Admin]).unwrap();
        Publisher { dir, key }
    }

    fn location(&self) -> String {
        self.dir.path().join("models").display().to_string()
    }

    /// Publishes a model of a seed; gives the number of its version.
    fn publish(&self, seed: u64) -> u64 {
        let folder = picture_model(self.dir.path(), seed);
        let extra = brisk_serve::companions(&Ready::open(&folder).unwrap()).unwrap();
        self.with(async |repository| {
            let publication = Publication { extra, ..Publication::new("pets", &folder) };
            repository.publish(&publication).await.unwrap().version
        })
    }

    /// Publishes another model.
    fn publish_birds(&self) {
        let folder = picture_model(self.dir.path(), 2);
        self.with(async |r| r.publish(&Publication::new("birds", &folder)).await.map(drop).unwrap());
    }

    fn alias(&self, alias: &str, version: u64) {
        self.with(async |repository| repository.set_alias("pets", alias, version).await.map(drop).unwrap());
    }

    fn with<T>(&self, act: impl AsyncFnOnce(Repository) -> T) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { act(Repository::create(&self.location()).await.unwrap()).await })
    }

    /// A server that looks for new versions often; `watch` 0: only when it is told to.
    fn serve(&self, watch: Duration) -> Running {
        let keys = Some(self.dir.path().join("keys.json"));
        serve(Path::new(&self.location()), Options { keys, watch, ..Options::default() })
    }

    fn ask(&self, server: &Running, method: &str, path: &str, body: &Json) -> Answer {
        let headers =
            [("Authorization", &*format!("Bearer {}", self.key)), ("Content-Type", "application/json")];
        server.ask(method, path, &headers, body.to_string().as_bytes())
    }

    /// The version that answers, and the first probability.
    fn answer(&self, server: &Running, path: &str) -> (u64, f64) {
        let answer = self.ask(server, "POST", path, &pictures(1)).json();
        let version = answer["model_version"].as_str().unwrap().parse().unwrap();
        (version, answer["outputs"][0]["data"][0].as_f64().unwrap())
    }
}

const INFER: &str = "/v2/models/pets/infer";

#[test]
fn aliases_move_and_go_back_and_the_server_follows() {
    let publisher = Publisher::new();
    let (one, two) = (publisher.publish(1), publisher.publish(2));
    publisher.alias("production", one);
    let server = publisher.serve(Duration::ZERO);
    let of_one = publisher.answer(&server, INFER);
    assert_eq!(of_one.0, one);
    let index = publisher.ask(&server, "POST", "/v2/repository/index", &json!({})).json();
    assert_eq!(index, json!([{"name": "pets", "version": "1", "state": "READY", "reason": ""}]));

    let moved =
        publisher.ask(&server, "PUT", "/admin/models/pets/aliases/production", &json!({"version": two}));
    assert_eq!(moved.status, 200, "{}", moved.text());
    let of_two = publisher.answer(&server, INFER);
    assert!(of_two.0 == two && of_two.1 != of_one.1);
    assert_eq!(publisher.ask(&server, "POST", "/v2/models/pets/versions/1/infer", &pictures(1)).status, 404);

    let back = publisher.ask(&server, "POST", "/admin/models/pets/rollback", &json!({}));
    assert_eq!(back.json()["version"], one, "{}", back.text());
    assert_eq!(publisher.answer(&server, INFER), of_one);
    publisher.with(async |r| assert_eq!(r.resolve("pets", "production").await.unwrap().version, one));

    let refused =
        publisher.ask(&server, "PUT", "/admin/models/pets/aliases/production", &json!({"version": 9}));
    assert_eq!(refused.status, 404, "{}", refused.text());
    // Versions without an alias are there when they are asked for.
    let loaded = publisher.ask(
        &server,
        "POST",
        "/v2/repository/models/pets/load",
        &json!({"parameters": {"version": two}}),
    );
    assert_eq!(loaded.status, 200, "{}", loaded.text());
    assert_eq!(publisher.answer(&server, "/v2/models/pets/versions/2/infer"), of_two);
    publisher.ask(&server, "PUT", "/admin/models/pets/aliases/next", &json!({"version": two}));
    assert_eq!(publisher.answer(&server, "/v2/models/pets/versions/next/infer"), of_two);
    assert_eq!(publisher.answer(&server, INFER), of_one);
    let gone = publisher.ask(&server, "DELETE", "/admin/models/pets/aliases/next", &json!({}));
    assert_eq!(gone.status, 200, "{}", gone.text());
    assert_eq!(
        publisher.ask(&server, "POST", "/v2/models/pets/versions/next/infer", &pictures(1)).status,
        404
    );
}

#[test]
fn a_damaged_version_is_refused_and_the_one_before_goes_on() {
    let publisher = Publisher::new();
    let one = publisher.publish(1);
    let server = publisher.serve(Duration::ZERO);
    let before = publisher.answer(&server, INFER);
    // Damaged after it was published, and one whose stored outputs are those of another model.
    let two = publisher.publish(2);
    let weights = Path::new(&publisher.location()).join("pets/2/model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    let load = || publisher.ask(&server, "POST", "/v2/repository/models/pets/load", &json!({}));
    let refused = load();
    assert_eq!(refused.status, 409, "{}", refused.text());
    assert!(refused.error().contains("model.safetensors"), "{}", refused.error());
    assert_eq!(publisher.answer(&server, INFER), before);

    let other =
        brisk_serve::companions(&Ready::open(&picture_model(publisher.dir.path(), 7)).unwrap()).unwrap();
    let folder = picture_model(publisher.dir.path(), 3);
    let three = publisher.with(async |r| {
        r.publish(&Publication { extra: other, ..Publication::new("pets", &folder) }).await.unwrap().version
    });
    let refused = load();
    assert!(refused.error().contains("when the model was published"), "{}", refused.error());
    assert_eq!(publisher.answer(&server, INFER), before);
    let index = publisher.ask(&server, "POST", "/v2/repository/index", &json!({})).json();
    assert_eq!((&index[0]["version"], &index[0]["state"]), (&json!(one.to_string()), &json!("READY")));
    assert!(
        index
            .as_array()
            .unwrap()
            .iter()
            .any(|v| v["version"] == json!(three.to_string()) && v["state"] == "UNAVAILABLE"),
        "{index}"
    );

    let four = publisher.publish(4);
    assert_eq!(load().status, 200);
    assert_eq!(publisher.answer(&server, INFER).0, four);
    // Also after a restart: the latest that is whole.
    std::fs::remove_file(Path::new(&publisher.location()).join("pets/4/config.json")).unwrap();
    assert_eq!(publisher.answer(&publisher.serve(Duration::ZERO), INFER).0, one);
    assert_eq!((two, three, four), (2, 3, 4));
}

/// Changes the last byte of a version's weights.
fn damage(publisher: &Publisher, version: u64) {
    let weights = Path::new(&publisher.location()).join(format!("pets/{version}/model.safetensors"));
    let mut bytes = std::fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&weights, bytes).unwrap();
}

#[test]
fn an_alias_whose_new_version_is_damaged_stays_where_it_was() {
    let publisher = Publisher::new();
    let versions: Vec<u64> = (1..=4).map(|seed| publisher.publish(seed)).collect();
    let [one, two, three, four] = versions[..] else { unreachable!() };
    publisher.alias("production", one);
    publisher.alias("next", three);
    let server = publisher.serve(Duration::ZERO);
    damage(&publisher, two);
    damage(&publisher, four);
    // Moved through the server: refused, and not moved.
    let path = "/admin/models/pets/aliases/production";
    let refused = publisher.ask(&server, "PUT", path, &json!({"version": two}));
    assert!(refused.status == 409 && refused.error().contains("model.safetensors"), "{}", refused.text());
    publisher.with(async |r| assert_eq!(r.resolve("pets", "production").await.unwrap().version, one));
    // Moved by somebody else: those that answered before do so.
    publisher.alias("production", two);
    publisher.alias("next", four);
    publisher.ask(&server, "POST", "/v2/repository/models/pets/load", &json!({}));
    let production = "/v2/models/pets/versions/production/infer";
    assert_eq!((publisher.answer(&server, INFER).0, publisher.answer(&server, production).0), (one, one));
    assert_eq!(publisher.answer(&server, "/v2/models/pets/versions/next/infer").0, three);
    // After a restart: what production was before, not what another alias names.
    let server = publisher.serve(Duration::ZERO);
    assert_eq!((publisher.answer(&server, INFER).0, publisher.answer(&server, production).0), (one, one));
}

#[test]
fn without_its_production_a_model_is_asked_by_name() {
    let publisher = Publisher::new();
    let (one, two) = (publisher.publish(1), publisher.publish(2));
    publisher.alias("production", two);
    publisher.alias("next", one);
    damage(&publisher, two);
    let server = publisher.serve(Duration::ZERO);
    let refused = publisher.ask(&server, "POST", INFER, &pictures(1));
    assert!(refused.status == 404 && refused.error().contains("loaded are 1"), "{}", refused.text());
    assert_eq!(publisher.answer(&server, "/v2/models/pets/versions/next/infer").0, one);
    // A canary ends with its version.
    let three = publisher.publish(3);
    let canary = json!({"version": three, "percent": 100});
    assert_eq!(publisher.ask(&server, "PUT", "/admin/models/pets/canary", &canary).status, 200);
    assert_eq!(publisher.answer(&server, INFER).0, three);
    publisher.with(async |r| r.remove("pets", three).await.unwrap());
    publisher.ask(&server, "POST", "/v2/repository/models/pets/load", &json!({}));
    assert_eq!(publisher.ask(&server, "POST", INFER, &pictures(1)).status, 404);
}

#[test]
fn a_damaged_model_does_not_keep_the_others_from_being_ready() {
    let publisher = Publisher::new();
    publisher.publish(1);
    publisher.publish_birds();
    std::fs::write(Path::new(&publisher.location()).join("birds/1/config.json"), "{}").unwrap();
    let server = publisher.serve(Duration::ZERO);
    assert_eq!(server.ask("GET", "/v2/health/ready", &[], b"").status, 200);
    assert_eq!(publisher.answer(&server, INFER).0, 1);
    assert_eq!(publisher.ask(&server, "POST", "/v2/models/birds/infer", &pictures(1)).status, 404);
    let unload = publisher.ask(&server, "POST", "/v2/repository/models/pets/unload", &json!({}));
    assert_eq!(unload.status, 200, "{}", unload.text());
    assert_eq!(server.ask("GET", "/v2/health/ready", &[], b"").status, 200);
}

#[cfg(target_os = "linux")]
#[test]
fn what_fails_for_a_moment_is_tried_again() {
    let publisher = Publisher::new();
    publisher.publish(1);
    let server = publisher.serve(Duration::from_millis(50));
    // A store that fails: there is a socket where a file should be.
    let model = Path::new(&publisher.location()).join("pets/2/model.safetensors");
    let aside = publisher.dir.path().join("aside");
    publisher.with(async |r| {
        let folder = picture_model(publisher.dir.path(), 2);
        r.publish(&Publication::new("pets", &folder)).await.unwrap();
        std::fs::rename(&model, &aside).unwrap();
        std::os::unix::net::UnixListener::bind(&model).unwrap();
    });
    let index = || publisher.ask(&server, "POST", "/v2/repository/index", &json!({})).text();
    eventually("a refusal", || index().contains("tried again"));
    assert_eq!(publisher.answer(&server, INFER).0, 1, "{}", index());
    std::fs::remove_file(&model).unwrap();
    std::fs::rename(&aside, &model).unwrap();
    eventually("the second version", || publisher.answer(&server, INFER).0 == 2);
    assert!(!index().contains("UNAVAILABLE"), "{}", index());
}

#[test]
fn a_server_can_be_told_to_serve_one_model_of_a_repository() {
    let publisher = Publisher::new();
    publisher.publish(1);
    publisher.publish_birds();
    let location = publisher.location();
    let named = |name: &str| Options { name: Some(name.into()), ..Options::default() };
    let server = serve(Path::new(&location), named("birds"));
    assert_eq!(server.post("/v2/models/birds/infer", &pictures(1)).status, 200);
    assert_eq!(server.post("/v2/models/pets/infer", &pictures(1)).status, 404);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let error = runtime.block_on(async {
        let source = brisk_serve::Source::open(&location).await.unwrap();
        let server = brisk_serve::Server::bind(Options { port: 0, ..named("fish") }, source).await.unwrap();
        server.run(|_| panic!("it serves nothing"), std::future::pending()).await.unwrap_err()
    });
    assert_eq!(error.to_string(), "there is no model `fish`; there are birds, pets");
}

#[test]
fn a_canary_answers_its_share_and_a_shadow_is_compared() {
    let publisher = Publisher::new();
    let (one, two) = (publisher.publish(1), publisher.publish(2));
    publisher.alias("production", one);
    let server = publisher.serve(Duration::ZERO);
    let canary = |body: Json| publisher.ask(&server, "PUT", "/admin/models/pets/canary", &body);
    assert_eq!(canary(json!({"version": two, "percent": 130})).status, 400);
    assert_eq!(canary(json!({"version": 8, "percent": 10})).status, 404);
    assert_eq!(canary(json!({"version": two, "percent": 25})).status, 200);
    let answers: Vec<u64> = (0..40).map(|_| publisher.answer(&server, INFER).0).collect();
    assert_eq!(answers.iter().filter(|&&v| v == two).count(), 10, "{answers:?}");
    assert_eq!(canary(json!({"version": two, "shadow": true})).status, 200);
    for _ in 0..5 {
        assert_eq!(publisher.answer(&server, INFER).0, one);
    }
    // Comparisons run beside the answers: wait for the last.
    eventually("five comparisons", || {
        let text = publisher.ask(&server, "GET", "/metrics", &json!({})).text();
        let counts = text.lines().filter(|l| l.starts_with("brisk_shadow_answers_total"));
        let sum: u64 = counts.map(|l| l.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum();
        assert!(sum == 0 || text.contains("shadow=\"2\"") && !text.contains("answer=\"same\""), "{text}");
        sum == 5
    });
    assert_eq!(publisher.ask(&server, "DELETE", "/admin/models/pets/canary", &json!({})).status, 200);
    assert_eq!(publisher.answer(&server, INFER).0, one);
}

#[test]
fn models_are_unloaded_and_loaded_and_new_ones_are_found() {
    let publisher = Publisher::new();
    publisher.with(async |_| ());
    let server = publisher.serve(Duration::from_millis(50));
    assert_eq!(publisher.ask(&server, "POST", INFER, &pictures(1)).status, 404);
    publisher.publish(1);
    eventually("the model", || publisher.ask(&server, "POST", INFER, &pictures(1)).status == 200);
    let admin = |verb: &str| {
        publisher.ask(&server, "POST", &format!("/v2/repository/models/pets/{verb}"), &json!({})).status
    };
    assert_eq!(admin("unload"), 200);
    let gone = publisher.ask(&server, "POST", INFER, &pictures(1));
    assert!(gone.status == 404 && gone.error().contains("brings it back"), "{}", gone.text());
    let canary = publisher.ask(&server, "PUT", "/admin/models/pets/canary", &json!({"version": 1}));
    assert_eq!(canary.status, 404, "{}", canary.text());
    let mistaken = publisher.ask(&server, "POST", "/v2/repository/models/pets/load", &json!({"version": 1}));
    assert!(mistaken.status == 400 && mistaken.error().contains("parameters"), "{}", mistaken.text());
    assert_eq!(admin("load"), 200);
    assert_eq!(publisher.ask(&server, "POST", INFER, &pictures(1)).status, 200);
    assert_eq!(publisher.ask(&server, "POST", "/v2/repository/models/birds/load", &json!({})).status, 404);
}

#[test]
fn no_request_fails_while_versions_are_swapped() {
    const SWAPS: u64 = 40;
    let publisher = Publisher::new();
    let known: Vec<(u64, u64)> = (1..=2).map(|seed| (publisher.publish(seed), seed)).collect();
    publisher.alias("production", 1);
    let server = publisher.serve(Duration::ZERO);
    let expected: Vec<f64> = known
        .iter()
        .map(|(version, _)| {
            publisher.ask(
                &server,
                "PUT",
                "/admin/models/pets/aliases/production",
                &json!({ "version": version }),
            );
            publisher.answer(&server, INFER).1
        })
        .collect();
    let (stop, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    let (version, value) = publisher.answer(&server, INFER);
                    // Never the numbers of another version than the one that is named.
                    assert_eq!(value, expected[version as usize - 1]);
                    answered.fetch_add(1, Relaxed);
                }
            });
        }
        let swaps = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for swap in 0..SWAPS {
                let path = "/admin/models/pets/aliases/production";
                let moved = publisher.ask(&server, "PUT", path, &json!({"version": 1 + swap % 2}));
                assert_eq!(moved.status, 200, "{}", moved.text());
            }
        }));
        stop.store(true, Relaxed);
        swaps.unwrap();
    });
    assert!(answered.load(Relaxed) > 0);
}
