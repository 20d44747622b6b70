#include "maxsim/centroid_table.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "maxsim/dispatch.h"
#include "maxsim/spare_memory.h"

namespace maxsim {
// |query * centroid| <= |query| * |centroid|.
uint32_t TableShift(const PreparedQuery& query, const Codebook& codebook) {
  const MaxsimQueryInt8 int8 = query.Int8(1.f);
  const double centroid = std::sqrt(static_cast<double>(codebook.largest_squares())) *
                          (1 << codebook.contents().centroid_shift);
  double largest = 0;
  for (size_t token = 0; token < query.token_count(); token++) {
    largest = std::max(largest, static_cast<double>(query.int8_lengths()[token]) * centroid +
                                    std::fabs(static_cast<double>(int8.bias[token])));
  }
  uint32_t shift = 0;
  while (std::ldexp(32766., static_cast<int>(shift)) < largest) shift++;
  return shift;
}

CentroidTable::~CentroidTable() {
  if (rows_ != nullptr) SpareMemory::Shared().Give(rows_, size_);
}

void CentroidTable::Allocate(const PreparedQuery& query, const Codebook& codebook) {
  if (rows_ != nullptr) return;
  size_ = size_t{codebook.contents().centroid_count} * query.block_count() * kMaxsimLanes *
          sizeof(int16_t);
  rows_ = static_cast<int16_t*>(SpareMemory::Shared().Take(&size_));
  shift_ = TableShift(query, codebook);
}

namespace {

MaxsimCentroids ForKernels(const Codebook& codebook, int16_t* rows, uint32_t shift) {
  return {codebook.contents().rows.data(), codebook.contents().centroid_shift, shift, rows};
}

}  // namespace

void CentroidTable::FillAll(const PreparedQuery& query, const Codebook& codebook) {
  Allocate(query, codebook);
  const size_t count = codebook.contents().centroid_count;
  const MaxsimQueryInt8 int8 = query.Int8(1.f);
  const MaxsimCentroids centroids = ForKernels(codebook, rows_, shift_);
  Kernels().chosen->fill_table(&int8, &centroids, nullptr, count);
  filled_.assign((count + 63) / 64, ~uint64_t{0});
}

void CentroidTable::Fill(const PreparedQuery& query, const Codebook& codebook,
                         std::span<const MaxsimDocument> documents) {
  const size_t centroid_count = codebook.contents().centroid_count;
  uint64_t tokens = 0;
  for (const MaxsimDocument& document : documents) tokens += document.token_count;
  // Of that many tokens nearly every centroid is met, and looking for the others costs more.
  if (filled_.empty() && tokens >= 4 * static_cast<uint64_t>(centroid_count)) {
    return FillAll(query, codebook);
  }
  Allocate(query, codebook);
  std::vector<uint64_t> met((centroid_count + 63) / 64);
  const size_t id_bytes = codebook.id_bytes(), before = codebook.code_bytes() + sizeof(uint16_t);
  for (const MaxsimDocument& document : documents) {
    const uint8_t* ids =
        static_cast<const uint8_t*>(document.tokens) + document.token_count * before;
    for (uint32_t token = 0; token < document.token_count; token++, ids += id_bytes) {
      uint32_t id = 0;
      if (id_bytes == 2) {
        uint16_t short_id;
        std::memcpy(&short_id, ids, sizeof(short_id));
        id = short_id;
      } else {
        std::memcpy(&id, ids, id_bytes);
      }
      met[id / 64] |= uint64_t{1} << (id % 64);
    }
  }
  std::vector<uint32_t> ids;
  ids.reserve(std::min<uint64_t>(tokens, centroid_count));
  filled_.resize(met.size());
  for (size_t word = 0; word < met.size(); word++) {
    const uint64_t needed = met[word] & ~filled_[word];
    filled_[word] |= needed;
    for (uint64_t bits = needed; bits != 0; bits &= bits - 1) {
      ids.push_back(static_cast<uint32_t>(word * 64 + static_cast<size_t>(std::countr_zero(bits))));
    }
  }
  const MaxsimQueryInt8 int8 = query.Int8(1.f);
  const MaxsimCentroids centroids = ForKernels(codebook, rows_, shift_);
  Kernels().chosen->fill_table(&int8, &centroids, ids.data(), ids.size());
}

}  // namespace maxsim
