//! next-plaid's search over a whole index, with its default parameters, for `npm run bench:search`.
//!
//! usage: search build <documents> <dim> <index folder>   one line of JSON: how long it took
//!        search serve <queries> <dim> <index folder>     a line with a query's number in, a line of
//!                                                        JSON with milliseconds and documents out
//!
//! Files of token vectors: u32 texts, a u32 token count for each, then f32 values.

use std::io::{BufRead, Write};
use std::time::Instant;

use ndarray::Array2;
use next_plaid::{IndexConfig, MmapIndex, SearchParameters};

fn texts(file: &str, dim: usize) -> Vec<Array2<f32>> {
    let bytes = std::fs::read(file).expect(file);
    let word = |at: usize| -> [u8; 4] { bytes[at..at + 4].try_into().unwrap() };
    let count = u32::from_le_bytes(word(0)) as usize;
    let mut at = 4 + 4 * count;
    (0..count)
        .map(|i| {
            let tokens = u32::from_le_bytes(word(4 + 4 * i)) as usize;
            let values = bytes[at..at + tokens * dim * 4]
                .chunks_exact(4)
                .map(|c| f32::from_le_bytes(c.try_into().unwrap()))
                .collect();
            at += tokens * dim * 4;
            Array2::from_shape_vec((tokens, dim), values).unwrap()
        })
        .collect()
}

fn size_of(folder: &str) -> u64 {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum()
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, mode, file, dim, index] = arguments.as_slice() else {
        eprintln!("usage: search build|serve <file> <dim> <index folder>");
        std::process::exit(2);
    };
    let vectors = texts(file, dim.parse().unwrap());
    if mode == "build" {
        std::fs::create_dir_all(index).unwrap();
        let started = Instant::now();
        let built =
            MmapIndex::create_with_kmeans(&vectors, index, &IndexConfig::default()).unwrap();
        println!(
            "{{\"buildSeconds\":{},\"centroids\":{},\"tokens\":{},\"sizeBytes\":{}}}",
            started.elapsed().as_secs_f64(),
            built.num_partitions(),
            built.num_embeddings(),
            size_of(index)
        );
        return;
    }
    let loaded = MmapIndex::load(index).unwrap();
    let parameters = SearchParameters::default();
    println!(
        "{{\"tokens\":{},\"sizeBytes\":{}}}",
        loaded.num_embeddings(),
        size_of(index)
    );
    for line in std::io::stdin().lock().lines() {
        let query = &vectors[line.unwrap().trim().parse::<usize>().unwrap()];
        let started = Instant::now();
        let found = loaded.search(query, &parameters, None).unwrap();
        let milliseconds = started.elapsed().as_secs_f64() * 1e3;
        println!(
            "{{\"ms\":{milliseconds},\"documents\":{:?}}}",
            found.passage_ids
        );
        std::io::stdout().flush().unwrap();
    }
}
