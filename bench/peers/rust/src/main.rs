//! A system (bench/system.mjs): the peers that crates.io has, each called once per document.
//!
//! numkong     MaxSimPackedMatrix::score of packed f32 or bf16 matrices; it returns the sum of
//!             1 - cos, so the score is the number of query tokens less it
//! maxsim-lut  Scorer::score of 4-bit residual codes, with the query's products with the centroids
//!             given (its caller's first stage has them) and inverse norms
//! next-plaid  residual_lut::maxsim_residual_lut_i8, the second stage of its search, on the same
//!             codes; and maxsim::maxsim_score on floats
//!
//! Residual codes are next-plaid's own, with the data's cluster centres as centroids and weights at
//! the quantiles of the residuals, as its index build has them.
//! usage: maxsim-peers <data folder> <store MiB>

use std::io::{BufRead, Write};
use std::time::Instant;

use maxsim_lut::{Codes, DocView, Lut, PreparedQuery, Scorer};
use ndarray::{Array1, Array2, ArrayView2};
use next_plaid::{binary, maxsim, residual_lut};
use numkong::MaxSimPackedMatrix;

const QUERY_TOKENS: usize = 32;
const WARM: usize = 100;
const COLD: usize = 1000;
const BITS: usize = 4;

struct Data {
    documents: usize,
    tokens: usize,
    dim: usize,
    query: Vec<f32>,
    vectors: Vec<f32>,
    centroids: Array2<f32>,
    clusters: Vec<u32>,
}

impl Data {
    fn load(folder: &str) -> Self {
        let read = |name: &str| std::fs::read(format!("{folder}/{name}")).expect(name);
        let floats = |name: &str| -> Vec<f32> {
            let bytes = read(name);
            bytes
                .chunks_exact(4)
                .map(|c| f32::from_le_bytes(c.try_into().unwrap()))
                .collect()
        };
        let text = String::from_utf8(read("shape.txt")).unwrap();
        let shape: Vec<usize> = text
            .split_whitespace()
            .map(|x| x.parse().unwrap())
            .collect();
        let (documents, tokens, dim, clusters) = (shape[0], shape[1], shape[2], shape[4]);
        let ids = read("clusters.u32");
        Data {
            documents,
            tokens,
            dim,
            query: floats("query.f32")[..QUERY_TOKENS * dim].to_vec(),
            vectors: floats("tokens.f32"),
            centroids: Array2::from_shape_vec((clusters, dim), floats("centroids.f32")).unwrap(),
            clusters: ids
                .chunks_exact(4)
                .map(|c| u32::from_le_bytes(c.try_into().unwrap()))
                .collect(),
        }
    }

    fn document(&self, i: usize) -> &[f32] {
        let size = self.tokens * self.dim;
        &self.vectors[i % self.documents * size..][..size]
    }
}

/// Token codes of all documents, repeated until they fill the store.
struct Residuals {
    codec: next_plaid::ResidualCodec,
    packed: Vec<u8>,
    ids: Vec<u32>,
    long_ids: Vec<i64>,
    inverse_norms: Vec<f32>,
    stored: usize,
}

impl Residuals {
    fn encode(data: &Data, store_bytes: usize) -> Self {
        let (dim, count) = (data.dim, data.documents * data.tokens);
        let mut residuals = Array2::from_shape_vec((count, dim), data.vectors.clone()).unwrap();
        for (mut row, &cluster) in residuals.rows_mut().into_iter().zip(&data.clusters) {
            row -= &data.centroids.row(cluster as usize);
        }
        let mut sample: Vec<f32> = residuals.iter().step_by(97).copied().collect();
        sample.sort_by(f32::total_cmp);
        let levels = 1 << BITS;
        let quantile = |p: f64| sample[(p * sample.len() as f64) as usize];
        let cutoffs: Array1<f32> = (1..levels)
            .map(|i| quantile(i as f64 / levels as f64))
            .collect();
        let weights: Array1<f32> = (0..levels)
            .map(|i| quantile((i as f64 + 0.5) / levels as f64))
            .collect();
        let codec = next_plaid::ResidualCodec::new(
            BITS,
            data.centroids.clone(),
            Array1::zeros(dim),
            Some(cutoffs),
            Some(weights),
        )
        .unwrap();
        let packed = codec.quantize_residuals(&residuals).unwrap();
        let long_ids: Vec<i64> = data.clusters.iter().map(|&id| i64::from(id)).collect();
        let inverse_norms =
            residual_lut::compute_inv_norms(&codec, &long_ids, &packed.view()).unwrap();
        let token_bytes = dim * BITS / 8 + 8;
        let repeats = store_bytes.div_ceil(count * token_bytes).max(1);
        Residuals {
            codec,
            packed: packed.as_slice().unwrap().repeat(repeats),
            ids: data.clusters.repeat(repeats),
            long_ids: long_ids.repeat(repeats),
            inverse_norms: inverse_norms.repeat(repeats),
            stored: repeats * data.documents,
        }
    }
}

