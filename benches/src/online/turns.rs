//! Who is asked, and how they take turns.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Result;
use asof_proto::v1::GetFeaturesRequest;

use super::feast::ReadFeast;
use super::redis::{Hmget, ReadHashes};
use crate::spread::Spread;
use crate::stage::load::{self, GetFeatures, Load, Loaded};

/// A server with what it is asked.
pub(super) enum Asked {
    /// Ours, or an echo.
    Grpc(Arc<[GetFeaturesRequest]>),
    Redis(Arc<[Hmget]>),
    Feast(Arc<[String]>),
}

pub(super) struct Contestant {
    pub(super) name: &'static str,
    pub(super) address: SocketAddr,
    pub(super) asked: Asked,
}

impl Contestant {
    pub(super) async fn run(&self, load: Load) -> Result<Loaded> {
        match &self.asked {
            Asked::Grpc(requests) => load::run::<GetFeatures>(self.address, requests, load).await,
            Asked::Redis(requests) => load::run::<ReadHashes>(self.address, requests, load).await,
            Asked::Feast(requests) => load::run::<ReadFeast>(self.address, requests, load).await,
        }
    }
}

/// What came of a contestant's runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Runs {
    pub(super) per_second: Spread,
    pub(super) p50: Spread,
    pub(super) p99: Spread,
}

impl Runs {
    pub(super) fn of(runs: &[Loaded]) -> Option<Self> {
        let spread = |of: fn(&Loaded) -> f64| Spread::of(runs.iter().map(of));
        Some(Self {
            per_second: spread(|run| run.per_second)?,
            p50: spread(|run| run.p50_micros / 1e3)?,
            p99: spread(|run| run.p99_micros / 1e3)?,
        })
    }
}
