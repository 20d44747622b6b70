#include "maxsim/candidate_table.h"

#include <algorithm>
#include <cmath>

#include "maxsim/centroid_table.h"
#include "maxsim/dispatch.h"
#include "maxsim/spare_memory.h"

namespace maxsim {

CandidateTable::CandidateTable(const PreparedQuery& query, const Codebook& codebook)
    : query_(query), codebook_(codebook), shift_(TableShift(query, codebook)) {
  const MaxsimQueryInt8 int8 = query.Int8(1.f);
  const CodebookContents& contents = codebook.contents();
  // What one step of a row is worth, but for the query token's own scale, once products are divided
  // by lengths (Codebook::length_factors, of which half is left by their shift of 16).
  const double step =
      std::ldexp(2 / codebook.reference_length(),
                 static_cast<int>(shift_) - static_cast<int>(contents.centroid_shift));
  double largest = 0, finest = 0;
  for (size_t token = 0; token < query.token_count(); token++) {
    const double factor = int8.factor[token];
    largest = std::max(largest, static_cast<double>(query.int8_lengths()[token]) * factor);
    finest = std::max(finest, factor * step);
  }
  // The largest product becomes 255; but a factor of 16 bits has to do.
  const double unit = std::max(largest / 255, finest * 65536 / 32767);
  unit_ = static_cast<float>(unit > 0 ? unit : 1);
  zero_.assign(lanes(), 0);
  factor_.assign(lanes(), 0);
  const int32_t half = static_cast<int32_t>(1u << shift_ >> 1);
  for (size_t token = 0; token < query.token_count(); token++) {
    zero_[token] = static_cast<int16_t>((int8.bias[token] + half) >> shift_);
    const double factor = static_cast<double>(int8.factor[token]) * step / unit_ * 65536;
    factor_[token] = static_cast<int16_t>(std::min(std::nearbyint(factor), 32767.));
  }
  size_ = centroid_count() * lanes();
  rows_ = static_cast<uint8_t*>(SpareMemory::Shared().Take(&size_));
}

CandidateTable::~CandidateTable() { SpareMemory::Shared().Give(rows_, size_); }

void CandidateTable::Fill(size_t first, size_t count) {
  constexpr size_t kRows = 48;  // at once, of products: they stay in the first cache
  const MaxsimKernels& kernels = *Kernels().chosen;
  const MaxsimQueryInt8 int8 = query_.Int8(1.f);
  const CodebookContents& contents = codebook_.contents();
  std::vector<int16_t> products(kRows * lanes());
  for (size_t row = first; row < first + count; row += kRows) {
    const size_t some = std::min(kRows, first + count - row);
    const MaxsimCentroids centroids{&contents.rows[row * int8.padded_dim], contents.centroid_shift,
                                    shift_, products.data()};
    kernels.fill_table(&int8, &centroids, nullptr, some);
    kernels.to_bytes(products.data(), some, lanes(), zero_.data(), codebook_.length_factors() + row,
                     factor_.data(), rows_ + row * lanes());
  }
}

void CandidateTable::Scan(const MaxsimCodes& codes, const uint32_t* documents, uint32_t first,
                          size_t count, uint32_t* scores) const {
  Kernels().chosen->scan_codes(rows_, static_cast<uint32_t>(query_.block_count()), &codes,
                               documents, first, count, scores);
}

}  // namespace maxsim