struct Peer<'a> {
    name: &'static str,
    version: String,
    codec: &'static str,
    stored: usize,
    score: Box<dyn Fn(usize) -> f32 + 'a>,
}

/// The version that Cargo.toml pins.
fn pinned(package: &str) -> String {
    let start = format!("{package} = \"=");
    let line = include_str!("../Cargo.toml")
        .lines()
        .find(|line| line.starts_with(&start));
    line.map_or("", |line| line[start.len()..].trim_end_matches('"'))
        .to_string()
}

fn numkong_peers<'a>(data: &'a Data, store_bytes: usize) -> Vec<Peer<'a>> {
    numkong::configure_thread();
    let (dim, version) = (data.dim, pinned("numkong"));
    let pack = |values: &[f32]| {
        let tensor =
            numkong::Tensor::<f32>::try_from_slice(values, &[values.len() / dim, dim]).unwrap();
        MaxSimPackedMatrix::try_pack(&tensor.view()).unwrap()
    };
    let pack_half = |values: &[f32]| {
        let halves: Vec<_> = values.iter().map(|&x| numkong::bf16::from_f32(x)).collect();
        let tensor =
            numkong::Tensor::<numkong::bf16>::try_from_slice(&halves, &[halves.len() / dim, dim])
                .unwrap();
        MaxSimPackedMatrix::try_pack(&tensor.view()).unwrap()
    };
    let stored = |bytes: usize| (store_bytes / bytes).max(data.documents);
    let (query, half_query) = (pack(&data.query), pack_half(&data.query));
    let count = stored(pack(data.document(0)).as_bytes().len());
    let half_count = stored(pack_half(data.document(0)).as_bytes().len());
    let documents: Vec<_> = (0..count).map(|i| pack(data.document(i))).collect();
    let halves: Vec<_> = (0..half_count)
        .map(|i| pack_half(data.document(i)))
        .collect();
    vec![
        Peer {
            name: "numkong f32",
            version: version.clone(),
            codec: "f32",
            stored: count,
            score: Box::new(move |i| QUERY_TOKENS as f32 - query.score(&documents[i]) as f32),
        },
        Peer {
            name: "numkong bf16",
            version,
            codec: "bf16",
            stored: half_count,
            score: Box::new(move |i| QUERY_TOKENS as f32 - half_query.score(&halves[i])),
        },
    ]
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let data = Data::load(&arguments[1]);
    let store_bytes = arguments[2].parse::<usize>().unwrap() << 20;
    let (tokens, dim) = (data.tokens, data.dim);
    let query = ArrayView2::from_shape((QUERY_TOKENS, dim), &data.query).unwrap();
    let residuals = Residuals::encode(&data, store_bytes);
    let row = dim * BITS / 8;
    let packed = |i: usize| &residuals.packed[i * tokens * row..][..tokens * row];
    let of_document = |i: usize| i * tokens..(i + 1) * tokens;
    let products: Array2<f32> = data
        .centroids
        .dot(&query.t())
        .as_standard_layout()
        .to_owned();

    let weights = residuals.codec.bucket_weights.as_ref().unwrap();
    let lut = Lut::colbert(BITS, weights.as_slice().unwrap()).unwrap();
    let prepared = PreparedQuery::new(&lut, &data.query, QUERY_TOKENS, dim).unwrap();
    let scorer = Scorer::new(&lut, &prepared)
        .with_centroid_term(products.as_slice().unwrap(), data.centroids.nrows())
        .unwrap();

    let plaid_lut = residual_lut::quantize_lut(&residuals.codec).unwrap();
    let plaid_query = binary::quantize_query_i8(&query);
    let planes = residual_lut::build_query_planes(&plaid_query, &plaid_lut, dim);

    let size = tokens * dim;
    let float_count = (store_bytes / (size * 4)).max(data.documents);
    let floats: Vec<f32> = (0..float_count)
        .flat_map(|i| data.document(i).iter().copied())
        .collect();

    let mut peers = numkong_peers(&data, store_bytes);
    peers.push(Peer {
        name: "maxsim-lut",
        version: format!("{}, {:?}", pinned("maxsim-lut"), lut.kernel(dim)),
        codec: "r4",
        stored: residuals.stored,
        score: Box::new(|i| {
            let document = DocView::new(packed(i), tokens, row)
                .codes(Codes::U32(&residuals.ids[of_document(i)]))
                .inv_norms(&residuals.inverse_norms[of_document(i)]);
            scorer.score(document)
        }),
    });
    peers.push(Peer {
        name: "next-plaid stage 2",
        version: pinned("next-plaid"),
        codec: "r4",
        stored: residuals.stored,
        score: Box::new(|i| {
            residual_lut::maxsim_residual_lut_i8(
                &plaid_query,
                Some(&planes),
                &ArrayView2::from_shape((tokens, row), packed(i)).unwrap(),
                &residuals.long_ids[of_document(i)],
                &products.view(),
                &plaid_lut,
                &residuals.inverse_norms[of_document(i)],
                dim,
            )
        }),
    });
    peers.push(Peer {
        name: "next-plaid f32",
        version: pinned("next-plaid"),
        codec: "f32",
        stored: float_count,
        score: Box::new(|i| {
            let document =
                ArrayView2::from_shape((tokens, dim), &floats[i * size..][..size]).unwrap();
            maxsim::maxsim_score(&query, &document)
        }),
    });
    serve(&peers);
}

