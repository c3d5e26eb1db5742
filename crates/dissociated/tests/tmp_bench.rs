use arrow_array::*;
use arrow_schema::*;
use arrowlane_dissociated::*;
use std::sync::Arc;
use std::time::Instant;
#[derive(Default)]
struct W {
    m: Vec<Vec<u8>>,
    t: Vec<(u64, Vec<u8>)>,
}
impl Outbox for W {
    fn metadata(&mut self, p: &[&[u8]]) {
        self.m.push(p.concat())
    }
    fn tagged(&mut self, t: u64, p: &[&[u8]]) {
        self.t.push((t, p.concat()))
    }
}
#[test]
fn bench() {
    let cols: Vec<_> = (0..4).map(|_| Int64Array::from_iter_values(0..128).into_data()).collect();
    let schema =
        Arc::new(Schema::new((0..4).map(|i| Field::new(format!("c{i}"), DataType::Int64, true)).collect::<Vec<_>>()));
    let mut s = Sender::<Arc<()>>::new(SenderConfig { free_tag: 7, ext_tag: Some(8) });
    let mut r = Receiver::new(ReceiverConfig { free_tag: Some(7), ext_tag: Some(8), ..Default::default() });
    let mut w = W::default();
    let keep = Arc::new(());
    s.message(&encode_schema(&schema), Body::None, &mut w);
    r.metadata(&w.m[0]).unwrap();
    r.next().unwrap();
    w.m.clear();
    let mut enc = HeaderEncoder::new();
    let mut t = [0u128; 8];
    let n = 100_000u32;
    for i in 0..n as u64 {
        let a = Instant::now();
        let flat = flatten(&cols).unwrap();
        t[0] += a.elapsed().as_nanos();
        let a = Instant::now();
        let h = header_of(&flat, 64);
        let fb = enc.batch(&h, &[]);
        t[1] += a.elapsed().as_nanos();
        let pairs: Vec<Pair> = h
            .buffers
            .iter()
            .map(|b| {
                if b.length == 0 {
                    Pair::default()
                } else {
                    Pair { address: (i << 20) + b.offset + 64, length: b.length }
                }
            })
            .collect();
        let a = Instant::now();
        s.message(fb, Body::Pairs { total: 4096, pairs: &pairs, keep: &keep }, &mut w);
        t[2] += a.elapsed().as_nanos();
        let a = Instant::now();
        let m = w.m.pop().unwrap();
        let (tag, b) = w.t.pop().unwrap();
        r.metadata(&m).unwrap();
        t[3] += a.elapsed().as_nanos();
        let b = bytes::Bytes::from(b);
        let a = Instant::now();
        r.tagged(tag, b).unwrap();
        t[4] += a.elapsed().as_nanos();
        let a = Instant::now();
        let e = r.next().unwrap();
        t[5] += a.elapsed().as_nanos();
        let Event::Batch { header, body, .. } = e else { panic!() };
        let a = Instant::now();
        let _ = body.spans(&header).unwrap();
        let batch = assemble(&schema, &header, flat.buffers.clone(), &|_| None).unwrap();
        t[6] += a.elapsed().as_nanos();
        drop(batch);
        let a = Instant::now();
        let f: Vec<u64> = body.held_pairs().map(|p| p.address).collect();
        r.consumed(4096);
        r.free(&f);
        r.flush(&mut w);
        let (tag, b) = w.t.pop().unwrap();
        s.tagged(tag, &b).unwrap();
        t[7] += a.elapsed().as_nanos();
    }
    for (k, v) in
        ["flatten", "header+encode", "message", "metadata", "tagged", "next", "spans+assemble", "free+flush+freed"]
            .iter()
            .zip(t)
    {
        println!("{k}: {} ns", v / n as u128)
    }
}
