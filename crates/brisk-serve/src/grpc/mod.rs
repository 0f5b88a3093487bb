//! gRPC: KServe V2 as its own clients and Triton's speak it, and the standard service of health.

mod guard;
mod health;
#[allow(missing_docs, clippy::all, dead_code, unused_qualifications)]
#[rustfmt::skip]
mod inference;
mod service;
mod tensors;
mod weight;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use tonic_health::pb::health_server::HealthServer;

use crate::app::App;
use crate::keys::Scope;
use inference::grpc_inference_service_server::GrpcInferenceServiceServer;

/// What can be called, and what a key must be for; open to all if nothing.
const METHODS: [(&str, Option<Scope>); 12] = [
    ("/inference.GRPCInferenceService/ServerLive", None),
    ("/inference.GRPCInferenceService/ServerReady", None),
    ("/inference.GRPCInferenceService/ServerMetadata", Some(Scope::Infer)),
    ("/inference.GRPCInferenceService/ModelReady", Some(Scope::Infer)),
    ("/inference.GRPCInferenceService/ModelMetadata", Some(Scope::Infer)),
    ("/inference.GRPCInferenceService/ModelConfig", Some(Scope::Infer)),
    (INFER, Some(Scope::Infer)),
    ("/inference.GRPCInferenceService/RepositoryIndex", Some(Scope::Infer)),
    ("/inference.GRPCInferenceService/RepositoryModelLoad", Some(Scope::Admin)),
    ("/inference.GRPCInferenceService/RepositoryModelUnload", Some(Scope::Admin)),
    ("/grpc.health.v1.Health/Check", None),
    ("/grpc.health.v1.Health/Watch", None),
];

const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";

