#include "index/cost.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "maxsim/candidate_table.h"
#include "maxsim/dispatch.h"
#include "maxsim/scan.h"

namespace maxsim {
namespace {

constexpr size_t kDim = 128, kQueryTokens = 32, kCentroids = 4096;

// The shortest of a few: what others take from this thread is not the step's.
template <typename Work>
double Nanoseconds(Work work) {
  double shortest = 1e12;
  for (int i = 0; i < 3; i++) {
    const auto started = std::chrono::steady_clock::now();
    work();
    const auto taken = std::chrono::steady_clock::now() - started;
    shortest = std::min(shortest, std::chrono::duration<double, std::nano>(taken).count());
  }
  return shortest;
}

uint32_t Next(uint32_t* state) {
  *state = *state * 1664525u + 1013904223u;
  return *state >> 8;
}

Costs Measure() {
  Costs costs;
  std::vector<float> values(kQueryTokens * kDim);
  uint32_t state = 1;
  for (float& value : values) value = static_cast<float>(Next(&state) % 2001) / 1000.f - 1.f;
  const PreparedQuery query(values.data(), kQueryTokens, kDim, 8);

  constexpr uint32_t kTokens = 200, kDocuments = 16;
  std::vector<uint8_t> bytes(size_t{kTokens} * kDim, 200);
  const std::vector<MaxsimDocument> documents(kDocuments, {bytes.data(), kTokens});
  std::vector<float> scores(kDocuments);
  const TokenFormat int8{Codec::kInt8, 0.01f};
  Scanner scanner(query, int8);
  costs.product_ns =
      Nanoseconds([&] { scanner.Scan(documents.data(), kDocuments, scores.data()); }) /
      (double{kTokens} * kDocuments * kDim * kQueryTokens);

  CodebookContents contents;
  contents.bits = 1;
  contents.dim = kDim;
  contents.centroid_count = kCentroids;
  contents.scale = 0.01f;
  contents.weights[1] = 1;
  contents.rows.assign(kCentroids * kDim, 150);
  const Codebook codebook(std::move(contents));
  CandidateTable table(query, codebook);
  costs.fill_ns =
      Nanoseconds([&] { table.Fill(0, kCentroids); }) / (double{kCentroids} * kDim * kQueryTokens);

  constexpr uint32_t kCodedDocuments = 256, kCodes = 100;
  std::vector<uint32_t> starts;
  std::vector<uint16_t> codes;
  for (uint32_t i = 0; i <= kCodedDocuments; i++) starts.push_back(i * kCodes);
  for (uint32_t i = 0; i < kCodedDocuments * kCodes; i++) {
    codes.push_back(static_cast<uint16_t>(Next(&state) % kCentroids));
  }
  std::vector<uint32_t> sums(kCodedDocuments);
  const MaxsimCodes coded{starts.data(), codes.data(), 2};
  costs.code_ns =
      Nanoseconds([&] { table.Scan(coded, nullptr, 0, kCodedDocuments, sums.data()); }) /
      (double{kCodedDocuments} * kCodes * (kQueryTokens / kMaxsimLanes));

  // As lists are added up: ordinals ascending, in a block of 65,536 sums.
  std::vector<uint32_t> block(65536, 0);
  std::vector<uint16_t> ordinals;
  for (uint32_t list = 0; list < 64; list++) {
    for (uint32_t at = Next(&state) % 500; at < 65536; at += 1 + Next(&state) % 500) {
      ordinals.push_back(static_cast<uint16_t>(at));
    }
  }
  uint32_t mark = 0;
  costs.posting_ns = Nanoseconds([&] {
                       mark++;
                       for (const uint16_t ordinal : ordinals) {
                         const uint32_t sum = block[ordinal];
                         block[ordinal] = (sum & 7) == mark ? sum : ((sum & ~7u) + 64) | mark;
                       }
                     }) /
                     static_cast<double>(ordinals.size());
  return costs;
}

}  // namespace

double Costs::TokenNs(const VectorFormat& format, const PreparedQuery& query) const {
  double relative = 1;
  switch (format.tokens.codec) {
    case Codec::kF32:
    case Codec::kF16:
    case Codec::kBf16:
      relative = 4;
      break;
    case Codec::kInt8:
    case Codec::kInt8Token:
      break;
    default:
      relative = 1.3;
  }
  const auto lanes = static_cast<double>(query.block_count() * kMaxsimLanes);
  return product_ns * relative * static_cast<double>(format.dim) * lanes;
}

const Costs& Costs::Measured() {
  static const Costs costs = Measure();
  return costs;
}

}  // namespace maxsim
