//! Sending a received batch on: the segments that it lies in go to the subscribers as they came, under numbers of this
//! publisher's. The upstream lease lives in the [`Memory`] that every connection holds until its addresses came back.
//!
//! A segment is told of to a subscriber before its first batch, and given up when it has ended here: its lender retired it
//! or is gone, and nobody, here or downstream, holds a batch in it any more. Then its mapping is dropped, and says so.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak, atomic::Ordering},
};

use arrow_array::Array;
use arrow_schema::{Schema, SchemaRef};
use arrowlane_dissociated::{BatchHeader, FieldNode, KeyValues, Shape, Span, flatten, shape_of};
use arrowlane_memory::shared::Mapping;
use parking_lot::Mutex;

use super::Publisher;
use crate::{
    Batch, Body, Dictionary, Memory, Outgoing, OutgoingDictionary, Placed, PlaneError, Relayed, memory::RelayedSegment,
    outgoing::ALIGN,
};

/// Most segments of others at a time; with the pool's own they stay below what a subscriber accepts (1024).
const MOST: u16 = 512;
/// They are numbered from here downwards; the pool numbers its own from 1.
const FIRST: u16 = u16::MAX;
/// A buffer that starts elsewhere is copied: readers of the IPC format rely on it.
const LEAST_ALIGN: usize = 8;

/// What part of a batch is meant.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// The first row.
    pub offset: usize,
    /// The number of rows.
    pub length: usize,
    /// Indices of columns; `None`: all of them.
    pub columns: Option<&'a [u32]>,
}

/// The segments of others that this publisher's subscribers were told of.
#[derive(Default)]
pub(super) struct Relays {
    segments: BTreeMap<u16, Known>,
    /// Dictionaries that went on, by identity.
    versions: Vec<(Weak<Dictionary>, u64)>,
}

struct Known {
    mapping: Weak<Mapping>,
    /// There while some batch in it is out, or about to be.
    out: Weak<RelayedSegment>,
    retiring: bool,
}

impl Relays {
    /// The segment under its number; `None` when there are no numbers left. `watch` is called for one that is new.
    fn number(&mut self, mapping: &Arc<Mapping>, watch: impl FnOnce()) -> Option<Arc<RelayedSegment>> {
        let same = |known: &Known| !known.retiring && std::ptr::eq(known.mapping.as_ptr(), Arc::as_ptr(mapping));
        let found =
            self.segments.iter().find(|(_, known)| same(known)).map(|(number, known)| (*number, known.out.upgrade()));
        let number = match found {
            Some((_, Some(out))) => return Some(out),
            Some((number, None)) => number,
            None => {
                let number = (0..MOST).map(|n| FIRST - n).find(|number| !self.segments.contains_key(number))?;
                watch();
                number
            }
        };
        let out = Arc::new(RelayedSegment { number, mapping: Arc::clone(mapping) });
        let known = Known { mapping: Arc::downgrade(mapping), out: Arc::downgrade(&out), retiring: false };
        self.segments.insert(number, known);
        Some(out)
    }

    fn retire(&mut self, which: impl Fn(&Known) -> bool) -> Vec<u16> {
        let chosen = self.segments.iter_mut().filter(|(_, known)| !known.retiring && which(known));
        chosen
            .map(|(number, known)| {
                known.retiring = true;
                *number
            })
            .collect()
    }

    /// Begins the retirement of segments that have ended.
    fn ended(&mut self) -> Vec<u16> {
        self.retire(|known| known.mapping.strong_count() == 0)
    }

    /// Begins the retirement of all that nothing is out of.
    fn idle(&mut self) -> Vec<u16> {
        self.retire(|known| known.out.strong_count() == 0)
    }

    /// Nobody knows the segment any more. Whether it was one of these.
    pub(super) fn release(&mut self, number: u16) -> bool {
        self.segments.remove(&number).is_some()
    }

    /// The same for every batch that refers to these values.
    fn version(&mut self, dictionary: &Arc<Dictionary>) -> u64 {
        // What a `Weak` points to is not used again for another, so equal addresses are the same dictionary.
        let same = |known: &Weak<Dictionary>| std::ptr::eq(known.as_ptr(), Arc::as_ptr(dictionary));
        if let Some((_, version)) = self.versions.iter().find(|(known, _)| same(known)) {
            return *version;
        }
        self.versions.retain(|(known, _)| known.strong_count() > 0);
        let version = Publisher::next_dictionary_version();
        self.versions.push((Arc::downgrade(dictionary), version));
        version
    }
}

