//! The standard service of health: what balancers and probes ask.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, stream};
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_server};

use crate::app::App;
use crate::fault::{Fault, FaultKind};

/// How often those who watch are looked after.
const EVERY: Duration = Duration::from_millis(500);

/// The service.
pub struct Health(pub Arc<App>);

/// Whether a service is ready: the server as a whole, or the one of KServe, which is the same. Nothing for services that are not here.
fn state(app: &App, service: &str) -> Option<ServingStatus> {
    match (service, app.is_ready()) {
        ("" | "inference.GRPCInferenceService", true) => Some(ServingStatus::Serving),
        ("" | "inference.GRPCInferenceService", false) => Some(ServingStatus::NotServing),
        _ => None,
    }
}

fn answer(state: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: state.into() }
}

#[tonic::async_trait]
impl health_server::Health for Health {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let unknown = || Fault::new(FaultKind::NotFound, "there is no such service");
        let state = state(&self.0, &request.get_ref().service).ok_or_else(unknown)?;
        Ok(Response::new(answer(state)))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    /// The state now, and each time it changes, until the server stops.
    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let service = request.into_inner().service;
        let next = move |(app, before): (Arc<App>, Option<ServingStatus>)| {
            let service = service.clone();
            async move {
                loop {
                    let stopping = app.is_stopping();
                    let now = state(&app, &service).unwrap_or(ServingStatus::ServiceUnknown);
                    if before != Some(now) {
                        return Some((Ok(answer(now)), (app, Some(now))));
                    }
                    if stopping {
                        return None;
                    }
                    tokio::time::sleep(EVERY).await;
                }
            }
        };
        Ok(Response::new(Box::pin(stream::unfold((self.0.clone(), None), next))))
    }
}
