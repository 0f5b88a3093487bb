//! The methods of KServe's service.

use std::sync::Arc;
use std::time::Instant;

use serde_json::Value as Json;
use tonic::{Request, Response, Status};

use super::inference::grpc_inference_service_server::GrpcInferenceService;
use super::inference::model_metadata_response::TensorMetadata;
use super::inference::model_repository_parameter::ParameterChoice;
use super::inference::repository_index_response::ModelIndex;
use super::inference::*;
use super::tensors;
use crate::app::{App, to_the_end};
use crate::catalog::Wanted;
use crate::fault::{Answered, Fault, FaultKind};
use crate::http::Deadline;
use crate::model::{Port, Served};

/// What this server understands beyond the protocol itself.
const EXTENSIONS: [&str; 3] = ["classification", "model_configuration", "model_repository"];

/// The service.
pub struct Service(pub Arc<App>);

type Answer<T> = Result<Response<T>, Status>;

impl Service {
    /// The version that a request is about.
    fn served(&self, name: &str, version: &str) -> Answered<Arc<Served>> {
        Ok(self.0.catalog.find(name, &Wanted::parse(version))?.served)
    }
}

#[tonic::async_trait]
impl GrpcInferenceService for Service {
    async fn server_live(&self, _: Request<ServerLiveRequest>) -> Answer<ServerLiveResponse> {
        Ok(Response::new(ServerLiveResponse { live: true }))
    }

    async fn server_ready(&self, _: Request<ServerReadyRequest>) -> Answer<ServerReadyResponse> {
        Ok(Response::new(ServerReadyResponse { ready: self.0.is_ready() }))
    }

    async fn model_ready(&self, request: Request<ModelReadyRequest>) -> Answer<ModelReadyResponse> {
        let ModelReadyRequest { name, version } = request.into_inner();
        let ready = match self.served(&name, &version) {
            Ok(_) => !self.0.is_stopping(),
            Err(fault) if fault.kind == FaultKind::NotFound => false,
            Err(fault) => return Err(fault.into()),
        };
        Ok(Response::new(ModelReadyResponse { ready }))
    }

    async fn server_metadata(&self, _: Request<ServerMetadataRequest>) -> Answer<ServerMetadataResponse> {
        Ok(Response::new(ServerMetadataResponse {
            name: "brisk".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            extensions: EXTENSIONS.map(String::from).into(),
        }))
    }

    async fn model_metadata(&self, request: Request<ModelMetadataRequest>) -> Answer<ModelMetadataResponse> {
        let ModelMetadataRequest { name, version } = request.into_inner();
        let served = self.served(&name, &version)?;
        let table = self.0.catalog.table();
        let versions = table.get(&served.name).map(|e| e.versions.keys().map(u64::to_string).collect());
        let tensors = |ports: &[Port]| {
            let one = |p: &Port| TensorMetadata {
                name: p.name.clone(),
                datatype: p.datatype.into(),
                shape: p.shape.clone(),
            };
            ports.iter().map(one).collect()
        };
        Ok(Response::new(ModelMetadataResponse {
            name: served.name.clone(),
            versions: versions.unwrap_or_default(),
            platform: "brisk".into(),
            inputs: tensors(&served.signature.inputs),
            outputs: tensors(&served.signature.outputs),
        }))
    }

    async fn model_config(&self, request: Request<ModelConfigRequest>) -> Answer<ModelConfigResponse> {
        let ModelConfigRequest { name, version } = request.into_inner();
        let served = self.served(&name, &version)?;
        // Triton wants sizes for everything but the batch.
        let dims = |p: &Port| if p.row().is_empty() { vec![1] } else { p.row().to_vec() };
        let (inputs, outputs) = (served.signature.inputs.iter(), served.signature.outputs.iter());
        let input =
            |p: &Port| ModelInput { name: p.name.clone(), data_type: data_type(p).into(), dims: dims(p) };
        let output =
            |p: &Port| ModelOutput { name: p.name.clone(), data_type: data_type(p).into(), dims: dims(p) };
        let delay = self.0.options.batching.delay.as_micros() as u64;
        let config = ModelConfig {
            name: served.name.clone(),
            platform: "brisk".into(),
            max_batch_size: i32::try_from(self.0.options.max_rows).unwrap_or(i32::MAX),
            input: inputs.map(input).collect(),
            output: outputs.map(output).collect(),
            dynamic_batching: Some(ModelDynamicBatching { max_queue_delay_microseconds: delay }),
            backend: "brisk".into(),
        };
        Ok(Response::new(ModelConfigResponse { config: Some(config) }))
    }