impl Publisher {
    /// A received batch, or a part of it, to be sent on from where it lies; its key/values unless others are given. `None`
    /// when that cannot be: not all of it (or of a dictionary that it needs) lies in segments that were lent to this
    /// process, its rows begin where buffers would have to be rewritten or would not be aligned to 8 bytes, or there are
    /// too many segments. Then it has to be [packed](Self::pack).
    ///
    /// It goes on as it was received: what this process wrote into its own view of the pages is not seen by others.
    ///
    /// # Errors
    /// When the batch does not fit its schema, has no such part, or the publisher was closed.
    pub fn forward(
        self: &Arc<Self>,
        batch: &Batch,
        part: Part<'_>,
        metadata: Option<KeyValues>,
    ) -> Result<Option<Outgoing>, PlaneError> {
        if self.is_closed() {
            return Err(PlaneError::Closed);
        }
        if self.lending.copies() {
            return Ok(None);
        }
        let Some(pieces) = pieces_of(batch, part)? else { return Ok(None) };
        let schema = self.packed.lock().schema(&pieces.schema)?;
        let Some(memory) = self.memory_of(&batch.body, &pieces.buffers) else { return Ok(None) };
        let mut dictionaries = Vec::with_capacity(pieces.dictionaries.len());
        for index in &pieces.dictionaries {
            let Some(dictionary) = batch.dictionaries.get(*index).and_then(Option::as_ref) else { return Ok(None) };
            let buffers = starts(&dictionary.body, &dictionary.buffers);
            let Some(memory) = self.memory_of(&dictionary.body, &buffers) else { return Ok(None) };
            let version = self.relays.lock().version(dictionary);
            let header = header_with(&dictionary.header, &buffers);
            dictionaries.push(OutgoingDictionary { version, header, memory });
        }
        let header = header_with(&pieces.header, &pieces.buffers);
        let metadata = metadata.unwrap_or_else(|| batch.metadata.clone());
        Ok(Some(Outgoing { schema, header, memory, metadata, dictionaries }))
    }

    /// Where buffers of a body lie, for subscribers. `None` when they cannot be told.
    #[allow(clippy::option_option, reason = "a body without bytes has no memory, and can be told of")]
    fn memory_of(self: &Arc<Self>, body: &Arc<Body>, buffers: &[(usize, usize)]) -> Option<Option<Memory>> {
        let mut relayed = Relayed {
            body: Arc::clone(body),
            buffers: buffers.to_vec(),
            addresses: vec![0; buffers.len()],
            bytes: 0,
            segments: Vec::new(),
        };
        for ((start, length), address) in
            buffers.iter().zip(&mut relayed.addresses).filter(|((_, length), _)| *length > 0)
        {
            if !start.is_multiple_of(LEAST_ALIGN) {
                return None;
            }
            let (mapping, offset) = body.lent_at(*start, *length)?;
            // Its owner has to know of those behind this process, or would take it for free when this process dies.
            mapping.keepers().onward()?;
            let known = relayed.segments.iter().find(|s| Arc::ptr_eq(&s.mapping, mapping)).map(|s| s.number);
            let number = match known {
                Some(number) => number,
                None => {
                    let segment = self.relayed_segment(mapping)?;
                    relayed.segments.push(segment);
                    relayed.segments.last()?.number
                }
            };
            *address = u64::from(number) << 48 | offset as u64;
            relayed.bytes += *length as u64;
        }
        Some((relayed.bytes > 0).then(|| Memory::Relayed(Arc::new(relayed))))
    }

    fn relayed_segment(self: &Arc<Self>, mapping: &Arc<Mapping>) -> Option<Arc<RelayedSegment>> {
        let watch = || {
            let publisher = Arc::downgrade(self);
            mapping.at_end(move || publisher.upgrade().into_iter().for_each(|publisher| publisher.sweep_later()));
        };
        let mut relays = self.relays.lock();
        if let Some(segment) = relays.number(mapping, watch) {
            return Some(segment);
        }
        // Their numbers are free when all subscribers have said so: for one of the next batches.
        let idle = relays.idle();
        drop(relays);
        self.retire(idle);
        self.relays.lock().number(mapping, watch)
    }

    /// Something that was sent on has ended, on whatever thread: subscribers are told when the loop comes to rest.
    fn sweep_later(self: &Arc<Self>) {
        if let Some(lane) = self.lane.upgrade()
            && !self.dirty.swap(true, Ordering::AcqRel)
        {
            lane.flush_publisher_later(self);
            if !lane.is_here() {
                lane.rouse();
            }
        }
    }

    /// Gives up the segments of others that have ended.
    pub(super) fn sweep(&self) {
        let ended = self.relays.lock().ended();
        self.retire(ended);
    }
}

pub(super) type SharedRelays = Mutex<Relays>;

/// A part of a batch, taken apart.
struct Pieces {
    schema: SchemaRef,
    /// Rows, nodes and variadic counts.
    header: BatchHeader,
    /// Address here and length of each buffer.
    buffers: Vec<(usize, usize)>,
    /// Indices of the dictionaries, depth first.
    dictionaries: Vec<usize>,
}