extern "C" {
    fn clock() -> std::ffi::c_long;
}

/// CPU time of all threads of this process. POSIX fixes the unit of clock() at a microsecond.
fn cpu_us() -> f64 {
    unsafe { clock() as f64 }
}

fn serve(peers: &[Peer]) {
    let mut state = 88172645463325252u64;
    let mut below = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17; // xorshift64
        (state % bound as u64) as usize
    };
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let mut words = line.splitn(3, ' ');
        let command = words.next().unwrap();
        let count: usize = words.next().and_then(|x| x.parse().ok()).unwrap_or(0);
        let name = words.next().unwrap_or("");
        let answer = if command == "list" {
            let listed: Vec<String> = peers
                .iter()
                .flat_map(|peer| [describe(peer, true), describe(peer, false)])
                .collect();
            format!("{{\"measurements\":[{}]}}", listed.join(","))
        } else {
            let peer = peers
                .iter()
                .find(|peer| name.starts_with(&format!("{} 1", peer.name)))
                .expect(name);
            let warm = name.ends_with("warm");
            let mut draw = |n: usize, cold: bool| -> Vec<usize> {
                (0..n)
                    .map(|i| if cold { below(peer.stored) } else { i })
                    .collect()
            };
            let score =
                |ids: &[usize]| -> Vec<f32> { ids.iter().map(|&i| (peer.score)(i)).collect() };
            if command == "scores" {
                format!("{{\"scores\":{:?}}}", score(&draw(count, false)))
            } else {
                let (mut wall, mut cpu) = (vec![], vec![]);
                for _ in 0..count {
                    std::hint::black_box(score(&draw(WARM, !warm)));
                    let ids = draw(if warm { WARM } else { COLD }, !warm);
                    let (cpu_start, start) = (cpu_us(), Instant::now());
                    std::hint::black_box(score(&ids));
                    wall.push(start.elapsed().as_secs_f64() * 1e6);
                    cpu.push(cpu_us() - cpu_start);
                }
                format!("{{\"wallUs\":{wall:?},\"cpuUs\":{cpu:?}}}")
            }
        };
        println!("{answer}");
        std::io::stdout().flush().unwrap();
    }
}

fn describe(peer: &Peer, warm: bool) -> String {
    let Peer {
        name,
        version,
        codec,
        ..
    } = peer;
    let version = version.replace('"', "");
    let (docs, case) = if warm { (WARM, "warm") } else { (COLD, "cold") };
    format!(
        "{{\"name\":\"{name} {docs} {case}\",\"kind\":\"peer\",\"peer\":\"{name}\",\"version\":\"{version}\",\
         \"codec\":\"{codec}\",\"docs\":{docs},\"warm\":{warm},\"threads\":1}}"
    )
}
