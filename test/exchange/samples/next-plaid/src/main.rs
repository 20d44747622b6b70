//! Makes small indexes with next-plaid and writes what it decodes them to: see make.py.
//!
//! next-plaid-samples <out>   makes <out>/next-plaid, next-plaid-2bit and next-plaid-binary

use std::fs;
use std::path::Path;

use ndarray::Array2;
use next_plaid::{delete_from_index, IndexConfig, MmapIndex, UpdateConfig};

fn env(name: &str, or: usize) -> usize {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(or)
}

/// Unit-length rows; the same in every run.
fn documents(count: usize, dim: usize, seed: u64) -> Vec<Array2<f32>> {
    let mut state = seed;
    let mut next = move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as f32 / (1u64 << 31) as f32
    };
    (0..count)
        .map(|_| {
            let rows = 1 + (next() * 23.0) as usize;
            let mut all = Array2::from_shape_fn((rows, dim), |_| next() * 2.0 - 1.0);
            for mut row in all.rows_mut() {
                let length = row.dot(&row).sqrt();
                row /= length;
            }
            all
        })
        .collect()
}

fn npy(path: &Path, rows: &[f32], dim: usize) {
    let body = format!(
        "{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}",
        rows.len() / dim,
        dim
    );
    let header = format!("{body:<117}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(rows.iter().flat_map(|x| x.to_le_bytes()));
    fs::write(path, bytes).unwrap();
}

fn make(folder: &Path, nbits: usize, binary: bool) {
    let (dim, count) = (env("SAMPLE_DIM", 16), env("SAMPLE_DOCUMENTS", 32));
    let _ = fs::remove_dir_all(folder);
    let index = folder.join("index");
    fs::create_dir_all(&index).unwrap();
    let path = index.to_str().unwrap();
    let all = documents(count, dim, 5 + nbits as u64);
    let config = IndexConfig { nbits, binary, batch_size: 12, start_from_scratch: 0, ..Default::default() };
    // Signs have no buckets, without which this release cannot append.
    let first = if binary { count } else { count - 10 };
    MmapIndex::create_with_kmeans(&all[..first], path, &config).unwrap();
    if first < count {
        MmapIndex::update_append(&all[first..], path, &UpdateConfig::default()).unwrap();
    }
    delete_from_index(&[4, 25], path).unwrap();
    let made = MmapIndex::load(path).unwrap();
    let ids: Vec<i64> = (0..made.num_documents() as i64).collect();
    let decoded = made.reconstruct(&ids).unwrap();
    let rows: Vec<f32> = decoded.iter().flat_map(|d| d.iter().copied()).collect();
    npy(&folder.join("vectors.npy"), &rows, dim);
    let ids: Vec<String> = ids.iter().map(|i| format!("\"{i}\"")).collect();
    let doclens: Vec<String> = decoded.iter().map(|d| d.nrows().to_string()).collect();
    let truth = format!(
        "{{\"package\": \"next-plaid 1.8.5\", \"ids\": [{}], \"doclens\": [{}]}}\n",
        ids.join(", "),
        doclens.join(", ")
    );
    fs::write(folder.join("truth.json"), truth).unwrap();
}

fn main() {
    let out = std::env::args().nth(1).expect("next-plaid-samples <out>");
    let out = Path::new(&out);
    make(&out.join("next-plaid"), 4, false);
    make(&out.join("next-plaid-2bit"), 2, false);
    make(&out.join("next-plaid-binary"), 1, true);
}