/// `None` for a part that has to be rewritten for certain.
fn pieces_of(batch: &Batch, part: Part<'_>) -> Result<Option<Pieces>, PlaneError> {
    let whole = pieces_of_columns(batch, part.columns)?;
    if part.offset == 0 && part.length as u64 == batch.header.rows {
        return Ok(Some(whole));
    }
    let mut arrow = batch.to_arrow()?;
    if let Some(columns) = part.columns {
        arrow = arrow.project(&columns.iter().map(|c| *c as usize).collect::<Vec<_>>())?;
    }
    if part.offset.checked_add(part.length).is_none_or(|end| end > arrow.num_rows()) {
        return Err(no_such_part());
    }
    let columns: Vec<_> = arrow.slice(part.offset, part.length).columns().iter().map(|c| c.to_data()).collect();
    // What it has to rewrite is memory of this process, which is not lent.
    let flat = flatten(&columns)?;
    let buffers = flat.buffers.iter().map(|b| (b.as_ptr() as usize, b.len())).collect();
    let header = BatchHeader {
        rows: part.length as u64,
        nodes: flat.nodes,
        variadic: flat.variadic,
        ..without_buffers(&whole.header)
    };
    Ok(Some(Pieces { header, buffers, ..whole }))
}

/// All rows of some columns, without looking at a value.
fn pieces_of_columns(batch: &Batch, columns: Option<&[u32]>) -> Result<Pieces, PlaneError> {
    let all = starts(&batch.body, &batch.buffers);
    let Some(columns) = columns else {
        let dictionaries = (0..batch.schema.dictionaries.len()).collect();
        return Ok(Pieces {
            schema: Arc::clone(&batch.schema.arrow),
            header: batch.header.clone(),
            buffers: all,
            dictionaries,
        });
    };
    let spans = spans_of_columns(&batch.schema.arrow, &batch.header);
    let mut nodes: Vec<FieldNode> = Vec::new();
    let (mut variadic, mut buffers, mut dictionaries) = (Vec::new(), Vec::new(), Vec::new());
    for column in columns {
        let (from, to) = spans.get(*column as usize).ok_or_else(no_such_part)?;
        nodes.extend(batch.header.nodes.get(from.nodes..to.nodes).ok_or_else(no_such_part)?);
        variadic.extend(batch.header.variadic.get(from.views..to.views).ok_or_else(no_such_part)?);
        buffers.extend(all.get(from.buffers..to.buffers).ok_or_else(no_such_part)?);
        dictionaries.extend(from.dictionaries..to.dictionaries);
    }
    let indices: Vec<usize> = columns.iter().map(|c| *c as usize).collect();
    let schema = Arc::new(batch.schema.arrow.project(&indices)?);
    let header = BatchHeader { nodes, variadic, ..without_buffers(&batch.header) };
    Ok(Pieces { schema, header, buffers, dictionaries })
}

/// Where in a header the parts of each column begin and end, data buffers of views included.
fn spans_of_columns(schema: &Schema, header: &BatchHeader) -> Vec<(Shape, Shape)> {
    let mut at = Shape::default();
    let next = |field: &Arc<arrow_schema::Field>| {
        let one = shape_of(&Schema::new(vec![Arc::clone(field)]));
        let from = at;
        let data: u64 = header.variadic.iter().skip(at.views).take(one.views).sum();
        at = Shape {
            nodes: from.nodes + one.nodes,
            buffers: from.buffers + one.buffers + data as usize,
            views: from.views + one.views,
            dictionaries: from.dictionaries + one.dictionaries,
        };
        (from, at)
    };
    schema.fields().iter().map(next).collect()
}

fn without_buffers(header: &BatchHeader) -> BatchHeader {
    let BatchHeader { rows, compression, .. } = *header;
    BatchHeader { rows, nodes: Vec::new(), buffers: Vec::new(), variadic: Vec::new(), compression, body_length: 0 }
}

/// Address here and length of each buffer of a body.
fn starts(body: &Body, placed: &[Placed]) -> Vec<(usize, usize)> {
    let start = |p: &Placed| match body.ranges().get(p.range as usize) {
        Some(range) if p.length > 0 => (range.pointer.as_ptr() as usize + p.offset, p.length),
        _ => (0, 0),
    };
    placed.iter().map(start).collect()
}

/// The header with its buffers as they would lie packed: what a reader of the IPC format expects there.
fn header_with(header: &BatchHeader, buffers: &[(usize, usize)]) -> BatchHeader {
    let mut end = 0;
    let span = |(_, length): &(usize, usize)| {
        let span = Span { offset: end, length: *length as u64 };
        end += span.length.next_multiple_of(ALIGN as u64);
        span
    };
    let buffers = buffers.iter().map(span).collect();
    BatchHeader { buffers, body_length: end, ..header.clone() }
}

fn no_such_part() -> PlaneError {
    arrow_schema::ArrowError::InvalidArgumentError("the batch has no such rows or columns".into()).into()
}
