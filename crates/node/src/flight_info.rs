//! FlightInfos as JSON.

use arrowlane_files::json::schema_to_json;
use arrowlane_flight::{Descriptor, Info, Location, Shape};
use napi::bindgen_prelude::*;
use napi_derive::napi;
use serde_json::{Value, json};

use crate::{error::Result, flight::flight};

/// What a FlightInfo says, as JSON; wherever it comes from.
#[napi]
pub fn read_flight_info(bytes: Uint8Array) -> Result<String> {
    Ok(describe(&Info::read(&bytes).map_err(flight)?).to_string())
}

pub(crate) fn describe(info: &Info) -> Value {
    let endpoints = info.endpoints.iter().map(|endpoint| {
        let texts = endpoint.locations.iter().map(|location| match location {
            Location::Reuse => arrowlane_flight::REUSE_CONNECTION.to_owned(),
            Location::Data(uri) => uri.to_string(),
            Location::Flight(uri) | Location::Other(uri) => uri.clone(),
        });
        let split = match endpoint.shape() {
            Shape::Split { metadata, data } => Some([metadata.to_string(), data.to_string()]),
            Shape::Any(_) => None,
        };
        let data = match endpoint.shape() {
            Shape::Any(uris) => uris.iter().map(ToString::to_string).collect(),
            Shape::Split { .. } => Vec::new(),
        };
        json!({
            "ticket": endpoint.ticket.to_vec(),
            "locations": texts.collect::<Vec<_>>(),
            "here": endpoint.is_here(),
            "elsewhere": endpoint.elsewhere().collect::<Vec<_>>(),
            "data": data,
            "split": split,
        })
    });
    let endpoints: Vec<_> = endpoints.collect();
    let path = match &info.descriptor {
        Some(Descriptor::Path(path)) => Some(path.clone()),
        _ => None,
    };
    json!({
        "name": info.name(),
        "path": path,
        "schema": info.schema.as_ref().map(|schema| schema_to_json(schema)),
        "rows": info.rows,
        "bytes": info.bytes,
        "ordered": info.ordered,
        "endpoints": endpoints,
    })
}
