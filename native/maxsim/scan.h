// START HERE: scores a prepared query against documents with the kernels chosen for this CPU.
#ifndef MAXSIM_MAXSIM_SCAN_H_
#define MAXSIM_MAXSIM_SCAN_H_

#include <cstddef>
#include <cstdint>

#include "maxsim/kernel.h"
#include "maxsim/query.h"

namespace maxsim {

enum class Codec : uint32_t { kF32 = 1, kInt8 = 2 };

// How the documents of a store are encoded.
struct TokenFormat {
  Codec codec;
  float scale;  // int8: float value = (byte - 128) * scale; f32: 1
};

// scores[i] = MaxSim(query, documents[i]); documents may lie in different segments of one format.
void Scan(const PreparedQuery& query, TokenFormat format, const MaxsimDocument* documents,
          size_t document_count, float* scores);

// The best document token of one query token and what it adds to the score.
struct TokenMatch {
  uint32_t document_token;
  float contribution;
};

// Explains one score: matches[i] for query token i (query.token_count() of them); ties take the
// first document token. The contributions add up to the score of Scan (same integers, same scales).
void Explain(const PreparedQuery& query, TokenFormat format, MaxsimDocument document,
             TokenMatch* matches);

}  // namespace maxsim

#endif  // MAXSIM_MAXSIM_SCAN_H_