    async fn model_infer(&self, request: Request<ModelInferRequest>) -> Answer<ModelInferResponse> {
        let deadline = request.extensions().get::<Deadline>().map(|d| d.0);
        let message = request.into_inner();
        let picked = self.0.catalog.pick(&message.model_name, &Wanted::parse(&message.model_version))?;
        let (request, timeout) = tensors::read(message)?;
        let deadline = deadline.unwrap_or_else(|| self.0.deadline(None));
        let own = timeout.and_then(|t| Instant::now().checked_add(t));
        let response = self.0.infer(&picked, request, own.map_or(deadline, |own| deadline.min(own))).await?;
        Ok(Response::new(tensors::write(response)))
    }

    async fn repository_index(
        &self,
        request: Request<RepositoryIndexRequest>,
    ) -> Answer<RepositoryIndexResponse> {
        let only_ready = request.into_inner().ready;
        let Json::Array(all) = self.0.index() else {
            return Err(Fault::internal("an index that is no list").into());
        };
        let models = all.iter().map(|entry| {
            let word = |key: &str| entry[key].as_str().unwrap_or_default().to_string();
            ModelIndex {
                name: word("name"),
                version: word("version"),
                state: word("state"),
                reason: word("reason"),
            }
        });
        let models = models.filter(|m| !only_ready || m.state == "READY").collect();
        Ok(Response::new(RepositoryIndexResponse { models }))
    }

    async fn repository_model_load(
        &self,
        request: Request<RepositoryModelLoadRequest>,
    ) -> Answer<RepositoryModelLoadResponse> {
        let request = request.into_inner();
        let version = request.parameters.get("version").map(version).transpose()?;
        let model_name = model_name(request.model_name, request.repository_name);
        let (app, name) = (self.0.clone(), model_name.clone());
        to_the_end(async move { app.load(&name, version).await }).await?;
        Ok(Response::new(RepositoryModelLoadResponse { model_name, is_loaded: true }))
    }

    async fn repository_model_unload(
        &self,
        request: Request<RepositoryModelUnloadRequest>,
    ) -> Answer<RepositoryModelUnloadResponse> {
        let request = request.into_inner();
        let model_name = model_name(request.model_name, request.repository_name);
        let (app, name) = (self.0.clone(), model_name.clone());
        to_the_end(async move { app.unload(&name).await }).await?;
        Ok(Response::new(RepositoryModelUnloadResponse { model_name, is_unloaded: true }))
    }
}

/// KServe's clients put the name where Triton's put that of a repository, which there is only one of.
fn model_name(model: String, repository: String) -> String {
    if model.is_empty() { repository } else { model }
}

fn version(parameter: &ModelRepositoryParameter) -> Answered<u64> {
    let version = match &parameter.parameter_choice {
        Some(ParameterChoice::Int64Param(n)) => u64::try_from(*n).ok(),
        Some(ParameterChoice::StringParam(text)) => text.parse().ok(),
        _ => None,
    };
    version.ok_or_else(|| Fault::bad("parameter `version`: expected a number"))
}

fn data_type(port: &Port) -> DataType {
    match port.datatype {
        "UINT8" => DataType::TypeUint8,
        "FP32" => DataType::TypeFp32,
        "FP64" => DataType::TypeFp64,
        _ => DataType::TypeString,
    }
}
