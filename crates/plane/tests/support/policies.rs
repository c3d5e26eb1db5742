//! What tests of policies share.

use std::sync::Arc;

use arrow_array::{
    Array, DictionaryArray, Int8Array, Int64Array, RecordBatch, StringArray, cast::AsArray, types::Int8Type,
};
use arrow_schema::{Field, Schema};
use arrowlane_plane::{Batch, Overflow, PublisherOptions, Queue, Request, SubscriptionOptions};

use super::*;

pub const SMALL: Queue = Queue { batches: 4, bytes: 64 << 20 };

pub fn asking(world: &World, request: Request) -> Consumer {
    let options = SubscriptionOptions { request, ..SubscriptionOptions::default() };
    Consumer::with_options(Arc::clone(&world.folder), "topic", options).expect("connected")
}

pub fn overflow(overflow: Overflow) -> Request {
    Request { overflow: Some(overflow), ..Request::default() }
}

/// A publisher with a small queue, and one subscriber for each request.
pub fn meeting(options: PublisherOptions, requests: &[Request]) -> (World, Producer, Vec<Consumer>) {
    let world = World::new();
    let mut producer = world.publish("topic", options);
    let mut consumers: Vec<_> = requests.iter().map(|request| asking(&world, *request)).collect();
    settle(&mut producer, &mut consumers);
    assert_eq!(producer.joined.len(), requests.len());
    (world, producer, consumers)
}

pub fn small() -> PublisherOptions {
    PublisherOptions { queue: SMALL, ..options() }
}

pub fn number_of(batch: &Batch) -> i64 {
    let column = batch.to_arrow().expect("arrays");
    column.column(0).as_any().downcast_ref::<Int64Array>().expect("numbers").value(0) / 1_000_003
}

pub fn drain(producer: &mut Producer, consumer: &mut [Consumer]) -> Vec<i64> {
    let mut numbers = Vec::new();
    loop {
        settle(producer, consumer);
        match consumer[0].take() {
            Some(batch) => numbers.push(number_of(&batch)),
            None => return numbers,
        }
    }
}

pub fn coded(values: &[&str], key: i8) -> RecordBatch {
    let values = Arc::new(StringArray::from(values.to_vec()));
    let array = DictionaryArray::<Int8Type>::new(Int8Array::from(vec![key]), values as _);
    let field = Field::new("colour", array.data_type().clone(), true);
    RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![Arc::new(array)]).expect("a batch")
}

pub fn colour(batch: &Batch) -> String {
    let batch = batch.to_arrow().expect("arrays");
    let array = batch.column(0).as_dictionary::<Int8Type>().downcast_dict::<StringArray>().expect("texts");
    array.into_iter().map(|text| text.unwrap_or_default().to_owned()).collect()
}