/// All of it.
pub fn router(app: &Arc<App>) -> Router {
    let inference = GrpcInferenceServiceServer::new(service::Service(app.clone()));
    let inference = inference.max_decoding_message_size(app.options.max_body);
    let health = HealthServer::new(health::Health(app.clone()));
    Router::new()
        .route_service("/inference.GRPCInferenceService/{method}", inference)
        .route_service("/grpc.health.v1.Health/{method}", health)
        // Of what is not in the list of methods, the guard has something to say.
        .fallback(|| async {})
        .layer(from_fn_with_state(app.clone(), guard::count))
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::{HeaderMap, Request};
    use axum::routing::post;
    use brisk_format::{SavedModel, save_model};
    use brisk_nn::prelude::*;
    use prost::Message;
    use tonic::Code;
    use tonic::codegen::Service;
    use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

    use super::inference::infer_parameter::ParameterChoice;
    use super::inference::*;
    use super::*;
    use crate::metrics::Page;
    use crate::{Keys, Options, Source};

    const LOAD: &str = "/inference.GRPCInferenceService/RepositoryModelLoad";
    const READY: &str = "/inference.GRPCInferenceService/ServerReady";

    /// A server of a small model `iris`, and a key for everything.
    async fn app(folder: &std::path::Path) -> (Arc<App>, String) {
        let model = Sequential::new([2]).add(Dense::new(3)).build().unwrap();
        let task = Task::new(model, Loss::sparse_categorical_crossentropy());
        let path = folder.join("iris");
        save_model(&path, &SavedModel::new(&task, &task.model.init_state(1).unwrap())).unwrap();
        let keys = folder.join("keys.json");
        let key = Keys::add(&keys, "all", &[Scope::Infer, Scope::Admin]).unwrap();
        let options =
            Options { keys: Some(keys), max_body: 1 << 20, max_memory: 8 << 20, ..Options::default() };
        let source = Source::open(&path.display().to_string()).await.unwrap();
        let app = Arc::new(App::new(options, source).unwrap());
        app.refresh().await.unwrap();
        (app, key)
    }

    fn framed(message: &[u8]) -> Vec<u8> {
        [&[0][..], &(message.len() as u32).to_be_bytes(), message].concat()
    }

    /// The code and the message of an answer, or what it holds.
    async fn call(
        router: &Router,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Vec<u8>, (Code, String)> {
        let mut request = Request::post(path).header("content-type", "application/grpc");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = router.clone().call(request.body(Body::from(body)).unwrap()).await.unwrap();
        let code =
            |h: &HeaderMap| tonic::Status::from_header_map(h).map(|s| (s.code(), s.message().to_string()));
        match code(response.headers()) {
            Some(fault) => Err(fault),
            // The trailers are no data.
            None => Ok(to_bytes(response.into_body(), usize::MAX).await.unwrap()[5..].to_vec()),
        }
    }

    fn question() -> ModelInferRequest {
        let contents =
            InferTensorContents { fp32_contents: vec![0.5, 1.0], ..InferTensorContents::default() };
        let input = model_infer_request::InferInputTensor {
            name: "input".into(),
            datatype: "FP32".into(),
            shape: vec![1, 2],
            contents: Some(contents),
            ..Default::default()
        };
        ModelInferRequest { model_name: "iris".into(), inputs: vec![input], ..Default::default() }
    }

    #[tokio::test]
    async fn a_call_is_guarded_answered_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let (app, key) = app(folder.path()).await;
        let router = router(&app);
        let bearer = format!("Bearer {key}");
        let known = [("authorization", bearer.as_str())];
        let asked = framed(&question().encode_to_vec());

        let answer = call(&router, INFER, &known, asked.clone()).await.unwrap();
        let answer = ModelInferResponse::decode(&answer[..]).unwrap();
        assert_eq!((answer.model_name.as_str(), &answer.outputs[0].shape[..]), ("iris", &[1, 3][..]));
        assert_eq!(answer.outputs[0].contents.as_ref().unwrap().fp32_contents.len(), 3);

        let mut late = question();
        let microsecond = InferParameter { parameter_choice: Some(ParameterChoice::Int64Param(1)) };
        late.parameters.insert("timeout".into(), microsecond);
        let now = [known[0], ("grpc-timeout", "1n")];
        let soon = [known[0], ("grpc-timeout", "soon")];
        let unknown = ModelInferRequest { model_name: "rose".into(), ..question() };
        let two = [asked.clone(), asked.clone()].concat();
        let bomb = framed(&b"\x2a\x00".repeat(500_000));
        for (path, headers, body, code, words) in [
            (INFER, &[][..], asked.clone(), Code::Unauthenticated, "expected a key"),
            (INFER, &[("x-api-key", "no")], asked.clone(), Code::Unauthenticated, "not known"),
            (LOAD, &[], framed(b""), Code::Unauthenticated, "expected a key"),
            (INFER, &now, asked.clone(), Code::DeadlineExceeded, ""),
            (INFER, &known, framed(&late.encode_to_vec()), Code::DeadlineExceeded, ""),
            (INFER, &soon, asked.clone(), Code::InvalidArgument, "grpc-timeout"),
            (INFER, &known, framed(&unknown.encode_to_vec()), Code::NotFound, "there are iris"),
            (INFER, &known, asked[..9].to_vec(), Code::InvalidArgument, "broke off"),
            (INFER, &known, vec![], Code::InvalidArgument, "broke off"),
            (INFER, &known, two, Code::InvalidArgument, "found more"),
            (INFER, &known, framed(&[0; 2 << 20]), Code::ResourceExhausted, "more than 1048576 bytes"),
            (INFER, &known, bomb, Code::ResourceExhausted, "of memory"),
            ("/inference.GRPCInferenceService/Nothing", &known, asked, Code::Unimplemented, "no such method"),
        ] {
            let (found, message) = call(&router, path, headers, body).await.unwrap_err();
            assert!(found == code && message.contains(words), "{found:?} {message}");
        }
        assert!(call(&router, READY, &[], framed(b"")).await.is_ok(), "open to all");
        let counted = |route: &str, status| {
            app.metrics.answers.get_or_create(&Page { route: route.into(), status }).get()
        };
        assert_eq!([200, 401, 404, 413, 504].map(|s| counted(INFER, s)), [1, 2, 1, 2, 2]);
        assert_eq!((counted("other", 405), counted(READY, 200)), (1, 1));
        assert_eq!(app.in_work(), 0);
    }

    #[tokio::test]
    async fn health_follows_the_server() {
        let folder = tempfile::tempdir().unwrap();
        let (app, _) = app(folder.path()).await;
        let router = router(&app);
        let check = async |path, service: &str| {
            let request = HealthCheckRequest { service: service.into() };
            call(&router, path, &[], framed(&request.encode_to_vec())).await
        };
        let state = |answer: &[u8]| HealthCheckResponse::decode(answer).unwrap().status;
        assert_eq!(state(&check("/grpc.health.v1.Health/Check", "").await.unwrap()), 1);
        let fault = check("/grpc.health.v1.Health/Check", "strange").await.unwrap_err();
        assert_eq!(fault.0, Code::NotFound);
        // However much there is to do.
        let mut places = Vec::new();
        while let Ok(place) = app.admit(1).await {
            places.push(place);
        }
        assert_eq!(state(&check("/grpc.health.v1.Health/Check", "").await.unwrap()), 1);
        let small = framed(&[0; 100_000]);
        let fault = call(&router, READY, &[], small).await.unwrap_err();
        assert!(fault.0 == Code::ResourceExhausted && fault.1.contains("65536"), "{}", fault.1);
        drop(places);
        app.stop();
        assert_eq!(state(&check("/grpc.health.v1.Health/Check", "").await.unwrap()), 2);
        // Says so, and ends.
        assert_eq!(state(&check("/grpc.health.v1.Health/Watch", "").await.unwrap()), 2);
    }

    #[tokio::test]
    async fn a_panic_is_a_fault() {
        let folder = tempfile::tempdir().unwrap();
        let (app, _) = app(folder.path()).await;
        let broken = post(async || -> () { panic!("broken") });
        let router: Router =
            Router::new().route(READY, broken).layer(from_fn_with_state(app.clone(), guard::count));
        let (code, message) = call(&router, READY, &[], framed(b"")).await.unwrap_err();
        assert!(code == Code::Internal && message.contains("something broke"), "{message}");
        assert_eq!(app.in_work(), 0);
    }
}
